package webhook_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// port is a webhook port in front of a whole service.
type port struct {
	t   *testing.T
	url string
	log *lockedBuffer
}

// lockedBuffer may be written to by many.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func openPort(t *testing.T, r *refreshtest.Rig) *port {
	t.Helper()
	p := &port{t: t, log: &lockedBuffer{}}
	log := slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := &webhook.Config{Addr: "127.0.0.1:0", User: "mx", Password: "hunter2"}
	h := webhook.NewHandler(c, func(ctx context.Context, cmd events.Command) error {
		return r.Workers[0].Bus.Enqueue(ctx, cmd, refresh.SourceWebhook)
	}, log)
	s, err := webhook.Listen(t.Context(), c, h, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("port ended with %v", err)
		}
	})
	p.url = "http://" + s.Addr().String() + webhook.Path
	return p
}

func (p *port) post(body []byte) (code int) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("mx", "hunter2")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // So that the connection is used again.
	return resp.StatusCode
}

func sample(t *testing.T, typ string, k events.Key) []byte {
	t.Helper()
	body, err := webhook.Sample(typ, k.User(), k.Member())
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestAWebhookLeadsToAReadAndSaysNothingItself(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	p := openPort(t, r)
	k := r.AddMember(mxsim.Patch{"connection_status": "DISCONNECTED"}) // never seen before
	for _, typ := range []string{webhook.TypeConnectionStatus, webhook.TypeMember, webhook.TypeAggregation, "TELEPATHY"} {
		if code := p.post(sample(t, typ, k)); code != http.StatusNoContent {
			t.Errorf("%s: status %d", typ, code)
		}
		r.WaitIdle() // so that it is known whose read found the news
	}
	all := r.Events(k)
	if len(all) != 1 {
		t.Fatalf("%d events, want that of what the read showed", len(all))
	}
	if e := all[0]; e.Type != events.TypeDisconnected || e.Reason != "webhook "+webhook.TypeConnectionStatus || e.CorrelationID != "1" {
		t.Errorf("%s, reason %q, correlation id %q", e.Type, e.Reason, e.CorrelationID)
	}
	if diff := cmp.Diff(map[string]float64{"webhook": 4}, jobsTaken(t, r.Workers[0].Service)); diff != "" {
		t.Errorf("jobs by source (-want +got):\n%s", diff)
	}
	if strings.Contains(p.log.String(), "hunter2") {
		t.Errorf("the password is logged: %s", p.log)
	}
}

// jobsTaken counts the jobs that a service took in hand, by source.
func jobsTaken(t *testing.T, s *refresh.Service) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if n := m.GetCounter().GetValue(); f.GetName() == "memberwatch_jobs_total" && n > 0 {
				taken[m.GetLabel()[0].GetValue()] = n
			}
		}
	}
	return taken
}

func TestAThousandReplaysOfOneWebhookShareAFewReads(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	p := openPort(t, r)
	k := r.AddMember(mxsim.Patch{"connection_status": "CHALLENGED"})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 200 * time.Millisecond}) // MX takes its time
	body := sample(t, webhook.TypeConnectionStatus, k)
	const replays, senders = 1000, 20
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range replays / senders {
				if code := p.post(body); code != http.StatusNoContent {
					t.Errorf("status %d", code)
				}
			}
		})
	}
	wg.Wait()
	r.WaitIdle()
	if diff := cmp.Diff([]events.Type{events.TypeChallenged}, r.Types(k)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	n := r.Reads(k)
	t.Logf("%d reads for %d webhooks", n, replays)
	if n > replays/20 {
		t.Errorf("%d reads for %d webhooks", n, replays)
	}
}

func TestWithoutNATSMXIsAskedToSendItAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	p := openPort(t, r)
	k := r.AddMember(nil)
	r.Workers[0].Kill()
	if code := p.post(sample(t, webhook.TypeMember, k)); code != http.StatusServiceUnavailable {
		t.Errorf("status %d", code)
	}
	if log := p.log.String(); !strings.Contains(log, "webhook not stored") || strings.Contains(log, "hunter2") {
		t.Errorf("log: %s", log)
	}
}
