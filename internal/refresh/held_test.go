package refresh

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

type check struct{ err error }

func (c *check) Set(_ string, err error) { c.err = err }

func TestADeletionIsHeldBackUntilItIsDecidedOrNotSeenAgain(t *testing.T) {
	t.Parallel()
	health := new(check)
	h := newHeld(health)
	begin := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	why := errors.New("no evidence")
	one, other := keyNumber(t, 1), keyNumber(t, 2)
	if !h.add(one, at(10), why) || h.add(one, at(20), why) || !h.add(other, at(15), why) {
		t.Error("what is new is told wrongly")
	}
	h.expire(at(12))
	h.remove(other)
	h.remove(other)
	if health.err == nil {
		t.Error("ready while one is held back that was seen again")
	}
	h.expire(at(21))
	if health.err != nil {
		t.Errorf("not ready for one that was not seen again: %v", health.err)
	}
	if !h.add(one, at(30), why) {
		t.Error("held back again, it is not new")
	}
	h.remove(one)
	if health.err != nil {
		t.Errorf("not ready for one that was decided: %v", health.err)
	}
}

func TestAServiceForgetsDeletionsThatItHasNotSeenAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, now := newIdle(t, even)
		health := new(check)
		s.held.health = health
		s.held.add(keyNumber(t, 1), now.Add(-time.Second), errors.New("no evidence"))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		stop()
		if err := <-ended; err != nil || health.err != nil {
			t.Errorf("ended with %v, readiness says %v", err, health.err)
		}
	})
}

func TestAnAllowanceHoldsInEveryMinute(t *testing.T) {
	t.Parallel()
	a := allowance{limit: 3}
	begin := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true},
		{50 * time.Second, true},
		{55 * time.Second, true},
		{59 * time.Second, false},
		{60 * time.Second, true},
		{61 * time.Second, false},
		{109 * time.Second, false},
		{110 * time.Second, true},
	} {
		if got := a.allow(begin.Add(c.at)); got != c.want {
			t.Errorf("after %s: %t", c.at, got)
		}
	}
}

func TestADeletionIsHeldBackForLongerAndLonger(t *testing.T) {
	t.Parallel()
	for deliveries, want := range map[uint64]time.Duration{
		1: heldDelay, heldAtFirst: heldDelay, heldAtFirst + 1: 2 * heldDelay, heldAtFirst + 3: 8 * heldDelay,
		heldAtFirst + 7: heldDelayMax, 1 << 60: heldDelayMax,
	} {
		if got := heldFor(deliveries); got != want {
			t.Errorf("at delivery %d for %s, want %s", deliveries, got, want)
		}
	}
}

func TestDeletionsOverTheLimitComeAtItsPaceAndNotAllAtOnce(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("%w (20 a minute)", errTooMany)
	for _, c := range []struct {
		held  int
		least time.Duration // the latest of them
	}{
		{1, heldDelay},
		{20, time.Minute},
		{60, 3 * time.Minute},
		{100, heldDelayMax},
		{20_000, heldDelayMax},
	} {
		soonest, _ := newIdle(t, 0)
		latest, now := newIdle(t, 1)
		for _, s := range []*Service{soonest, latest} {
			for n := range c.held {
				s.held.add(keyNumber(t, n), *now, err)
			}
			for _, deliveries := range []uint64{1, heldAtFirst + 1, 1 << 60} {
				want := heldDelay
				if s == latest {
					want = c.least
				}
				got := s.dispose(&Job{Ref: "j", Key: keyNumber(t, 0), Deliveries: deliveries}, err)
				if got.Disposition != Retry || got.Delay != want {
					t.Errorf("%d held, delivery %d: %+v, want %s", c.held, deliveries, got, want)
				}
			}
		}
	}
}

// Deletions that were all held in one moment, and come when they are told to: each minute
// brings as many as may go, and no more than a few times that.
func TestHeldDeletionsGoAtTheLimitsPaceWithFewReads(t *testing.T) {
	t.Parallel()
	for _, many := range []int{40, 300, 20_000} {
		random := rand.New(rand.NewPCG(1, uint64(many)))
		s, now := newIdle(t, even)
		s.jitter = random.Float64
		begin, err := *now, fmt.Errorf("%w (20 a minute)", errTooMany)
		keys, comes := make([]events.Key, many), make([]time.Time, many) // zero: gone
		hold := func(n int) {
			s.held.add(keys[n], now.Add(time.Hour), err)
			comes[n] = now.Add(s.dispose(&Job{Ref: "j", Key: keys[n], Deliveries: 1}, err).Delay)
		}
		for n := range many {
			keys[n] = keyNumber(t, n)
			hold(n)
		}
		gone, reads := 0, 0
		const minutes = 30
		for ; now.Sub(begin) < minutes*time.Minute && gone < many; *now = now.Add(time.Second) {
			for n, at := range comes {
				switch {
				case at.IsZero(), at.After(*now):
					continue
				case s.deletions.allow(*now):
					gone++
					comes[n] = time.Time{}
					s.held.remove(keys[n])
				default:
					hold(n)
				}
				reads++
			}
		}
		if want := min(many, minutes*20*9/10); gone < want {
			t.Errorf("of %d held %d went in %s, want %d at least", many, gone, now.Sub(begin), want)
		}
		if most := minutes * max(many/2, 60); reads > most {
			t.Errorf("%d reads for %d held, want %d at most", reads, many, most)
		}
	}
}
