package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/sweep"
)

// sweepAt runs the sweep command against a NATS.
func sweepAt(ctx context.Context, url string, args ...string) (stdout, stderr string, err error) {
	var out, log bytes.Buffer
	err = run(ctx, append([]string{"sweep"}, args...), envconfig.MapLookuper(map[string]string{"NATS_URL": url}), &out, &log)
	return out.String(), log.String(), err
}

func TestSweepGoesOnWhenNobodyWatchesAndEndsWhenTold(t *testing.T) {
	t.Parallel()
	server := embeddedtest.Start(t) // and no worker: the sweep stands still
	if _, _, err := sweepAt(t.Context(), server.URL()); err == nil || !strings.Contains(err.Error(), "no stream MX_BACKGROUND") {
		t.Errorf("before the service has run: %v", err)
	}
	js, err := jetstream.New(embeddedtest.Connect(t, server))
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	c := bus.Config{SubjectPrefix: events.DefaultPrefix, StreamReplicas: 1, Topology: bus.TopologyEnsure, HistoryPerType: 1}
	if err := bus.NewTopology(js, c, subjects, bus.Identity{OAuthTTL: time.Minute}).Ready(t.Context(), unwatched{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	chains := bus.NewChains(js, subjects, time.Now)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, _, err := sweepAt(ctx, server.URL(), "--dry-run")
		ended <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var s sweep.Sweep
	for s.ID == "" { // another process begins it
		<-tick.C
		if s, err = sweep.Load(t.Context(), chains); err != nil && !errors.Is(err, sweep.ErrNone) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, errUnwatched) || !strings.Contains(err.Error(), "--resume") {
		t.Errorf("it was left with %v", err)
	}
	if s, err = sweep.Load(t.Context(), chains); err != nil || s.Outcome != "" {
		t.Errorf("left, it is %q, %v", s.Outcome, err)
	}
	if _, _, err := sweepAt(t.Context(), server.URL()); !errors.Is(err, sweep.ErrRunning) || !strings.Contains(err.Error(), "--stop") {
		t.Errorf("another beside it: %v", err)
	}
	if out, _, err := sweepAt(t.Context(), server.URL(), "--stop"); err != nil || !strings.Contains(out, s.ID+" stopped after ") {
		t.Errorf("told to end it says %q, %v", out, err)
	}
	if _, _, err := sweepAt(t.Context(), server.URL(), "--resume"); !errors.Is(err, errSweep) {
		t.Errorf("watched after that: %v", err)
	}
}

func TestProgressIsDoneOfTotalRateAndTimeLeftWhereNobodyWatchesABar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "sweep-1")
	at := time.Unix(0, 0)
	s := sweep.Sweep{Phase: sweep.PhaseNew, Total: 1000}
	p.update(&s, at)
	s.Counts = sweep.Counts{Users: 100, Members: 250, New: 7, Errors: 1}
	p.update(&s, at.Add(time.Second)) // too soon for a line
	p.update(&s, at.Add(10*time.Second))
	s.Phase, s.First, s.Cursor, s.End = sweep.PhaseKnown, 1, 51, 100
	s.Waiting = true
	p.update(&s, at.Add(11*time.Second))
	want := `sweep sweep-1
looking for new users 0/1000 users; 0 members: 0 changed, 0 new, 0 missing, 0 errors
looking for new users 100/1000 users, 10/s, 1m30s left; 250 members: 0 changed, 7 new, 0 missing, 1 errors
looking at known users 50/100 events; 250 members: 0 changed, 7 new, 0 missing, 1 errors; waiting for refreshes to be made
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestProgressDrawsABarOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgress(&out, "sweep-1")
	p.bars = true
	s := sweep.Sweep{Phase: sweep.PhaseNew}
	p.update(&s, time.Unix(0, 0)) // MX has not said how many there are
	s.Total, s.Counts.Users = 1000, 250
	p.update(&s, time.Unix(1, 0))
	p.say("a line beside it")
	p.close()
	for _, want := range []string{"looking for new users", "25%", "250/1000", "a line beside it\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in %q", want, out.String())
		}
	}
}
