package mxsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestJournalShowsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Log: mxsim.LogAll, Nasty: true, Seed: 3})
	m := s.add(t, mxsim.Patch{"is_oauth": true, "error": map[string]any{"error_code": 2004}})
	other := s.add(t, nil)
	var answers []map[string]any
	for range 5 {
		answers = append(answers, s.read(t, m))
		s.read(t, other)
		s.clock.advance(time.Second)
	}
	entries := s.Log(m.GUID, 0)
	if len(entries) != 5 {
		t.Fatalf("%d entries", len(entries))
	}
	for i, e := range entries {
		if e.N != uint64(2*i+1) || e.Status != 200 || e.Endpoint != "read" || e.MemberGUID != m.GUID || e.UserGUID != m.UserGUID ||
			e.Version != m.Version || e.Done.Before(e.At) || !e.At.Equal(newClock().t.Add(time.Duration(i)*time.Second)) {
			t.Errorf("entry %d: %+v", i, e)
		}
		want := answers[i]
		delete(want, "oauth_window_uri")
		want["oauth_window_uri_blank"] = false
		var got map[string]any
		must(t, json.Unmarshal(e.Member, &got))
		wantText, _ := json.Marshal(want)
		gotText, _ := json.Marshal(got)
		if string(wantText) != string(gotText) {
			t.Errorf("entry %d:\n%s\nwas answered:\n%s", i, gotText, wantText)
		}
	}
	if got := s.Log(m.GUID, 5); len(got) != 2 || got[0].N != 7 {
		t.Errorf("after 5: %+v", got)
	}
}

func TestJournalKnowsEveryKindOfAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Log: mxsim.LogAll})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	s.get(t, path(m)+"/status")
	s.get(t, path(m)+"/oauth_window_uri")
	s.call(t, "POST", path(m)+"/aggregate", "")
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Count: 1})
	s.get(t, path(m))
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultTruncate, Count: 1})
	s.get(t, path(m))
	must(t, s.Delete(m.GUID))
	s.get(t, path(m))
	type row struct {
		endpoint string
		status   int
		fault    mxsim.FaultKind
		member   bool
	}
	var got []row
	for _, e := range s.Log(m.GUID, 0) {
		got = append(got, row{e.Endpoint, e.Status, e.Fault, e.Member != nil})
	}
	want := []row{
		{"status", 200, "", true},
		{"oauth_window_uri", 200, "", true},
		{"aggregate", 202, "", true},
		{"read", 500, "status", false},
		{"read", 200, "truncate", true},
		{"read", 404, "", false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("entries\n%v, want\n%v", got, want)
	}
	if e := s.Log(m.GUID, 1)[0]; string(e.Member) != `{"guid":"`+m.GUID+`","oauth_window_uri_blank":false}` {
		t.Errorf("the URI's entry holds %s", e.Member)
	}
	s.get(t, "/users/"+m.UserGUID+"/members/stranger")
	if e := s.Log("stranger", 0); len(e) != 1 || e[0].Status != 404 || e[0].UserGUID != m.UserGUID {
		t.Errorf("unknown member: %+v", e)
	}
}

func TestJournalNumbersAnswersInTheOrderOfDone(t *testing.T) {
	t.Parallel()
	// A clock that never shows a time twice, and lets others overtake who asked it.
	var ticks atomic.Int64
	s := mxsim.New(mxsim.Config{Log: mxsim.LogAll, Now: func() time.Time {
		now := time.Unix(ticks.Add(1), 0)
		runtime.Gosched()
		return now
	}})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 200 {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/users/u/members/m", http.NoBody)
				s.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
	readers.Wait()
	var last mxsim.Entry
	for e := range s.LogAll(0) {
		if e.N != last.N+1 || !e.Done.After(last.Done) {
			t.Fatalf("answer %d was done at %s, answer %d at %s", last.N, last.Done, e.N, e.Done)
		}
		last = e
	}
	if last.N != 1600 {
		t.Errorf("%d answers", last.N)
	}
}

func TestJournalIsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Log: mxsim.LogAll, LogLimit: 4})
	a, b := s.add(t, nil), s.add(t, nil)
	for range 5 {
		s.read(t, a)
		s.read(t, b)
	}
	numbers := func(entries []mxsim.Entry) (out []uint64) {
		for _, e := range entries {
			out = append(out, e.N)
		}
		return out
	}
	if got := numbers(s.Log(b.GUID, 0)); !slices.Equal(got, []uint64{8, 10}) {
		t.Errorf("of one member: %v", got)
	}
	if got := numbers(slices.Collect(s.LogAll(0))); !slices.Equal(got, []uint64{7, 8, 9, 10}) {
		t.Errorf("of all: %v", got)
	}
	if got := numbers(slices.Collect(s.LogAll(9))); !slices.Equal(got, []uint64{10}) {
		t.Errorf("of all after 9: %v", got)
	}
	if n := s.Dropped(); n != 6 {
		t.Errorf("dropped %d", n)
	}
	must(t, s.SetLog(mxsim.LogAll))
	s.read(t, a)
	if got := numbers(s.Log(a.GUID, 0)); !slices.Equal(got, []uint64{11}) || s.Dropped() != 0 {
		t.Errorf("begun anew: %v", got)
	}
}

func TestJournalKeepsOnlyTheLastAnswerOrNone(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Log: mxsim.LogLast})
	a, b := s.add(t, nil), s.add(t, nil)
	for range 3 {
		s.read(t, a)
		s.read(t, b)
	}
	if got := s.Log(a.GUID, 0); len(got) != 1 || got[0].N != 5 {
		t.Errorf("last: %+v", got)
	}
	if got := slices.Collect(s.LogAll(5)); len(got) != 1 || got[0].N != 6 {
		t.Errorf("all after 5: %+v", got)
	}
	must(t, s.SetLog(mxsim.LogOff))
	s.read(t, a)
	if got := slices.Collect(s.LogAll(0)); len(got) != 0 {
		t.Errorf("off: %+v", got)
	}
	if err := s.SetLog("loud"); err == nil {
		t.Error("an unknown mode was accepted")
	}
}

func TestStatsCountByEndpointStatusAndPhase(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	s.read(t, m)
	s.get(t, "/users")
	s.get(t, "/elsewhere")
	s.ResetStats("second")
	s.read(t, m)
	s.get(t, path(m)+"x")
	got := s.Stats()
	if got.Total.Requests != 5 || got.Phase.Requests != 2 || got.Phase.Name != "second" || got.InFlight != 0 || got.MaxInFlight != 1 {
		t.Errorf("stats %+v", got)
	}
	if got.Total.ByEndpoint["read"]["200"] != 2 || got.Total.ByEndpoint["users"]["200"] != 1 || got.Total.ByEndpoint["unknown"]["404"] != 1 {
		t.Errorf("total %v", got.Total.ByEndpoint)
	}
	if got.Phase.ByEndpoint["read"]["200"] != 1 || got.Phase.ByEndpoint["read"]["404"] != 1 || len(got.Phase.ByEndpoint) != 1 {
		t.Errorf("phase %v", got.Phase.ByEndpoint)
	}
}
