package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Bounds of an export.
const (
	exportTimeout = 10 * time.Second // of one request: OTLP's default
	exportTries   = 3
	exportPause   = time.Second      // before the second try; twice as long before each further one
	longestPause  = 10 * time.Second // a Retry-After is believed up to this: spans wait in memory meanwhile
	maxAnswer     = 4 << 10          // of an answer is read, so that the connection can be used again
)

// otlpExporter posts spans to a collector, as OTLP/HTTP with protobuf (OTLP
// specification 1.9).
//
// It is ours because the official one links gRPC into every binary, even for
// HTTP: 8 MB and 5 MB of resident memory in a process that traces nothing
// (decision record 0013). The messages are written by hand in otlp_encode.go and
// read with the official types in the tests.
type otlpExporter struct {
	url    string
	header http.Header
	client *http.Client
	log    *slog.Logger
	spans  *prometheus.CounterVec
	sent   prometheus.Counter
	lost   prometheus.Counter
	ailing atomic.Bool // the last export failed, and was complained of
	pause  time.Duration
	life   context.Context //nolint:containedctx // Of all exports; ended by giveUp.
	giveUp context.CancelFunc
}

func newOTLPExporter(c *TraceConfig, log *slog.Logger) (*otlpExporter, error) {
	to, err := c.url()
	if err != nil {
		return nil, err
	}
	header, err := c.header()
	if err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/x-protobuf")
	tlsConfig, err := c.tls()
	if err != nil {
		return nil, err
	}
	e := &otlpExporter{
		url: to, header: header, log: log, pause: exportPause, spans: newSpanCounter(),
		client: &http.Client{
			Timeout: exportTimeout,
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
			},
			// The headers may hold a credential of the collector's, which is for nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	e.life, e.giveUp = context.WithCancel(context.Background())
	e.sent, e.lost = e.spans.WithLabelValues("sent"), e.spans.WithLabelValues("lost")
	return e, nil
}

func newSpanCounter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "memberwatch_spans_total", Help: "Spans by whether the collector took them; only while tracing is on.",
	}, []string{"outcome"})
}

// ExportSpans implements sdktrace.SpanExporter. What cannot be sent is dropped and
// told here: the SDK would tell it to a global handler, in a form of its own.
func (e *otlpExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	body := encodeSpans(spans)
	err := e.deliver(ctx, body)
	if err == nil {
		e.sent.Add(float64(len(spans)))
		if e.ailing.Swap(false) {
			e.log.Info("the collector takes traces again")
		}
		return nil
	}
	e.lost.Add(float64(len(spans)))
	if !e.ailing.Swap(true) {
		e.log.Warn("traces cannot be sent and are dropped; this is said once until it works again", "error", err)
	}
	return nil
}

// errRefused marks what the collector will refuse again.
var errRefused = errors.New("refused by the collector")

// deliver posts body, and tries again as long as that may help.
func (e *otlpExporter) deliver(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)() //nolint:contextcheck // It ends the one that was inherited.
	pause := e.pause
	for try := 1; ; try++ {
		wait, err := e.post(ctx, body)
		if err == nil || errors.Is(err, errRefused) || try == exportTries {
			return err
		}
		t := time.NewTimer(min(max(pause, wait), longestPause))
		pause *= 2
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// post makes one request; wait is how long the collector asks to wait.
func (e *otlpExporter) post(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("%w: making request: %w", errRefused, err)
	}
	req.Header = e.header.Clone()
	resp, err := e.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("sending spans: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // The status says it all.
	switch resp.StatusCode {
	case http.StatusOK:
		return 0, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 for another form or none.
		return time.Duration(min(max(seconds, 0), 3600)) * time.Second, fmt.Errorf("sending spans: collector answers %s", resp.Status)
	}
	return 0, fmt.Errorf("%w: it answers %s", errRefused, resp.Status)
}

// Shutdown implements sdktrace.SpanExporter.
func (e *otlpExporter) Shutdown(context.Context) error {
	e.giveUp()
	e.client.CloseIdleConnections()
	return nil
}

var _ sdktrace.SpanExporter = (*otlpExporter)(nil)
