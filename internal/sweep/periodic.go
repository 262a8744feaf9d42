package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

const (
	// periodicSteps is how many steps a period has, unless they would come closer
	// than minPause or further apart than maxPause.
	periodicSteps = 1000
	minPause      = time.Second
	maxPause      = 30 * time.Second
	// periodicSpan is how many sequences a step covers at most. One that has more to
	// do is followed by the next at once.
	periodicSpan = 1024
)

// round is how far the periodic refresh has come.
type round struct {
	Began  time.Time `json:"began"`  // this period
	Cursor uint64    `json:"cursor"` // the sequence it looks at next
}

// beginPeriodic begins the periodic refresh if it is wanted and does not go on already.
func (w *Walker) beginPeriodic(ctx context.Context) error {
	if w.config.RefreshEvery == 0 {
		return nil // its next step, if there is one, ends it
	}
	_, live, seq, err := w.Chains.Load(ctx, chainPeriodic)
	if err != nil || live {
		return err //nolint:wrapcheck // It names the chain.
	}
	state, err := json.Marshal(round{Began: w.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encoding periodic refresh: %w", err)
	}
	if err := w.Chains.Begin(ctx, chainPeriodic, state, seq); err != nil && !errors.Is(err, refresh.ErrConflict) {
		return fmt.Errorf("beginning periodic refresh: %w", err)
	}
	return nil
}

// periodic is a step of the periodic refresh: it asks for those members whose
// part of the period has come since the last step.
func (w *Walker) periodic(ctx context.Context, state []byte) ([]byte, time.Duration, error) {
	if w.config.RefreshEvery == 0 {
		return state, -1, nil
	}
	var r round
	if err := json.Unmarshal(state, &r); err != nil {
		return nil, 0, fmt.Errorf("reading periodic refresh: %w", err)
	}
	if busy, err := w.busy(ctx); busy || err != nil {
		return state, backlogPause, err
	}
	first, last, err := w.Known.Bounds(ctx)
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // It says what it was doing.
	}
	r.Cursor = max(r.Cursor, first)
	target := r.target(w.Now(), w.config.RefreshEvery, first, last)
	to := min(target, r.Cursor+periodicSpan)
	if err := w.refreshFrom(ctx, &r, to); err != nil {
		return nil, 0, err
	}
	r.Cursor = max(r.Cursor, to)
	after := time.Duration(0)
	if r.Cursor >= target {
		after = w.pause()
		r.turn(w.Now(), w.config.RefreshEvery)
	}
	next, err := json.Marshal(r)
	if err != nil {
		return nil, 0, fmt.Errorf("encoding periodic refresh: %w", err)
	}
	return next, after, nil
}

// target is the sequence up to which members are due now, itself excluded: as
// much of the stream as of the period has passed.
func (r *round) target(now time.Time, every time.Duration, first, last uint64) uint64 {
	if last < first {
		return first
	}
	passed := min(1, max(0, float64(now.Sub(r.Began))/float64(every)))
	return first + uint64(passed*float64(last+1-first))
}

// turn begins the next period if this one is over. After a long outage it begins
// now: what was missed is not made up for by reading everybody twice in a row.
func (r *round) turn(now time.Time, every time.Duration) {
	over := now.Sub(r.Began) - every
	if over < 0 {
		return
	}
	r.Began, r.Cursor = r.Began.Add(every), 0
	if over >= every {
		r.Began = now.UTC()
	}
}

// refreshFrom asks for the members whose oldest event stands between the cursor
// and a sequence, excluded.
func (w *Walker) refreshFrom(ctx context.Context, r *round, to uint64) error {
	entries, err := w.scan(ctx, r.Cursor, to)
	if err != nil {
		return err
	}
	entries = firsts(entries, func(e entry) events.Key { return e.key })
	period := strconv.FormatInt(r.Began.UnixNano(), 36)
	return each(ctx, entries, func(ctx context.Context, e entry) error {
		first, err := w.Known.First(ctx, e.key)
		if err != nil || first != e.seq {
			return err //nolint:wrapcheck // It says what it was doing.
		}
		last, _, err := w.States.Last(ctx, e.key)
		switch {
		case errors.Is(err, refresh.ErrUnreadable):
			w.Log.Error("not refreshed", "member", e.key.Member(), "error", err)
			return nil
		case err != nil:
			return err //nolint:wrapcheck // It says what it was doing.
		case last.Data.Deleted:
			return nil
		}
		id := "periodic-" + period
		return w.Refreshes.Refresh(ctx, e.key, chainPeriodic, id, id+"-"+e.key.Member()) //nolint:wrapcheck // It says what it was doing.
	})
}

// pause is how long until the next step, up to a tenth more or less, so that
// installations do not keep step with each other.
func (w *Walker) pause() time.Duration {
	p := min(max(w.config.RefreshEvery/periodicSteps, w.minPause), maxPause)
	return p + time.Duration((w.Jitter()-0.5)*0.2*float64(p))
}
