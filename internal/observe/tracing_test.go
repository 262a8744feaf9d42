package observe_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sethvargo/go-envconfig"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/observe/observetest"
)

// loadTrace reads a TraceConfig as the program does.
func loadTrace(t *testing.T, env map[string]string) observe.TraceConfig {
	t.Helper()
	var cfg observe.TraceConfig
	if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: &cfg, Lookuper: envconfig.MapLookuper(env)}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// newTracing makes a Tracing that complains into the buffer.
func newTracing(t *testing.T, env map[string]string) (*observe.Tracing, *bytes.Buffer) {
	t.Helper()
	var logs bytes.Buffer
	tracing, err := observe.NewTracing(loadTrace(t, env), "1.2.3", slog.New(slog.NewTextHandler(&logs, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return tracing, &logs
}

func TestTracingIsOffUnlessItIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env map[string]string
		on  bool
	}{
		"nothing set":              {nil, false},
		"an endpoint":              {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, true},
		"an endpoint of traces":    {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/x"}, true},
		"an exporter":              {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true},
		"an endpoint, and none":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, false},
		"only what counts then":    {map[string]string{"OTEL_TRACES_SAMPLER": "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false},
		"a name, as platforms set": {map[string]string{"OTEL_SERVICE_NAME": "x"}, false},
	} {
		tracing, _ := newTracing(t, tc.env)
		if on := tracing.Tracer() != nil; on != tc.on {
			t.Errorf("%s: on is %v, want %v", name, on, tc.on)
		}
		if got := len(tracing.Collectors()); got != 0 != tc.on {
			t.Errorf("%s: it has %d metrics", name, got)
		}
		if err := tracing.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryWrongSettingOfTracingIsNamed(t *testing.T) {
	t.Parallel()
	cfg := loadTrace(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "user:hunter2@collector", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_HEADERS": "hunter2",
		"OTEL_EXPORTER_OTLP_CERTIFICATE": "/does/not/exist", "OTEL_SERVICE_NAME": " ", "OTEL_RESOURCE_ATTRIBUTES": "a",
		"OTEL_TRACES_SAMPLER": "jaeger_remote",
	})
	got := errors.Join(cfg.Problems()...).Error()
	want := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT: not an http or https URL", "OTEL_EXPORTER_OTLP_PROTOCOL: \"grpc\"", "OTEL_EXPORTER_OTLP_HEADERS: not name=value",
		"OTEL_EXPORTER_OTLP_CERTIFICATE: ", "OTEL_SERVICE_NAME: blank", "OTEL_RESOURCE_ATTRIBUTES: \"a\"", "OTEL_TRACES_SAMPLER: \"jaeger_remote\"",
	}
	lines := strings.Split(got, "\n")
	for i, w := range want {
		if i >= len(lines) || !strings.HasPrefix(lines[i], w) {
			t.Errorf("problems lack %q:\n%s", w, got)
		}
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("problems repeat a secret:\n%s", got)
	}
	for _, env := range []map[string]string{
		{"OTEL_TRACES_EXPORTER": "zipkin"},
		{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"},
	} {
		cfg := loadTrace(t, env)
		if problems := cfg.Problems(); len(problems) != 1 {
			t.Errorf("%v: %v, want one problem", env, problems)
		}
		if _, err := observe.NewTracing(cfg, "", slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%v: no error", env)
		}
	}
}

func TestSpansArriveWholeAtTheCollector(t *testing.T) {
	t.Parallel()
	collector := observetest.NewCollector(t)
	tracing, logs := newTracing(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "X-Token=a%20b, X-Other=c",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod", "OTEL_SERVICE_NAME": "refresher",
	})
	ctx, parent := tracing.Tracer().Start(t.Context(), "parent", trace.WithSpanKind(trace.SpanKindConsumer))
	_, child := tracing.Tracer().Start(ctx, "child", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithLinks(trace.Link{SpanContext: parent.SpanContext()}),
		trace.WithAttributes(
			attribute.String("text", "ä"), attribute.String("empty", ""), attribute.Int("number", -7), attribute.Bool("yes", true),
			attribute.Float64("part", 0.5), attribute.StringSlice("list", []string{"a", "b"}),
		))
	child.AddEvent("happened")
	child.SetStatus(codes.Error, "it broke")
	child.End()
	parent.End()
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	resource := map[string]string{
		"deployment.environment.name": "prod", "service.name": "refresher", "service.version": "1.2.3",
		"telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "go",
	}
	id := func(s trace.Span) string { return s.SpanContext().SpanID().String() }
	traceID := parent.SpanContext().TraceID().String()
	want := []observetest.Span{
		{
			Name: "child", Kind: "client", Trace: traceID, ID: id(child), Parent: id(parent), Links: []string{id(parent)},
			Attrs: map[string]string{
				"text": "ä", "empty": "", "number": "-7", "yes": "bool_value:true", "part": "double_value:0.5",
				"list": `array_value:{values:{string_value:"a"} values:{string_value:"b"}}`,
			},
			Failed: true, Message: "it broke", Resource: resource,
		},
		{Name: "parent", Kind: "consumer", Trace: traceID, ID: id(parent), Attrs: map[string]string{}, Resource: resource},
	}
	got := collector.Spans()
	for _, s := range got {
		s.Attrs["list"] = strings.ReplaceAll(s.Attrs["list"], "  ", " ") // protobuf's text form is not stable
		if s.Attrs["list"] == "" {
			delete(s.Attrs, "list")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if h := collector.Requests()[0]; h.Get("X-Token") != "a b" || h.Get("X-Other") != "c" {
		t.Errorf("headers are %v", h)
	}
	if logs.Len() > 0 {
		t.Errorf("logged:\n%s", logs)
	}
	assertMetrics(t, tracing.Collectors(), "memberwatch_spans_total{outcome=\"lost\"} 0\nmemberwatch_spans_total{outcome=\"sent\"} 2\n")
}

func TestSpansAreSentAgainWhenTheCollectorIsBusyForAMoment(t *testing.T) {
	t.Parallel()
	collector := observetest.NewCollector(t)
	answers := []int{http.StatusServiceUnavailable}
	collector.Refuse = func(*http.Request) int {
		if len(answers) == 0 {
			return 0
		}
		defer func() { answers = answers[1:] }()
		return answers[0]
	}
	tracing, _ := newTracing(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL})
	_, span := tracing.Tracer().Start(t.Context(), "one")
	span.End()
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(collector.Spans()); got != 1 {
		t.Errorf("%d spans arrived, want 1", got)
	}
}

func TestSpansThatAreRefusedAreDroppedAndToldOnce(t *testing.T) {
	t.Parallel()
	collector := observetest.NewCollector(t)
	collector.Refuse = func(*http.Request) int { return http.StatusUnauthorized }
	tracing, logs := newTracing(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=hunter2"})
	for i := range 1000 { // more than one request's worth
		_, span := tracing.Tracer().Start(t.Context(), strconv.Itoa(i))
		span.End()
	}
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(collector.Requests()); got < 2 {
		t.Errorf("%d requests, want some", got)
	}
	if got := strings.Count(logs.String(), "traces cannot be sent"); got != 1 || strings.Contains(logs.String(), "hunter2") {
		t.Errorf("told %d times:\n%s", got, logs)
	}
	assertMetrics(t, tracing.Collectors(), "memberwatch_spans_total{outcome=\"lost\"} 1000\nmemberwatch_spans_total{outcome=\"sent\"} 0\n")
}

func TestSamplersKeepWhatTheyShould(t *testing.T) {
	t.Parallel()
	sampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true})
	unsampled := sampled.WithTraceFlags(0)
	for sampler, want := range map[string][3]bool{ // of a trace begun here, a sampled and an unsampled one
		"always_on": {true, true, true}, "always_off": {false, false, false},
		"parentbased_always_on": {true, true, false}, "parentbased_always_off": {false, true, false},
		"traceidratio": {false, false, false}, "parentbased_traceidratio": {false, true, false},
	} {
		tracing, _ := newTracing(t, map[string]string{
			"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
			"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": "0",
		})
		var got [3]bool
		for i, parent := range []trace.SpanContext{{}, sampled, unsampled} {
			_, span := tracing.Tracer().Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "x")
			got[i] = span.SpanContext().IsSampled() // never ended: there is nobody to send it to
		}
		if got != want {
			t.Errorf("%s keeps %v, want %v", sampler, got, want)
		}
		if err := tracing.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestCollectorsCertificateIsCheckedAgainstTheFile(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.URL.Path }))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, certificate := range []string{file, ""} {
		tracing, logs := newTracing(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/x/y", "OTEL_EXPORTER_OTLP_CERTIFICATE": certificate})
		_, span := tracing.Tracer().Start(t.Context(), "one")
		span.End()
		if err := tracing.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if certificate != "" {
			if path := <-got; path != "/x/y" || logs.Len() > 0 {
				t.Errorf("posted to %s, logged %s", path, logs)
			}
		} else if len(got) > 0 {
			t.Error("a certificate of nobody was believed")
		}
	}
}

func TestHeadersForTheCollectorDoNotPrint(t *testing.T) {
	t.Parallel()
	cfg := loadTrace(t, map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=hunter2"})
	var logs bytes.Buffer
	slog.New(slog.NewTextHandler(&logs, nil)).Info("x", "headers", cfg.Headers)
	body, err := json.Marshal(map[string]any{"headers": cfg.Headers})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %x %s %s", cfg, cfg, cfg, cfg.Headers, cfg.Headers, cfg.Headers, body, &logs)
	if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("printed: %s", all)
	}
	if observe.Secret("").String() != "" {
		t.Error("an empty secret looks like one")
	}
}

// assertMetrics compares the count of spans.
func assertMetrics(t *testing.T, all []prometheus.Collector, want string) {
	t.Helper()
	const head = "# HELP memberwatch_spans_total Spans by whether the collector took them; only while tracing is on.\n# TYPE memberwatch_spans_total counter\n"
	if len(all) != 1 {
		t.Fatalf("%d collectors, want 1", len(all))
	}
	if err := testutil.CollectAndCompare(all[0], strings.NewReader(head+want)); err != nil {
		t.Error(err)
	}
}
