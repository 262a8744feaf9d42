//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestCPUTimeIsReadBehindAnyProgramName(t *testing.T) {
	t.Parallel()
	const stat = "42 (a ) S) (b) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 9 9 20 0 8 0 1000 1 2 3"
	got, err := parseStat([]byte(stat))
	if want := 1750 * time.Millisecond; err != nil || got != want {
		t.Errorf("parseStat: %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "42 (x) S 1 2", "42 x"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("parseStat(%q) is no error", bad)
		}
	}
}

func TestMemoryIsReadInBytes(t *testing.T) {
	t.Parallel()
	got, err := parseStatus("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n")
	if want := (memory{now: 1 << 20, peak: 2 << 20}); err != nil || got != want {
		t.Errorf("parseStatus: %v, %v; want %v", got, err, want)
	}
	if _, err := parseStatus("Name:\tx\n"); err == nil {
		t.Error("a status without memory is no error")
	}
}

func TestPercentileIsOneOfTheValues(t *testing.T) {
	t.Parallel()
	values := []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for p, want := range map[float64]time.Duration{0: 1, 10: 1, 50: 5, 51: 6, 99: 10, 100: 10} {
		if got := percentile(values, p); got != want {
			t.Errorf("percentile %v of 1 to 10: %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("percentile of nothing: %v", got)
	}
}

func TestDelayRunsFromTheFirstCommandToTheFirstEvent(t *testing.T) {
	t.Parallel()
	begun := time.Unix(1000, 0)
	p := pass{first: begun, sent: map[string]time.Time{"a": begun, "b": begun.Add(time.Second), "silent": begun}}
	all := []stored{
		{member: "a", at: begun.Add(9 * time.Second)},
		{member: "stranger", at: begun.Add(2 * time.Second)},
		{member: "b", at: begun.Add(3 * time.Second)},
		{member: "a", at: begun.Add(20 * time.Second)},
	}
	_, got := p.delays(all, 0)
	if want := []time.Duration{2 * time.Second, 9 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
	early, late := p.delays(all, time.Second)
	if len(early) != 1 || len(late) != 1 || early[0] != 9*time.Second || late[0] != 2*time.Second {
		t.Errorf("delays of the first second %v, then %v; want 9s, then 2s", early, late)
	}
}

func TestDisorderTellsOlderNewsFromRepeatedNews(t *testing.T) {
	t.Parallel()
	outOfTurn, repeated := disorder([]stored{
		{member: "a", status: "CONNECTED", name: "Bank"},
		{member: "a", status: "DEGRADED", name: "1"},
		{member: "b", status: "CONNECTED", name: "1"},
		{member: "a", status: "DEGRADED", name: "3"},
		{member: "a", status: "CONNECTED", name: "2"}, // older
		{member: "b", status: "CONNECTED", name: "1"}, // again
		{member: "b", status: "DEGRADED", name: "1"},
	})
	if outOfTurn != 1 || repeated != 1 {
		t.Errorf("%d out of turn and %d repeated, want 1 and 1", outOfTurn, repeated)
	}
}

func TestRatioIsTheMedianOfTheRoundsRatios(t *testing.T) {
	t.Parallel()
	r := newReport()
	for _, round := range [][2]float64{{100, 100}, {300, 100}, {20, 10}} {
		r.add("A", "throughput", "/s", memberwatch(), round[0])
		r.add("A", "throughput", "/s", bareLoop(), round[1])
	}
	r.add("A", "peak memory (VmHWM)", "MB", memberwatch(), 31)
	r.conclude()
	if o := r.Rows[0]; o.Ratio == nil || *o.Ratio != 2 || o.Met == nil || !*o.Met {
		t.Errorf("throughput: ratio %v, met %v; want 2 and met", o.Ratio, o.Met)
	}
	if o := r.Rows[1]; o.Ratio != nil || o.Met == nil || *o.Met {
		t.Errorf("memory: ratio %v, met %v; want none and missed", o.Ratio, o.Met)
	}
	var out bytes.Buffer
	size := fullSize()
	r.write(&out, size.titles())
	for _, want := range []string{"throughput, /s", "2.00×", "≥ 1×", "met", "≤ 30", "missed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &out)
		}
	}
}

func TestEveryTargetBelongsToARowThatIsMeasured(t *testing.T) {
	t.Parallel()
	size := quickSize()
	titles := size.titles()
	for _, scenario := range []string{"A", "A cold", "B", "C", "D"} {
		if titles[scenario] == "" {
			t.Errorf("scenario %s has no title", scenario)
		}
	}
	if targets("A", "nothing") != nil {
		t.Error("an unknown row has a target")
	}
}

// TestBareLoopPublishesAChangeOnce holds the loop to being a fair rival: it does
// the work that it is compared by.
func TestBareLoopPublishesAChangeOnce(t *testing.T) {
	t.Parallel()
	server := embeddedtest.Start(t)
	sim, err := mxsim.Start(t.Context(), "", mxsim.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	refs, err := sim.AddBulk(mxsim.Bulk{Users: 1, MembersPerUser: 4})
	if err != nil {
		t.Fatal(err)
	}
	nc := embeddedtest.Connect(t, server)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- runLoop(ctx, loopConfig{natsURL: server.URL(), mxURL: sim.URL, inFlight: 4}, func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the loop ended: %v", err)
	}
	refresh := func() {
		t.Helper()
		for _, r := range refs {
			if _, err := js.Publish(ctx, loopPrefix+".commands.member.refresh."+r.UserGUID+"."+r.GUID, nil); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := js.Stream(ctx, loopCommands)
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for info, err := stream.Info(ctx); info == nil || info.State.Msgs > 0; info, err = stream.Info(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			<-tick.C
		}
	}
	refresh() // first sight: 4 events
	refresh() // nothing new
	sim.Flip(mxsim.Flip{})
	refresh() // 2 changed
	stream, err := js.Stream(ctx, loopEvents)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 6 {
		t.Errorf("%d events, want 4 at first sight and 2 of changes", n)
	}
	last, err := stream.GetLastMsgForSubject(ctx, loopPrefix+".events.member.degraded.>")
	if err != nil {
		t.Fatal(err)
	}
	var e loopEvent
	if err := json.Unmarshal(last.Data, &e); err != nil {
		t.Fatal(err)
	}
	if e.Data.Previous != "CONNECTED" || e.Data.Member.ConnectionStatus != "DEGRADED" {
		t.Errorf("the event says %s after %s, want DEGRADED after CONNECTED", e.Data.Member.ConnectionStatus, e.Data.Previous)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the loop ended with %v", err)
	}
}
