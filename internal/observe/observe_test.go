package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sethvargo/go-envconfig"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// load reads a Config as the program does.
func load(t *testing.T, env map[string]string) observe.Config {
	t.Helper()
	var cfg observe.Config
	if err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: &cfg, Lookuper: envconfig.MapLookuper(env)}); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestDefaultsAreRight(t *testing.T) {
	t.Parallel()
	cfg := load(t, nil)
	if problems := cfg.Problems(); problems != nil {
		t.Errorf("the defaults have problems: %v", problems)
	}
	if want := (observe.Config{LogLevel: "info", LogFormat: "auto", HTTPAddr: ":8080"}); cfg != want {
		t.Errorf("defaults are %+v, want %+v", cfg, want)
	}
}

func TestAPortIsANumberThatThereIs(t *testing.T) {
	t.Parallel()
	for addr, ok := range map[string]bool{":0": true, ":65535": true, "127.0.0.1:8080": true, ":65536": false, ":-1": false, ":http": false, ":": false, "8080": false} {
		c := load(t, map[string]string{"HTTP_ADDR": addr})
		if problems := c.Problems(); (len(problems) == 0) != ok {
			t.Errorf("%q: %v", addr, problems)
		}
	}
}

func TestProblemsNameEveryWrongVariableAndTheFix(t *testing.T) {
	t.Parallel()
	cfg := load(t, map[string]string{"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "HTTP_ADDR": "8080"})
	want := `LOG_LEVEL: "loud" is no level: set it to debug, info, warn or error
LOG_FORMAT: "xml" is no format: set it to auto, json or text
HTTP_ADDR: "8080" is not host:port: set it to an address such as :8080 or 127.0.0.1:8080`
	if got := errors.Join(cfg.Problems()...).Error(); got != want {
		t.Errorf("problems are\n%s\nwant\n%s", got, want)
	}
	if _, err := observe.NewLogger(cfg, io.Discard); err == nil || err.Error() != want {
		t.Errorf("a logger of it gives %v, want the same problems", err)
	}
}

func TestLoggerWritesTheFormAndLevelAskedFor(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env      map[string]string
		contains string
	}{
		"JSON when no terminal reads it": {nil, `"level":"INFO","msg":"heard","n":1}`},
		"JSON":                           {map[string]string{"LOG_FORMAT": "json"}, `"level":"INFO","msg":"heard","n":1}`},
		"text":                           {map[string]string{"LOG_FORMAT": "text"}, `level=INFO msg=heard n=1`},
		"debug":                          {map[string]string{"LOG_LEVEL": "debug"}, `"msg":"whispered"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log, err := observe.NewLogger(load(t, tc.env), &out)
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("whispered")
			log.Info("heard", "n", 1)
			if !strings.Contains(out.String(), tc.contains) {
				t.Errorf("log is\n%s\nwant %s in it", &out, tc.contains)
			}
			if tc.env["LOG_LEVEL"] == "" && strings.Contains(out.String(), "whispered") {
				t.Errorf("log is\n%s\nwant nothing of level debug", &out)
			}
		})
	}
}

func TestLoggerWritesTextToATerminal(t *testing.T) {
	t.Parallel()
	// A character device, as a terminal is one; what is written to it is read back from nowhere,
	// so the choice is seen in the handler.
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	log, err := observe.NewLogger(load(t, nil), null)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := log.Handler().(*slog.TextHandler); !ok {
		t.Errorf("handler is %T, want one of text", log.Handler())
	}
}

func TestServiceIsReadyWhenEveryCheckIsGoodAndNotAfterDraining(t *testing.T) {
	t.Parallel()
	h := observe.NewHealth("nats", "mx_credentials")
	step := func(name string, want observe.Report, wantErr string) {
		t.Helper()
		if diff := cmp.Diff(want, h.Report()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		got := ""
		if err := h.Err(); err != nil {
			got = err.Error()
		}
		if got != wantErr {
			t.Errorf("%s: error %q, want %q", name, got, wantErr)
		}
	}
	bad := func(name, reason string) observe.Check { return observe.Check{Name: name, Reason: reason} }
	good := func(name string) observe.Check { return observe.Check{Name: name, OK: true} }

	step("at first", observe.Report{Checks: []observe.Check{bad("mx_credentials", "not checked yet"), bad("nats", "not checked yet")}},
		"mx_credentials: not checked yet\nnats: not checked yet")
	h.Set("nats", nil)
	h.Set("mx_credentials", errors.New("MX answered 401"))
	step("with one bad", observe.Report{Checks: []observe.Check{bad("mx_credentials", "MX answered 401"), good("nats")}},
		"mx_credentials: MX answered 401")
	h.Set("mx_credentials", nil)
	step("with all good", observe.Report{Ready: true, Checks: []observe.Check{good("mx_credentials"), good("nats")}}, "")
	h.Drain()
	step("draining", observe.Report{Draining: true, Checks: []observe.Check{good("mx_credentials"), good("nats")}}, "shutting down")
}

func TestHealthIsAMetric(t *testing.T) {
	t.Parallel()
	h := observe.NewHealth("nats", "mx")
	h.Set("nats", nil)
	want := `# HELP memberwatch_check_ok Whether a readiness check is good (1) or bad (0).
# TYPE memberwatch_check_ok gauge
memberwatch_check_ok{check="mx"} 0
memberwatch_check_ok{check="nats"} 1
# HELP memberwatch_ready Whether the service is ready (1) or not (0).
# TYPE memberwatch_ready gauge
memberwatch_ready 0
`
	if err := testutil.CollectAndCompare(h.Collectors()[0], strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// get asks the server for path and returns the status and the body.
func get(t *testing.T, s *observe.Server, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServerTellsLifeReadinessAndMetricsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	h := observe.NewHealth("nats")
	registry := observe.NewRegistry()
	registry.MustRegister(h.Collectors()...)
	s, err := observe.Listen(t.Context(), "127.0.0.1:0", observe.Handler(h, registry, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	ready := func(wantStatus int, want observe.Report) {
		t.Helper()
		status, body := get(t, s, "/readyz")
		var got observe.Report
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || status != wantStatus {
			t.Errorf("/readyz answers %d, want %d (-want +got):\n%s", status, wantStatus, diff)
		}
	}
	ready(503, observe.Report{Checks: []observe.Check{{Name: "nats", Reason: "not checked yet"}}})
	h.Set("nats", nil)
	ready(200, observe.Report{Ready: true, Checks: []observe.Check{{Name: "nats", OK: true}}})
	h.Drain()
	ready(503, observe.Report{Draining: true, Checks: []observe.Check{{Name: "nats", OK: true}}})
	if status, body := get(t, s, "/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("/healthz answers %d %q while draining, want 200 ok", status, body)
	}
	status, body := get(t, s, "/metrics")
	for _, want := range []string{"memberwatch_ready 0", "go_goroutines", "go_build_info"} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("/metrics answers %d without %s", status, want)
		}
	}
	if status, _ := get(t, s, "/"); status != 404 {
		t.Errorf("/ answers %d, want 404", status)
	}

	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run returned %v after its context ended, want nil", err)
	}
}

func TestRunLetsTheRequestInHandFinish(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "finished")
	})
	s, err := observe.Listen(t.Context(), "127.0.0.1:0", slow, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done, answer := make(chan error, 1), make(chan string, 1)
	go func() { done <- s.Run(ctx) }()
	go func() {
		defer close(answer) // also when get gives up
		_, body := get(t, s, "/")
		answer <- body
	}()
	<-entered
	cancel()
	go func() {
		// The port is closed before the request in hand is waited for.
		for {
			c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr().String())
			if err != nil {
				close(leave)
				return
			}
			_ = c.Close()
		}
	}()
	if got := <-answer; got != "finished" {
		t.Errorf("the request in hand was answered %q, want finished", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestListenReportsAnAddressInUse(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	first, err := observe.Listen(t.Context(), "127.0.0.1:0", http.NotFoundHandler(), log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := observe.Listen(t.Context(), first.Addr().String(), http.NotFoundHandler(), log); err == nil || !strings.Contains(err.Error(), first.Addr().String()) {
		t.Errorf("error %v, want one with the address", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Run(ended); err != nil {
		t.Error(err)
	}
}
