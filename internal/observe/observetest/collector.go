// Package observetest has what tests need to see what a service shows of itself:
// an OpenTelemetry collector that keeps the spans it is sent, and a scan for
// secrets in what was written.
package observetest

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it arrived.
type Span struct {
	Name     string
	Kind     string // internal, server, client, producer or consumer
	Trace    string // in hexadecimal
	ID       string
	Parent   string // "": none
	Remote   bool   // the parent is another process'
	Links    []string
	Attrs    map[string]string
	Failed   bool
	Message  string            // of a failure
	Resource map[string]string // attributes of the service
}

// Traceparent is the span's context as W3C writes it, sampled.
func (s Span) Traceparent() string { return "00-" + s.Trace + "-" + s.ID + "-01" }

// Collector takes OTLP over HTTP as a real one does, decoding it with the
// protocol's own types.
type Collector struct {
	URL string // for OTEL_EXPORTER_OTLP_ENDPOINT

	// Refuse, when set, is asked for each request; a status other than 0 is answered
	// in place of taking it.
	Refuse func(*http.Request) int

	mu       sync.Mutex
	spans    []Span
	requests []http.Header
}

// NewCollector starts a collector that ends with the test.
func NewCollector(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(w, r); err != nil {
			tb.Errorf("collector: %v", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	tb.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("reading request: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, r.Header.Clone())
	if c.Refuse != nil {
		if status := c.Refuse(r); status != 0 {
			w.WriteHeader(status)
			return nil
		}
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %s is no export of traces", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	}
	// On the wire an ExportTraceServiceRequest is a TracesData, and its package does not need gRPC.
	var data otlp.TracesData
	if err := (proto.UnmarshalOptions{DiscardUnknown: false}).Unmarshal(body, &data); err != nil {
		return fmt.Errorf("decoding request: %w", err)
	}
	for _, rs := range data.GetResourceSpans() {
		if len(rs.ProtoReflect().GetUnknown()) > 0 {
			return fmt.Errorf("unknown fields in %v", rs)
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				if len(s.ProtoReflect().GetUnknown()) > 0 {
					return fmt.Errorf("unknown fields in %v", s)
				}
				c.spans = append(c.spans, spanOf(s, texts(rs.GetResource().GetAttributes())))
			}
		}
	}
	return nil
}

func spanOf(s *otlp.Span, resource map[string]string) Span {
	const isRemote = 0x200
	out := Span{
		Name: s.GetName(), Kind: strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Remote: s.GetFlags()&isRemote != 0,
		Attrs:  texts(s.GetAttributes()), Failed: s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR, Message: s.GetStatus().GetMessage(),
		Resource: resource,
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func texts(all []*common.KeyValue) map[string]string {
	out := make(map[string]string, len(all))
	for _, kv := range all {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		default:
			out[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return out
}

// Spans are those that have arrived, in order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Requests are the headers of the requests that have arrived, refused ones included.
func (c *Collector) Requests() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}
