//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

const (
	slowMX       = 50 * time.Millisecond
	wideInFlight = 256
	pacedRate    = 500 // commands a second
	// beginning is told apart: after a second of silence a worker asks MX for little
	// at once, until it has seen that MX answers.
	beginning = time.Second
)

// Scenario B: MX takes its time. First a burst that should keep every call in
// flight; its 12,800 commands are 2.5 s of a full pipe, so that it ends before
// the first follow-up read is due. Then a steady stream far below that.
func (b *bench) latency(ctx context.Context, c *contender) (err error) {
	w, err := b.newWorld(ctx, c, wideInFlight, b.size.members)
	if err != nil {
		return err
	}
	defer w.closing(&err)
	if _, err := w.run(ctx, w.members, nil); err != nil {
		return fmt.Errorf("seeding: %w", err)
	}
	if err := w.mx.setLatency(ctx, slowMX); err != nil {
		return err
	}
	if err := w.fullPipe(ctx); err != nil {
		return fmt.Errorf("full pipe: %w", err)
	}
	p, err := w.steadyStream(ctx)
	if err != nil {
		return fmt.Errorf("steady stream: %w", err)
	}
	return w.verify(ctx, p)
}

func (w *world) fullPipe(ctx context.Context) error {
	if _, err := w.mx.flip(ctx); err != nil {
		return err
	}
	p, err := w.run(ctx, w.targets(w.size.wideCommands), nil)
	if err != nil {
		return err
	}
	most := wideInFlight / slowMX.Seconds()
	rate := float64(p.commands) / p.took.Seconds()
	w.report.add("B", "throughput", "/s", w.c, rate)
	w.report.add("B", "share of what 256 in flight allow", "%", w.c, 100*rate/most)
	w.report.add("B", stolen, "%", w.c, p.stolen)
	w.processorTime("B", p)
	w.report.add("B", "peak memory (VmHWM)", "MB", w.c, p.memory.peak/1e6)
	return nil
}

func (w *world) steadyStream(ctx context.Context) (*pass, error) {
	if _, err := w.mx.flip(ctx); err != nil {
		return nil, err
	}
	targets := w.targets(int(pacedRate * (beginning + w.size.paced).Seconds()))
	p, err := w.run(ctx, targets, pace(pacedRate))
	if err != nil {
		return nil, err
	}
	all, err := w.eventsAfter(ctx, p.after)
	if err != nil {
		return nil, err
	}
	early, late := p.delays(all, beginning)
	w.report.add("B", "added to MX's time, p50", "ms", w.c, milliseconds(percentile(late, 50)-slowMX))
	w.report.add("B", "added to MX's time, p99", "ms", w.c, milliseconds(percentile(late, 99)-slowMX))
	w.report.add("B", "the same in the first second, p99", "ms", w.c, milliseconds(percentile(early, 99)-slowMX))
	w.report.add("B", stolen+", steady stream", "%", w.c, p.stolen)
	w.processorTime("B paced", p)
	return p, nil
}

// targets are n members in order, beginning again when there are no more.
func (w *world) targets(n int) []ref {
	out := make([]ref, n)
	for i := range out {
		out[i] = w.members[i%len(w.members)]
	}
	return out
}

// pace holds the i-th command back until it is due.
func pace(rate int) func(context.Context, int) error {
	var begun time.Time
	return func(ctx context.Context, i int) error {
		if i == 0 {
			begun = time.Now()
		}
		wait := time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(rate)))
		if wait <= 0 {
			return nil
		}
		select {
		case <-time.After(wait):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
