package refresh

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// even is the jitter that leaves delays as they are.
const even = 0.5

func failure(k mx.Kind) error { return &mx.CallError{Kind: k, Op: mx.OpReadMember} }

func someone(n int) turnKey { return turnKey{user: "USR-1", member: fmt.Sprintf("MBR-%d", n)} }

// breakerStory drives a breaker through time.
type breakerStory struct {
	t       *testing.T
	breaker breaker
	now     time.Time
}

func newBreakerStory(t *testing.T, limit int) *breakerStory {
	t.Helper()
	return &breakerStory{t, newBreaker(limit, nobody), time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)}
}

// answer is an answer to a call that began before any outage.
func (s *breakerStory) answer(n int, err error) transition {
	return s.breaker.answered(answer{of: someone(n), err: err, began: s.now, at: s.now, jitter: even})
}

// probe waits until the breaker admits a probe, which then ends with err, and
// returns how long that took.
func (s *breakerStory) probe(err error) (waited time.Duration, t transition) {
	s.t.Helper()
	ok, wait := s.breaker.admits(s.now, 0)
	if !ok {
		if wait <= 0 {
			s.t.Fatal("the breaker neither admits a probe nor says when")
		}
		s.now = s.now.Add(wait)
		if ok, _ = s.breaker.admits(s.now, 0); !ok {
			s.t.Fatalf("no probe is admitted after the %s that the breaker asked for", wait)
		}
	}
	s.breaker.started(s.now)
	if ok, wait := s.breaker.admits(s.now, 1); ok || wait != slowProbes {
		s.t.Fatalf("a second call beside the probe: admitted %t, wait %s; want to wait %s", ok, wait, slowProbes)
	}
	return wait, s.breaker.answered(answer{of: someone(99), err: err, began: s.now, at: s.now, probe: true, jitter: even})
}

func TestBreakerOpensAtOnceWhenMXSaysItIsOverloadedDownOrRefusesUs(t *testing.T) {
	t.Parallel()
	for _, k := range []mx.Kind{mx.RateLimited, mx.Unavailable, mx.Unauthorized, mx.Forbidden, mx.NotAcceptable} {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			s := newBreakerStory(t, 64)
			if got := s.answer(1, failure(k)); got != opened {
				t.Errorf("transition %d, want opened", got)
			}
			if ok, _ := s.breaker.admits(s.now, 0); ok {
				t.Error("an open breaker admits a call at once")
			}
		})
	}
}

func TestBreakerOpensWhenFiveDifferentMembersFailInARow(t *testing.T) {
	t.Parallel()
	for _, k := range []mx.Kind{mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection} {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			s := newBreakerStory(t, 64)
			for n := range failedMembers - 1 {
				if got := s.answer(n, failure(k)); got != unmoved {
					t.Fatalf("opened by member %d", n+1)
				}
			}
			if got := s.answer(failedMembers, failure(k)); got != opened {
				t.Errorf("transition %d at member %d, want opened", got, failedMembers)
			}
		})
	}
}

func TestBreakerStaysClosedHoweverOftenOneMemberFails(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	for range 100 {
		if got := s.answer(1, failure(mx.ServerFailed)); got != unmoved {
			t.Fatal("one member's failures opened the breaker")
		}
	}
}

func TestBreakerForgetsFailuresWhenAnyMemberIsAnswered(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"200": nil, "400": failure(mx.BadRequest), "404": failure(mx.NotFound),
		"409": failure(mx.Conflict), "422": failure(mx.Unprocessable),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newBreakerStory(t, 64)
			for n := range 3 * failedMembers {
				if n%(failedMembers-1) == 0 {
					s.answer(100, err)
				}
				if got := s.answer(n, failure(mx.Timeout)); got != unmoved {
					t.Fatalf("opened at failure %d although an answer came between", n+1)
				}
			}
		})
	}
}

func TestBreakerDoesNotCountCallsThatWeGaveUp(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	for n := range 10 * failedMembers {
		if got := s.answer(n, failure(mx.Canceled)); got != unmoved {
			t.Fatal("calls that we canceled opened the breaker")
		}
	}
}

func TestBreakerOnlyA200IsEvidenceThatMXKnowsItsMembers(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.NotFound))
	s.answer(1, failure(mx.BadRequest))
	if !s.breaker.lastOK.IsZero() {
		t.Error("a 404 or 400 counts as a good read")
	}
	s.answer(1, nil)
	if !s.breaker.lastOK.Equal(s.now) {
		t.Errorf("last good read at %s, want %s", s.breaker.lastOK, s.now)
	}
}

func TestBreakerProbesAnOutageQuicklyAtFirstThenOnceASecond(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unavailable))
	began := s.now
	var probes []time.Duration
	for s.now.Sub(began) < 10*time.Second {
		waited, got := s.probe(failure(mx.Unavailable))
		if got != unmoved {
			t.Fatal("a failed probe moved the breaker")
		}
		probes = append(probes, waited)
	}
	if probes[0] != firstProbe {
		t.Errorf("first probe after %s, want %s", probes[0], firstProbe)
	}
	at := probes[0]
	for _, waited := range probes[1:] {
		want := slowProbes
		if at < youngOutage {
			want = quickProbes
		}
		if waited != want {
			t.Errorf("a probe %s after the one before, %s into the outage; want %s", waited, at, want)
		}
		at += waited
	}
	if n := len(probes); n < 15 || n > 20 {
		t.Errorf("%d probes in 10 s, want 15 to 20", n)
	}
}

func TestBreakerSpreadsProbesByATenth(t *testing.T) {
	t.Parallel()
	for jitter, want := range map[float64]time.Duration{0: 180 * time.Millisecond, 0.5: 200 * time.Millisecond, 1: 220 * time.Millisecond} {
		s := newBreakerStory(t, 64)
		s.breaker.answered(answer{of: someone(1), err: failure(mx.Unavailable), began: s.now, at: s.now, jitter: jitter})
		if _, wait := s.breaker.admits(s.now, 0); wait != want {
			t.Errorf("with jitter %g the probe is due in %s, want %s", jitter, wait, want)
		}
	}
}

func TestBreakerHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, &mx.CallError{Kind: mx.RateLimited, RetryAfter: 17 * time.Second})
	if waited, _ := s.probe(&mx.CallError{Kind: mx.RateLimited, RetryAfter: 3 * time.Second}); waited != 17*time.Second {
		t.Errorf("first probe after %s, want the 17s that MX asked for", waited)
	}
	if waited, _ := s.probe(nil); waited != 3*time.Second {
		t.Errorf("second probe after %s, want the 3s that MX asked for", waited)
	}
}

func TestBreakerHonoursTheLongestRetryAfterOfAllAnswers(t *testing.T) {
	t.Parallel()
	asks := func(k mx.Kind, wait time.Duration) error { return &mx.CallError{Kind: k, RetryAfter: wait} }
	for name, answers := range map[string][]error{
		"the first":                   {asks(mx.RateLimited, 30*time.Second), asks(mx.RateLimited, time.Second)},
		"a later one":                 {asks(mx.RateLimited, 0), asks(mx.RateLimited, 30*time.Second), asks(mx.RateLimited, 0)},
		"one before MX refuses us":    {asks(mx.RateLimited, 30*time.Second), asks(mx.Unauthorized, 0)},
		"one while MX refuses us":     {asks(mx.Unauthorized, 0), asks(mx.Unavailable, 30*time.Second)},
		"one before a 503 without it": {asks(mx.Unavailable, 30*time.Second), asks(mx.Unavailable, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newBreakerStory(t, 64)
			for n, err := range answers { // to calls that were in flight together
				s.answer(n, err)
			}
			if waited, _ := s.probe(nil); waited != 30*time.Second {
				t.Errorf("probe after %s, want the 30s that MX asked for", waited)
			}
			s.answer(1, asks(mx.RateLimited, 0))
			if waited, _ := s.probe(nil); waited != firstProbe {
				t.Errorf("in the next outage probe after %s, want %s: MX has answered since", waited, firstProbe)
			}
		})
	}
}

func TestBreakerHonoursARetryAfterThatComesWhileAProbeHangs(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.RateLimited))
	_, wait := s.breaker.admits(s.now, 0)
	s.now = s.now.Add(wait)
	s.breaker.started(s.now)
	s.answer(2, &mx.CallError{Kind: mx.RateLimited, RetryAfter: 30 * time.Second})
	if ok, wait := s.breaker.admits(s.now, 1); ok || wait != 30*time.Second {
		t.Errorf("beside the probe that hangs: admitted %t, wait %s; want the 30s that MX asked for", ok, wait)
	}
}

func TestBreakerProbesMoreAndMoreSlowlyWhileMXRefusesUs(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unauthorized))
	for _, seconds := range []int{2, 4, 8, 16, 30, 30} {
		want := time.Duration(seconds) * time.Second
		if waited, _ := s.probe(failure(mx.Forbidden)); waited != want {
			t.Errorf("probe after %s, want %s", waited, want)
		}
	}
	if _, got := s.probe(nil); got != closed {
		t.Error("a probe that is answered did not close the breaker")
	}
	s.answer(1, failure(mx.Unauthorized))
	if waited, _ := s.probe(nil); waited != refusedProbes {
		t.Errorf("the next refusal begins with %s, want %s", waited, refusedProbes)
	}
}

func TestBreakerIsClosedByAProbeAlone(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unavailable))
	if got := s.answer(2, nil); got != unmoved || !s.breaker.open {
		t.Error("an answer to a call from before the outage closed the breaker")
	}
	if _, got := s.probe(failure(mx.NotFound)); got != closed || s.breaker.open {
		t.Error("a probe that is answered 404 did not close the breaker")
	}
}

func TestBreakerIsNotClosedByAProbeThatWeGaveUp(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unavailable))
	if _, got := s.probe(fmt.Errorf("stopping: %w", failure(mx.Canceled))); got != unmoved || !s.breaker.open {
		t.Error("a canceled probe moved the breaker")
	}
	if ok, _ := s.breaker.admits(s.now, 0); !ok {
		t.Error("no other probe may follow a canceled one")
	}
}

func TestBreakerTakesLateFailuresForOldNews(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unavailable))
	due := s.breaker.probeAt
	for n := range 50 {
		s.now = s.now.Add(time.Millisecond)
		if got := s.answer(n, failure(mx.Unavailable)); got != unmoved {
			t.Fatal("a late failure moved the breaker")
		}
		s.answer(n, failure(mx.Timeout))
	}
	if !s.breaker.probeAt.Equal(due) {
		t.Errorf("late failures moved the probe by %s", s.breaker.probeAt.Sub(due))
	}
}

func TestBreakerAProbeOfAFailingMemberKeepsItOpen(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.Unavailable))
	for range 3 {
		if _, got := s.probe(failure(mx.Timeout)); got != unmoved || !s.breaker.open {
			t.Fatal("a probe that timed out moved the breaker")
		}
	}
}

// answerAll has as many calls answered well as are admitted, and returns how many.
func (s *breakerStory) answerAll() int {
	n := 0
	for {
		if ok, _ := s.breaker.admits(s.now, n); !ok {
			break
		}
		s.breaker.started(s.now)
		n++
	}
	s.now = s.now.Add(10 * time.Millisecond)
	for i := range n {
		s.answer(i, nil)
	}
	return n
}

func TestBreakerOpensItsWindowAtOnceButFourfoldEachRoundTripAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 600)
	trips := func(when string, all ...int) {
		for trip, want := range all {
			if got := s.answerAll(); got != want {
				t.Errorf("%s, round trip %d: %d calls in flight, want %d", when, trip+1, got, want)
			}
		}
	}
	trips("at the start", 8, 600, 600)
	s.answer(1, failure(mx.RateLimited))
	s.probe(nil)
	trips("after an outage", 8, 32, 128, 512, 600, 600)
	s.now = s.now.Add(2 * idleWindow)
	trips("after silence", 8, 600)
}

func TestBreakerWindowBeginsAgainAfterAnOutageAndAfterIdleness(t *testing.T) {
	t.Parallel()
	grown := func(t *testing.T) *breakerStory {
		t.Helper()
		s := newBreakerStory(t, 64)
		for range 3 {
			s.answerAll()
		}
		if got := s.answerAll(); got != 64 {
			t.Fatalf("%d calls in flight, want the limit of 64", got)
		}
		return s
	}
	t.Run("outage", func(t *testing.T) {
		t.Parallel()
		s := grown(t)
		s.answer(1, failure(mx.RateLimited))
		s.probe(nil)
		if got := s.answerAll(); got != firstWindow {
			t.Errorf("%d calls in flight, want %d", got, firstWindow)
		}
	})
	t.Run("idleness", func(t *testing.T) {
		t.Parallel()
		s := grown(t)
		s.now = s.now.Add(idleWindow)
		if got := s.answerAll(); got != 64 {
			t.Errorf("%d calls in flight after %s, want the window kept", got, idleWindow)
		}
		s.now = s.now.Add(idleWindow + time.Millisecond)
		if got := s.answerAll(); got != firstWindow {
			t.Errorf("%d calls in flight, want %d", got, firstWindow)
		}
	})
}

func TestBreakerWindowNeverExceedsTheLimit(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 3)
	for range 5 {
		if got := s.answerAll(); got != 3 {
			t.Fatalf("%d calls in flight, want 3", got)
		}
	}
	s.answer(1, failure(mx.RateLimited))
	s.probe(nil)
	if got := s.answerAll(); got != 3 {
		t.Errorf("%d calls in flight after an outage, want 3", got)
	}
}

func TestClassifyBlamesMembersForErrorsThatAreNotMXs(t *testing.T) {
	t.Parallel()
	for _, err := range []error{errors.New("other"), context.DeadlineExceeded} {
		if got := classify(err); got != blameMember {
			t.Errorf("classify(%v) = %d, want the member", err, got)
		}
	}
}
