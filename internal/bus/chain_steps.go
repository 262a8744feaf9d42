package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Stepper makes the steps of chains. *sweep.Walker is one.
type Stepper interface {
	// Step makes a chain's next step and returns the state to go on with, and after
	// how long; a negative time ends the chain. It may be called again for a step
	// that it has made, and by two workers at once. number names the step, and
	// attempt counts how often it was begun, from 1. After an error the step is
	// tried again, with growing delay.
	Step(ctx context.Context, chain string, number, attempt uint64, state []byte) (next []byte, after time.Duration, err error)
}

// Delays after which a step is tried again.
const (
	stepDelay    = time.Second
	stepDelayMax = 30 * time.Second
	// idleTick is when a tick comes again that this worker has no use for.
	idleTick = 5 * time.Second
	// maxStepPanics is how often a step may panic before its tick is a dead letter.
	maxStepPanics = 3
)

// errStepPanicked ends a step that panicked.
var errStepPanicked = errors.New("making a step panicked")

// Serve has s make the steps of chains from now on. Without it ticks are left to
// workers that have one.
func (b *Bus) Serve(s Stepper) { b.steps.Store(&s) }

// Chains returns the chains of the installation.
func (b *Bus) Chains() *Chains { return b.chains }

// tick makes the step that a message asks for, in a goroutine of its own: it may
// take its time, while the message is kept alive.
func (b *Bus) tick(ctx context.Context, d *delivery, body *slowBody) {
	settle := d.settling(ctx)
	steps := b.steps.Load()
	if steps == nil {
		settle(refresh.Verdict{Disposition: refresh.Retry, Delay: idleTick})
		return
	}
	b.walking.Go(func() {
		err := b.step(ctx, *steps, d, body)
		switch {
		case err == nil:
			settle(refresh.Verdict{Disposition: refresh.Done})
		case ctx.Err() != nil:
			settle(refresh.Verdict{Disposition: refresh.Return, Reason: err.Error()})
		case errors.Is(err, errStepPanicked) && d.meta.NumDelivered >= maxStepPanics:
			settle(refresh.Verdict{Disposition: refresh.Dead, Category: events.CategoryPanicked, Reason: err.Error()})
		default:
			delay := min(stepDelay<<min(d.meta.NumDelivered-1, 8), stepDelayMax)
			b.log.Warn("step of a chain failed; it is tried again", "chain", body.Chain, "step", body.Step, "in", delay, "error", err)
			settle(refresh.Verdict{Disposition: refresh.Retry, Delay: delay, Reason: err.Error()})
		}
	})
}

// step makes the step that a tick asks for, if it is the chain's next one.
func (b *Bus) step(ctx context.Context, steps Stepper, d *delivery, body *slowBody) error {
	name := body.Chain
	now, seq, err := b.chains.load(ctx, name)
	if err != nil {
		return err
	}
	if seq == 0 {
		return nil // there is no such chain
	}
	if !now.Live {
		b.metrics.steps.WithLabelValues(name, stepIdle).Inc()
		return nil
	}
	if body.Step != now.Step {
		b.metrics.steps.WithLabelValues(name, stepStale).Inc()
		return b.chains.Revive(ctx, name)
	}
	next := link{Step: now.Step + 1}
	var after time.Duration
	next.State, after, err = b.walk(ctx, steps, name, now, d.meta.NumDelivered)
	if err != nil {
		b.metrics.steps.WithLabelValues(name, stepFailed).Inc()
		return err
	}
	next.Live = after >= 0
	_, err = b.chains.save(ctx, name, next, seq)
	if errors.Is(err, refresh.ErrConflict) {
		b.metrics.steps.WithLabelValues(name, stepOvertaken).Inc()
		return b.chains.Revive(ctx, name) // somebody else made the step, or ended the chain
	}
	if err != nil {
		return err
	}
	b.metrics.steps.WithLabelValues(name, stepMade).Inc()
	if !next.Live {
		return nil
	}
	return b.chains.tick(ctx, name, next.Step, after)
}

// walk calls the walker and turns a panic into an error with its stack logged.
func (b *Bus) walk(ctx context.Context, steps Stepper, name string, now link, attempt uint64) (state []byte, after time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("making a step panicked", "chain", name, "step", now.Step, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errStepPanicked, p)
		}
	}()
	return steps.Step(ctx, name, now.Step, attempt, now.State)
}

// How a step can end, for the metric.
const (
	stepMade      = "made"
	stepFailed    = "failed"
	stepStale     = "stale"     // its tick was a leftover
	stepIdle      = "idle"      // the chain had ended
	stepOvertaken = "overtaken" // another worker made it
)
