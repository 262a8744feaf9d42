package mxsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestStatusFaultAnswersWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	for _, tt := range []struct {
		fault                      mxsim.Fault
		status                     int
		body, contentType, retryIn string
	}{
		{mxsim.Fault{Status: 429, RetryAfter: "7"}, 429, `{"error":{"status":429,"message":"the simulator was told to answer so"}}`, "application/json; charset=utf-8", "7"},
		{mxsim.Fault{Status: 429, Body: new("slow down")}, 429, "slow down", "text/plain; charset=utf-8", ""},
		{mxsim.Fault{Status: 503, Body: new("")}, 503, "", "text/plain; charset=utf-8", ""},
		{mxsim.Fault{Status: 403, Body: new(`{"a":1}`)}, 403, `{"a":1}`, "application/json; charset=utf-8", ""},
		{mxsim.Fault{Status: 200, Body: new(`{`), ContentType: "application/json"}, 200, `{`, "application/json", ""},
	} {
		tt.fault.Kind, tt.fault.Count = mxsim.FaultStatus, 1
		s.inject(t, tt.fault)
		resp := s.get(t, path(m))
		if resp.status != tt.status || string(resp.body) != tt.body ||
			resp.header.Get("Content-Type") != tt.contentType || resp.header.Get("Retry-After") != tt.retryIn {
			t.Errorf("%+v: %d %q %v", tt.fault, resp.status, resp.body, resp.header)
		}
	}
	s.read(t, m)
}

func TestFaultsEndByCountTimeOrCommand(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	want := func(what string, statuses ...int) {
		t.Helper()
		for i, status := range statuses {
			if resp := s.get(t, path(m)); resp.status != status {
				t.Errorf("%s: request %d: status %d, want %d", what, i+1, resp.status, status)
			}
		}
	}
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Count: 2})
	want("count", 500, 500, 200)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 503, For: time.Minute})
	want("time", 503, 503, 503)
	s.clock.advance(time.Minute)
	want("time is over", 200)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 502, Every: 3})
	want("every third", 200, 200, 502, 200, 200, 502)
	if f := s.Faults(); len(f) != 1 || f[0].Hits != 2 {
		t.Errorf("faults %+v", f)
	}
	if n := s.ClearFaults(); n != 1 {
		t.Errorf("cleared %d", n)
	}
	id := s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 401})
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 406})
	want("the first goes", 401)
	s.ClearFaults(id)
	want("then the second", 406)
}

func TestFaultsKeepToTheirScope(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"is_oauth": true, "id": "mine"})
	other := s.add(t, mxsim.Patch{"is_oauth": true})
	requests := map[string][2]string{
		"read": {"GET", path(m)}, "by id": {"GET", "/users/" + m.UserGUID + "/members/mine"},
		"status": {"GET", path(m) + "/status"}, "uri": {"GET", path(m) + "/oauth_window_uri"},
		"aggregate": {"POST", path(m) + "/aggregate"}, "members": {"GET", "/users/" + m.UserGUID + "/members"},
		"users": {"GET", "/users"}, "other": {"GET", path(other)},
	}
	for _, tt := range []struct {
		fault mxsim.Fault
		hit   []string
	}{
		{mxsim.Fault{}, []string{"read", "by id", "status", "uri", "aggregate", "members", "users", "other"}},
		{mxsim.Fault{Scope: "read"}, []string{"read", "by id", "other"}},
		{mxsim.Fault{Scope: "status"}, []string{"status"}},
		{mxsim.Fault{Scope: "oauth_window_uri"}, []string{"uri"}},
		{mxsim.Fault{Scope: "aggregate"}, []string{"aggregate"}},
		{mxsim.Fault{Scope: mxsim.ScopeLists}, []string{"members", "users"}},
		{mxsim.Fault{Scope: "users"}, []string{"users"}},
		{mxsim.Fault{Member: m.GUID}, []string{"read", "by id", "status", "uri", "aggregate"}},
		{mxsim.Fault{Member: "mine"}, []string{"by id"}},
		{mxsim.Fault{Member: m.GUID, Scope: "aggregate"}, []string{"aggregate"}},
		{mxsim.Fault{User: m.UserGUID}, []string{"read", "by id", "status", "uri", "aggregate", "members"}},
	} {
		tt.fault.Kind, tt.fault.Status = mxsim.FaultStatus, 504
		id := s.inject(t, tt.fault)
		hit := map[string]bool{}
		for _, name := range tt.hit {
			hit[name] = true
		}
		for name, r := range requests {
			if got := s.call(t, r[0], r[1], "").status == 504; got != hit[name] {
				t.Errorf("%+v: %s hit: %v", tt.fault, name, got)
			}
		}
		s.ClearFaults(id)
	}
}

func TestBrokenAnswersBreakAsTold(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultTruncate, Count: 1})
	if resp := s.get(t, path(m)); !errors.Is(resp.err, io.ErrUnexpectedEOF) || len(resp.body) < 100 || json.Valid(resp.body) {
		t.Errorf("truncated: %v, %q", resp.err, resp.body)
	}
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultNonJSON, Count: 1})
	if resp := s.get(t, path(m)); resp.status != 200 || json.Valid(resp.body) {
		t.Errorf("not JSON: %d %q", resp.status, resp.body)
	}
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultOversize, Count: 1, Size: 3 << 20})
	resp := s.get(t, path(m))
	if len(resp.body) != 3<<20 || resp.member(t, 200)["guid"] != m.GUID {
		t.Errorf("oversize: %d bytes", len(resp.body))
	}
	for _, guid := range []string{"MBR-chosen", ""} {
		s.inject(t, mxsim.Fault{Kind: mxsim.FaultWrongGUID, Count: 1, GUID: guid})
		got := s.read(t, m)
		if got["guid"] == m.GUID || guid != "" && got["guid"] != guid || got["connection_status"] != "CONNECTED" {
			t.Errorf("wrong guid: %v", got)
		}
	}
	s.read(t, m)
}

func TestCutConnectionsGiveNoAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	as[*http.Transport](t, s.client.Transport).DisableKeepAlives = true // so that nothing is repeated
	for _, kind := range []mxsim.FaultKind{mxsim.FaultCut, mxsim.FaultCutHead} {
		s.inject(t, mxsim.Fault{Kind: kind, Count: 1})
		if resp, err := s.do(s.request(t, "GET", path(m), "")); err == nil {
			t.Errorf("%s: status %d", kind, resp.status)
		}
		s.read(t, m)
	}
	if n := s.Stats().Total.ByEndpoint["read"]["0"]; n != 2 {
		t.Errorf("%d requests without an answer", n)
	}
}

func TestHangLastsUntilTheClientGoes(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultHang})
	req := s.request(t, http.MethodPost, path(m)+"/aggregate", "{}")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(req.WithContext(ctx))
		ended <- err
	}()
	eventually(t, "a request in flight", func() bool { return s.Stats().InFlight == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("hang ended with %v", err)
	}
	eventually(t, "no request in flight", func() bool { return s.Stats().InFlight == 0 })
	if n := s.Stats().MaxInFlight; n != 1 {
		t.Errorf("at most %d in flight", n)
	}
	s.ResetStats("after")
	if n := s.Stats().MaxInFlight; n != 0 {
		t.Errorf("at most %d in flight in a phase without requests", n)
	}
	if n := s.Stats().Total.ByEndpoint["aggregate"]["0"]; n != 1 {
		t.Errorf("%d requests without an answer", n)
	}
}

func TestCloseEndsWhatHangsAndWaits(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Latency: time.Hour})
	m := s.add(t, nil)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultHang, Count: 1})
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := s.do(s.request(t, "GET", path(m), "").WithContext(context.WithoutCancel(t.Context())))
			ended <- err
		}()
	}
	eventually(t, "two requests in flight", func() bool { return s.Stats().InFlight == 2 })
	must(t, s.Close())
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("a closed simulator answered")
		}
	}
}

func TestStaleLatencyAnswersWhatWasTrueBefore(t *testing.T) {
	t.Parallel()
	for _, stale := range []bool{false, true} {
		s := start(t, mxsim.Config{})
		m := s.add(t, nil)
		s.inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 200 * time.Millisecond, Stale: stale, Count: 1})
		got := make(chan any, 1)
		go func() { got <- s.read(t, m)["connection_status"] }()
		eventually(t, "a request in flight", func() bool {
			truth, err := s.Truth(m.GUID)
			return err == nil && s.Stats().InFlight == 1 && (!stale || truth.Answers == 1)
		})
		must(t, s.Set(m.GUID, mxsim.Patch{"connection_status": "LOCKED"}))
		want := map[bool]string{false: "LOCKED", true: "CONNECTED"}[stale]
		if status := <-got; status != want {
			t.Errorf("stale %v: %v, want %s", stale, status, want)
		}
	}
}

func TestStaleLatencyDecidesBeforeItWaits(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: time.Hour, Stale: true})
	ended := make(chan error, 1)
	go func() {
		_, err := s.do(s.request(t, "GET", path(m), "").WithContext(context.WithoutCancel(t.Context())))
		ended <- err
	}()
	eventually(t, "a decided answer", func() bool {
		truth, err := s.Truth(m.GUID)
		return err == nil && truth.Answers == 1
	})
	must(t, s.Close())
	if err := <-ended; err == nil {
		t.Error("the answer came an hour early")
	}
}

func TestImpossibleFaultsAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	for _, f := range []mxsim.Fault{
		{},
		{Kind: "flood"},
		{Kind: mxsim.FaultLatency},
		{Kind: mxsim.FaultStatus},
		{Kind: mxsim.FaultStatus, Status: 99},
		{Kind: mxsim.FaultCut, Scope: "everything"},
		{Kind: mxsim.FaultCut, Count: -1},
	} {
		if _, err := s.Inject(f); !errors.Is(err, mxsim.ErrInvalid) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// eventually polls for what happens on the other side of a connection.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("never: %s", what)
		}
	}
}
