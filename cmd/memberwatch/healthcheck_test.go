package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/observe"
)

func TestHealthcheckTellsReadyFromAlive(t *testing.T) {
	t.Parallel()
	health := observe.NewHealth("nats")
	srv := httptest.NewServer(observe.Handler(health, observe.NewRegistry(), slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	check := func(args ...string) (string, error) {
		var out bytes.Buffer
		env := envconfig.MapLookuper(map[string]string{"HTTP_ADDR": strings.TrimPrefix(srv.URL, "http://")})
		err := run(t.Context(), append([]string{"healthcheck"}, args...), env, &out, &out)
		return out.String(), err
	}
	health.Set("nats", errors.New("disconnected"))
	if _, err := check(); !errors.Is(err, errUnwell) || !strings.Contains(err.Error(), "nats: disconnected") {
		t.Errorf("not ready, and it says %v", err)
	}
	if out, err := check("--live"); err != nil || out != "alive\n" {
		t.Errorf("alive, and it says %q, %v", out, err)
	}
	health.Set("nats", nil)
	if out, err := check("--url", srv.URL+"/"); err != nil || out != "ready\n" {
		t.Errorf("ready, and it says %q, %v", out, err)
	}
	health.Drain()
	if _, err := check(); !errors.Is(err, errUnwell) || !strings.Contains(err.Error(), "it is stopping") {
		t.Errorf("stopping, and it says %v", err)
	}
}

func TestAllAddressesAreAskedOnThisMachine(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "http://127.0.0.1:8080", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:2": "http://127.0.0.1:2", "10.0.0.7:3": "http://10.0.0.7:3", "host:4": "http://host:4",
	} {
		p := &program{env: envconfig.MapLookuper(map[string]string{"HTTP_ADDR": addr})}
		if got, err := p.healthURL(t.Context()); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", addr, got, err, want)
		}
	}
}
