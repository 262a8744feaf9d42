package sweep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Names of the chains, which are also the causes of the refreshes that they ask for.
const (
	chainSweep    = "sweep"
	chainPeriodic = "periodic"
)

const (
	// maxBacklog is how much of the slow lane's work may wait to be handed out before a
	// walk does: it is how workers that are slower than the walk show. What they have in
	// hand is bounded by themselves, and what waits for a delay is no work of theirs:
	// members that fail for long, or deletions that are held, must not end the walk for
	// all others.
	maxBacklog = 2_000
	// takenShare is the part of the lane's places, over all workers, that may be taken by
	// what is in hand or waits for its delay before a walk waits: without a place nothing
	// is handed out, and the rest is for deletions and whatever else is due.
	takenShare = 2
	// backlogPause is how long a walk waits for the backlog.
	backlogPause = time.Second
	// atOnce is how many users a step visits at once. Calls to MX are bounded by the
	// service; this bounds what waits for them.
	atOnce = 16
	// tendEvery is how often a worker looks whether the chains go on.
	tendEvery = time.Minute
	// tendAgain is when it looks again after it could not.
	tendAgain = time.Second
)

// errUnknownChain: a tick of a chain that this version does not have.
var errUnknownChain = errors.New("no such chain")

// Deps are what a Walker works with. All are required.
type Deps struct {
	Chains    Chains
	Refreshes Refreshes
	Known     Known
	States    States
	Lists     Lists
	Service   Service
	Log       *slog.Logger
	Now       func() time.Time
	Jitter    func() float64 // in [0,1)
}

// Walker makes the steps of walks. It is safe for concurrent use.
type Walker struct {
	Deps
	config   Config
	minPause time.Duration // between two steps of the periodic refresh, at least
	retry    time.Duration // before a question that failed for its own reasons is asked again
}

// New returns a Walker. It does nothing by itself until [Walker.Run].
func New(c Config, d Deps) *Walker {
	return &Walker{Deps: d, config: c, minPause: minPause, retry: retryPause}
}

// Step makes the next step of a chain. Calling it twice with the same state asks
// for nothing that was not asked for already.
func (w *Walker) Step(ctx context.Context, chain string, _, attempt uint64, state []byte) (next []byte, after time.Duration, err error) {
	switch chain {
	case chainSweep:
		return w.sweep(ctx, attempt, state)
	case chainPeriodic:
		return w.periodic(ctx, state)
	}
	return nil, 0, fmt.Errorf("%w: %q", errUnknownChain, chain)
}

// Run sees to it that the chains go on, until ctx ends: that the periodic refresh
// has begun if it is wanted, and that no chain has lost its next step.
func (w *Walker) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		wait := tendEvery
		if err := w.tend(ctx); err != nil && ctx.Err() == nil {
			w.Log.Warn("looking after sweep and periodic refresh failed", "error", err)
			wait = tendAgain
		}
		t.Reset(wait)
	}
}

func (w *Walker) tend(ctx context.Context) error {
	return errors.Join(w.beginPeriodic(ctx), w.Chains.Revive(ctx, chainPeriodic), w.Chains.Revive(ctx, chainSweep))
}

// busy reports whether the slow lane has enough to do.
func (w *Walker) busy(ctx context.Context) (bool, error) {
	waiting, taken, places, err := w.Refreshes.Backlog(ctx)
	if err != nil {
		return false, fmt.Errorf("looking at backlog: %w", err)
	}
	return waiting >= maxBacklog || places > 0 && waiting+taken >= places/takenShare, nil
}

// each calls do for every item, atOnce at a time, and returns the first error.
// After one no further item is begun.
func each[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	work := make(chan T)
	for range min(atOnce, len(items)) {
		wg.Go(func() {
			for item := range work {
				if err := do(ctx, item); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
feed:
	for _, item := range items {
		select {
		case work <- item:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// retryPause and tries: a question that MX answers badly, while it answers others
// well, is asked so often before it is counted as an error and left.
const (
	retryPause = time.Second
	tries      = 3
)

// ask asks MX, again if need be. An error is refresh.ErrUnavailable, that of ctx,
// or one that speaks of the question alone and came every time.
func (w *Walker) ask(ctx context.Context, about string, question func(context.Context) error) error {
	for n := 1; ; n++ {
		err := w.Service.Ask(ctx, about, question)
		if err == nil || n == tries || !itsOwn(ctx, err) {
			return err
		}
		select {
		case <-time.After(time.Duration(n) * w.retry):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// itsOwn reports whether an error speaks of what was asked, and may not last.
func itsOwn(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, refresh.ErrUnavailable) && !notFound(err)
}
