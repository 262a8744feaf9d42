//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nuid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/sweep"
)

const (
	walkRequests = 100                   // whose median is taken
	walkPause    = 20 * time.Millisecond // between two requests
	walkLimit    = 3 * time.Minute       // for one sweep
	walkEvery    = 250 * time.Millisecond
)

// Scenario E: a sweep finds everybody new, MX at once: its rate, and memory as it
// goes. Then, MX taking its time, how long a request for a refresh takes, without
// and beside a sweep that finds half of the members changed.
func (b *bench) walk(ctx context.Context, c *contender) (err error) {
	w, err := b.newWorld(ctx, c, b.size.inFlight, b.size.walkMembers)
	if err != nil {
		return err
	}
	defer w.closing(&err)
	subjects, err := events.NewSubjects(c.prefix)
	if err != nil {
		return fmt.Errorf("naming subjects: %w", err)
	}
	chains := bus.NewChains(w.js, subjects, time.Now)
	if err := w.firstSweep(ctx, chains); err != nil {
		return fmt.Errorf("first sweep: %w", err)
	}
	if err := w.beside(ctx, chains, subjects); err != nil {
		return fmt.Errorf("requests beside a sweep: %w", err)
	}
	all := &pass{sent: make(map[string]time.Time, len(w.members))}
	for _, m := range w.members {
		all.sent[m.Member] = time.Time{}
	}
	return w.verify(ctx, all)
}

// firstSweep sweeps members of whom none is known.
func (w *world) firstSweep(ctx context.Context, chains *bus.Chains) error {
	begun := time.Now()
	if _, err := sweep.Start(ctx, chains, "sweep-"+nuid.Next(), sweep.Spec{}, begun); err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	var resident []float64 // in MiB, as it goes
	s, err := w.swept(ctx, chains, func() error {
		m, err := w.worker.memory()
		resident = append(resident, m.now/(1<<20))
		return err
	})
	if err != nil {
		return err
	}
	took := time.Since(begun)
	if s.Counts.New != len(w.members) || s.Counts.Errors > 0 {
		return w.fault("the sweep found %d of %d new, with %d errors: %s", s.Counts.New, len(w.members), s.Counts.Errors, s.Note)
	}
	note := func(name, unit string, value float64) { w.report.add("E", name, unit, w.c, value) }
	note("members swept and refreshed", "/s", float64(len(w.members))/took.Seconds())
	quarter := max(1, len(resident)/4)
	note("memory in the second quarter of the sweep", "MiB", median(resident[quarter:2*quarter]))
	note("memory in the last quarter of the sweep", "MiB", median(resident[len(resident)-quarter:]))
	return nil
}

// swept waits until the sweep is over and its refreshes are made. look is called
// again and again meanwhile.
func (w *world) swept(ctx context.Context, chains *bus.Chains, look func() error) (s sweep.Sweep, err error) {
	err = w.poll(ctx, walkLimit, walkEvery, "to end the sweep", func(ctx context.Context) (bool, error) {
		if err := look(); err != nil {
			return false, err
		}
		if s, err = sweep.Load(ctx, chains); err != nil || s.Outcome == "" {
			return false, err //nolint:wrapcheck // It says what it was doing.
		}
		waiting, taken, _, err := chains.Backlog(ctx)
		return waiting+taken == 0, err //nolint:wrapcheck // It says what it was doing.
	})
	return s, err
}

// beside takes the time of requests without a sweep and beside one.
func (w *world) beside(ctx context.Context, chains *bus.Chains, subjects events.Subjects) error {
	if err := w.mx.setLatency(ctx, slowMX); err != nil {
		return err
	}
	alone, err := w.requests(ctx, subjects)
	if err != nil {
		return err
	}
	if _, err := w.mx.flip(ctx); err != nil {
		return err
	}
	if _, err := sweep.Start(ctx, chains, "sweep-"+nuid.Next(), sweep.Spec{}, time.Now()); err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	if err := w.poll(ctx, walkLimit, walkEvery, "to ask for refreshes", func(ctx context.Context) (bool, error) {
		s, err := sweep.Load(ctx, chains)
		return s.Counts.Asked > 0, err //nolint:wrapcheck // It says what it was doing.
	}); err != nil {
		return err
	}
	loaded, err := w.requests(ctx, subjects)
	if err != nil {
		return err
	}
	s, err := sweep.Load(ctx, chains)
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	if s.Outcome != "" {
		w.report.note("the sweep was over before the last request; give it more members")
	}
	if err := w.mx.setLatency(ctx, 0); err != nil {
		return err
	}
	if _, err := w.swept(ctx, chains, func() error { return nil }); err != nil {
		return err
	}
	note := func(name, unit string, value float64) { w.report.add("E", name, unit, w.c, value) }
	note("request alone, p50", "ms", milliseconds(percentile(alone, 50)))
	note("request beside a sweep, p50", "ms", milliseconds(percentile(loaded, 50)))
	note("request beside a sweep, p99", "ms", milliseconds(percentile(loaded, 99)))
	note("beside : alone, p50", "×", float64(percentile(loaded, 50))/float64(percentile(alone, 50)))
	return nil
}

// requests takes the time of requests for refreshes, one after the other, of
// members all over.
func (w *world) requests(ctx context.Context, subjects events.Subjects) ([]time.Duration, error) {
	times := make([]time.Duration, 0, walkRequests)
	for i := range walkRequests {
		m := w.members[(i*7919)%len(w.members)]
		body, err := json.Marshal(events.Command{User: m.User, Member: m.Member})
		if err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
		asking, cancel := context.WithTimeout(ctx, startTimeout)
		begun := time.Now()
		answer, err := w.nc.RequestWithContext(asking, subjects.API(events.APIRefresh), body)
		times = append(times, time.Since(begun))
		cancel()
		if err != nil {
			return nil, w.fault("request %d: %v", i, err)
		}
		if code := answer.Header.Get("Nats-Service-Error-Code"); code != "" {
			return nil, w.fault("request %d is answered with %s: %s", i, code, answer.Data)
		}
		select {
		case <-time.After(walkPause):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	slices.Sort(times)
	return times, nil
}
