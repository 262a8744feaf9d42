//go:build linux

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// stolen tells how far the machine was ours while a burst was worked on.
const stolen = "processor time that other machines took"

// Scenario A: a burst of commands while MX answers at once.
func (b *bench) throughput(ctx context.Context, c *contender) (err error) {
	w, err := b.newWorld(ctx, c, b.size.inFlight, b.size.members)
	if err != nil {
		return err
	}
	defer w.closing(&err)
	if _, err := w.run(ctx, w.members, nil); err != nil {
		return fmt.Errorf("seeding: %w", err)
	}
	if _, err := w.burst(ctx, "A", true); err != nil {
		return fmt.Errorf("warm pass: %w", err)
	}
	if err := w.restartWorker(ctx); err != nil {
		return err
	}
	p, err := w.burst(ctx, "A cold", false)
	if err != nil {
		return fmt.Errorf("cold pass: %w", err)
	}
	return w.verify(ctx, p)
}

// burst flips half of the members and measures a command for each.
func (w *world) burst(ctx context.Context, scenario string, warm bool) (*pass, error) {
	changes, err := w.mx.flip(ctx)
	if err != nil {
		return nil, err
	}
	if warm {
		w.signal(syscall.SIGUSR1)
		defer w.signal(syscall.SIGUSR2)
	}
	p, err := w.run(ctx, w.members, nil)
	if err != nil {
		return nil, err
	}
	all, err := w.eventsAfter(ctx, p.after)
	if err != nil {
		return nil, err
	}
	if len(all) != changes {
		if err := w.fault("%d changes made %d events", changes, len(all)); err != nil {
			return nil, err
		}
	}
	_, delays := p.delays(all, 0)
	note := func(name, unit string, value float64) { w.report.add(scenario, name, unit, w.c, value) }
	note("throughput", "/s", float64(p.commands)/p.took.Seconds())
	note(stolen, "%", p.stolen)
	note("command to event, p50", "ms", milliseconds(percentile(delays, 50)))
	note("command to event, p99", "ms", milliseconds(percentile(delays, 99)))
	w.processorTime(scenario, p)
	note("reads of MX", "", float64(p.allReads))
	note("peak memory (VmHWM)", "MB", p.memory.peak/1e6)
	note("memory at the end (VmRSS)", "MB", p.memory.now/1e6)
	if warm {
		w.countWrites(p, changes)
	}
	if warm && w.c.isProduct() {
		off, err := w.tracingOff(ctx)
		if err != nil {
			return nil, err
		}
		note("tracing while it is off, of worker CPU", "%", 100*float64(off)*float64(p.commands)/float64(p.worker))
	}
	return p, nil
}

// processorTime reports what a pass has cost each process. What the server and
// the simulator spent on follow-ups is in it.
func (w *world) processorTime(scenario string, p *pass) {
	note := func(name string, of time.Duration) {
		w.report.add(scenario, name, "ms", w.c, milliseconds(of)*1000/float64(p.commands))
	}
	note("worker CPU per 1,000 commands", p.worker)
	note("the same with follow-up reads", p.followed)
	note("nats-server CPU per 1,000 commands", p.server)
	note("simulator CPU per 1,000 commands", p.mxsim)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// signal tells a worker that was built to be profiled.
func (w *world) signal(s syscall.Signal) {
	if w.profile != "" && w.c.isProduct() {
		_ = w.worker.cmd.Process.Signal(s) // a worker that has ended is noticed elsewhere
	}
}
