package refresh

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

type noHealth struct{}

func (noHealth) Set(string, error) {}

// newIdle returns a service that has nothing to work with, for what it decides
// by itself, and its clock.
func newIdle(t *testing.T, jitter float64) (*Service, *time.Time) {
	t.Helper()
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	s := New(Config{CommandBudget: time.Hour, MaxInFlight: 64, DeleteLimit: 20}, Deps{
		Now: func() time.Time { return now }, Jitter: func() float64 { return jitter },
		Health: noHealth{}, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		if err := s.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s, &now
}

// outage opens the service's breaker.
func outage(s *Service, kind mx.Kind) {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	s.desk.breaker.answered(answer{of: someone(0), err: failure(kind), began: s.now(), at: s.now(), jitter: even})
}

func TestWhatBecomesOfAJobByWhatMXAnswered(t *testing.T) {
	t.Parallel()
	outageFirst, memberFirst := outageDelay, memberDelay
	for kind, want := range map[mx.Kind]struct {
		closed, open Verdict // by whether MX answers others
		counted      bool    // against the command's budget, when it does
	}{
		mx.BadRequest:    {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.Conflict:      {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.Unprocessable: {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.ServerFailed:  {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.BadAnswer:     {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.Timeout:       {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.Connection:    {Verdict{Delay: memberFirst}, Verdict{Delay: outageFirst}, true},
		mx.RateLimited:   {Verdict{Delay: outageFirst}, Verdict{Delay: outageFirst}, false},
		mx.Unavailable:   {Verdict{Delay: outageFirst}, Verdict{Delay: outageFirst}, false},
		mx.Unauthorized:  {Verdict{Delay: outageFirst}, Verdict{Delay: outageFirst}, false},
		mx.Forbidden:     {Verdict{Delay: outageFirst}, Verdict{Delay: outageFirst}, false},
		mx.NotAcceptable: {Verdict{Delay: outageFirst}, Verdict{Delay: outageFirst}, false},
		mx.Canceled:      {Verdict{Disposition: Return}, Verdict{Disposition: Return}, false},
	} {
		if want.closed.Disposition == Done {
			want.closed.Disposition = Retry
		}
		if want.open.Disposition == Done {
			want.open.Disposition = Retry
		}
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/open=%t", kind, open), func(t *testing.T) {
				t.Parallel()
				s, _ := newIdle(t, even)
				expect, counted := want.closed, want.counted
				if open {
					outage(s, mx.Unavailable)
					expect, counted = want.open, false
				}
				err := fmt.Errorf("reading: %w", failure(kind))
				got := s.dispose(&Job{Ref: "j", Deliveries: 1}, err)
				if got.Disposition != expect.Disposition || got.Delay != expect.Delay || got.Reason != err.Error() {
					t.Errorf("disposition %d, delay %s, reason %q; want %d, %s", got.Disposition, got.Delay, got.Reason, expect.Disposition, expect.Delay)
				}
				if n := s.budget.spent.Len(); (n == 1) != counted {
					t.Errorf("%d jobs have used up budget; want counted: %t", n, counted)
				}
			})
		}
	}
}

func TestWhatBecomesOfAJobThatFailedWithoutAnAnswerOfMX(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err        error
		deliveries uint64
		want       Verdict
	}{
		"NATS failed":           {errors.New("nats: timeout"), 1, Verdict{Disposition: Retry, Delay: busDelay}},
		"refused by the stream": {fmt.Errorf("publishing: %w", ErrOutcomeUnknown), 1, Verdict{Disposition: Retry, Delay: busDelay}},
		"contended":             {errContended, 1, Verdict{Disposition: Retry, Delay: busDelay}},
		"held":                  {fmt.Errorf("%w: limit", errHeld), 9, Verdict{Disposition: Retry, Delay: heldDelay}},
		"suspended":             {errSuspended, 1, Verdict{Disposition: Retry, Delay: outageDelay}},
		"unreadable state":      {fmt.Errorf("sequence 7: %w", ErrUnreadable), 1, Verdict{Disposition: Dead, Category: events.CategoryStateUnreadable}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newIdle(t, even)
			tc.want.Reason = tc.err.Error()
			if got := s.dispose(&Job{Ref: "j", Deliveries: tc.deliveries}, tc.err); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if n := s.budget.spent.Len(); n != 0 {
				t.Error("counted against the command's budget")
			}
		})
	}
}

func TestAJobThatPanicsIsTriedAFewTimesHoweverOftenItWasHandedBack(t *testing.T) {
	t.Parallel()
	s, _ := newIdle(t, even)
	j, err := &Job{Ref: "j", Deliveries: 40}, fmt.Errorf("%w: oops", errPanicked)
	want := busDelay
	for n := 1; n < maxPanics; n++ {
		if got := s.dispose(j, err); got.Disposition != Retry || got.Delay != want {
			t.Errorf("panic %d: %+v, want another try in %s", n, got, want)
		}
		want *= 2
	}
	if got := s.dispose(j, err); got.Disposition != Dead || got.Category != events.CategoryPanicked {
		t.Errorf("panic %d: %+v, want a dead letter", maxPanics, got)
	}
}

func TestAMemberThatFailsOnceIsReadAgainSoonHoweverOftenItsJobWasHandedBack(t *testing.T) {
	t.Parallel()
	s, _ := newIdle(t, even)
	if got := s.dispose(&Job{Ref: "j", Deliveries: 40}, failure(mx.ServerFailed)); got.Delay != memberDelay {
		t.Errorf("comes again in %s, want %s", got.Delay, memberDelay)
	}
}

func TestDelaysDoubleWithEachDeliveryUpToTheirBound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err         error
		first, most time.Duration
		part        time.Duration // one in so many of it more or less
	}{
		"member": {failure(mx.ServerFailed), memberDelay, memberDelayMax, 5},
		"outage": {failure(mx.RateLimited), outageDelay, outageDelayMax, 5},
		"bus":    {errContended, busDelay, busDelayMax, 5},
		"room":   {errNoRoom, busDelay, busDelayMax, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			low, _ := newIdle(t, 0)
			middle, _ := newIdle(t, even)
			high, _ := newIdle(t, 1)
			want := tc.first
			for n := uint64(1); n <= 64; n++ {
				j := &Job{Ref: "j", Deliveries: n}
				if got := middle.dispose(j, tc.err).Delay; got != want {
					t.Errorf("delivery %d: %s, want %s", n, got, want)
				}
				if l, h := low.dispose(j, tc.err).Delay, high.dispose(j, tc.err).Delay; l != want-want/tc.part || h != want+want/tc.part {
					t.Errorf("delivery %d: from %s to %s, want %s and up to 1/%d of it more or less", n, l, h, want, tc.part)
				}
				want = min(2*want, tc.most)
			}
		})
	}
}

func TestACommandIsGivenUpWhenItsOwnFailuresUsedUpItsBudget(t *testing.T) {
	t.Parallel()
	s, now := newIdle(t, even)
	s.cfg.CommandBudget = 10 * time.Minute
	began := *now
	for n := uint64(1); ; n++ {
		v := s.dispose(&Job{Ref: "j", Deliveries: n}, failure(mx.ServerFailed))
		if v.Disposition == Dead {
			if v.Category != events.CategoryExhausted {
				t.Errorf("category %s", v.Category)
			}
			break
		}
		*now = now.Add(v.Delay)
	}
	if d := now.Sub(began); d <= 10*time.Minute || d > 10*time.Minute+memberDelayMax {
		t.Errorf("given up after %s, want soon after 10m", d)
	}
}

func TestAPeriodicReadThatFailsGivesWayToTheNextPeriods(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"its member fails": failure(mx.ServerFailed), "others like it are tried": errCrowded} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, now := newIdle(t, even)
			s.cfg.RefreshEvery = time.Minute
			j := &Job{Ref: "j", Source: SourcePeriodic, Lane: Background, At: *now}
			for j.Deliveries = 1; ; j.Deliveries++ {
				v := s.dispose(j, err)
				if v.Disposition == Retry {
					*now = now.Add(v.Delay)
					if now.Sub(j.At) >= time.Minute {
						t.Fatal("comes again beside the read of the next period")
					}
					continue
				}
				if v.Disposition != Done || v.Result.Outcome != events.OutcomeFailed || v.Reason != err.Error() {
					t.Errorf("ended with %+v", v)
				}
				break
			}
			if j.Deliveries < 5 || s.budget.spent.Len() != 0 {
				t.Errorf("ended after %d tries, with %d counted", j.Deliveries, s.budget.spent.Len())
			}
			outage(s, mx.Unavailable)
			if v := s.dispose(j, failure(mx.ServerFailed)); v.Disposition != Retry {
				t.Errorf("in an outage, where no member is to blame: %+v", v)
			}
		})
	}
	s, now := newIdle(t, even)
	for name, j := range map[string]Job{
		"a sweep's":                          {Source: SourceSweep},
		"a command's":                        {Source: SourceCommand},
		"a periodic one, and no more follow": {Source: SourcePeriodic},
	} {
		s.cfg.RefreshEvery = time.Minute
		if j.Source == SourcePeriodic {
			s.cfg.RefreshEvery = 0
		}
		j.Ref, j.Deliveries, j.At = name, 1, now.Add(-time.Hour)
		if v := s.dispose(&j, failure(mx.ServerFailed)); v.Disposition != Retry {
			t.Errorf("%s read: %+v", name, v)
		}
	}
}

func TestTimeInWhichEverybodyFailedUsesUpNoBudget(t *testing.T) {
	t.Parallel()
	s, now := newIdle(t, even)
	s.cfg.CommandBudget = time.Minute
	j := &Job{Ref: "j", Deliveries: 1}
	if v := s.dispose(j, failure(mx.ServerFailed)); v.Disposition != Retry {
		t.Fatal("dead at the first failure")
	}
	outage(s, mx.Unavailable)
	for range 100 { // a day, with the command coming again and again
		*now = now.Add(15 * time.Minute)
		if v := s.dispose(j, failure(mx.ServerFailed)); v.Disposition != Retry {
			t.Fatal("dead in an outage")
		}
	}
	s.desk.mu.Lock()
	s.desk.breaker.answered(answer{of: someone(1), began: *now, at: *now, probe: true, jitter: even})
	s.desk.mu.Unlock()
	if v := s.dispose(j, failure(mx.ServerFailed)); v.Disposition != Retry {
		t.Error("the outage was counted as the command's own failure")
	}
}

func TestBudgetCountsFailuresOfOneJobAndForgetsItWhenSettled(t *testing.T) {
	t.Parallel()
	b := newBudget()
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	second := func(uint64) time.Duration { return time.Second }
	spend := func(ref string, after, want time.Duration) {
		t.Helper()
		at = at.Add(after)
		if _, got := b.spend(ref, at, second); got != want {
			t.Errorf("%s has used up %s, want %s", ref, got, want)
		}
	}
	spend("a", 0, 0)
	spend("a", time.Second, time.Second)
	spend("a", time.Hour, 3*time.Second) // no more than twice the delay asked for
	spend("b", 0, 0)
	b.forget("a")
	spend("a", time.Second, 0)
	for n := range budgetSize + 10 {
		b.spend(strconv.Itoa(n), at, second)
	}
	if n := b.spent.Len(); n != budgetSize {
		t.Errorf("%d jobs remembered, want %d", n, budgetSize)
	}
}
