package refresh

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

func nobody(turnKey) bool { return false }

func TestWitnessesAreDifferentMembersThatWereMetLately(t *testing.T) {
	t.Parallel()
	w, now := newWitnesses(), time.Unix(1_000_000, 0)
	for n := range maxWitnesses {
		w.meet(someone(n), now)
		w.meet(someone(n), now)
	}
	w.meet(someone(20), now) // too soon
	now = now.Add(witnessEvery)
	w.meet(someone(21), now) // in place of the first
	w.meet(someone(22), now) // too soon
	now = now.Add(witnessEvery)
	w.meet(someone(7), now) // is one
	w.meet(turnKey{user: "u", member: "m", partner: true}, now)
	w.meet(turnKey{user: "USR-1"}, now) // a page of a list
	w.meet(someone(23), now)            // in place of the second
	var got []turnKey
	for range maxWitnesses {
		k, ok := w.next(nobody)
		if !ok {
			t.Fatal("nobody can be asked")
		}
		got = append(got, k)
	}
	want := []turnKey{someone(23), someone(21)} // the latest first
	for n := maxWitnesses - 1; n >= 2; n-- {
		want = append(want, someone(n))
	}
	if !slices.Equal(got, want) {
		t.Errorf("witnesses %v, want %v", got, want)
	}
}

func TestWitnessesPassOverThoseThatFailByThemselves(t *testing.T) {
	t.Parallel()
	w, now := newWitnesses(), time.Unix(1_000_000, 0)
	w.meet(someone(1), now)
	w.meet(someone(2), now)
	if w.failed(someone(1)) {
		t.Error("a first failure is taken for the member's own")
	}
	if w.failed(someone(1)) {
		t.Error("so is a second, although nobody was answered since")
	}
	for range 3 {
		if k, ok := w.next(nobody); !ok || k != someone(2) {
			t.Fatalf("%v is asked, %t; want 2", k, ok)
		}
		if k, ok := w.next(nobody); ok || w.known(nobody) {
			t.Fatalf("%v is asked; want nobody, as 2 has not answered yet", k)
		}
		w.back(someone(2))
	}
	if k, ok := w.next(func(k turnKey) bool { return k == someone(2) }); ok || w.known(func(k turnKey) bool { return k == someone(2) }) {
		t.Errorf("%v is asked; want nobody, as 2 is busy", k)
	}
	w.meet(someone(1), now) // found on the stream, where nobody knows how it fares
	if k, ok := w.next(nobody); !ok || k != someone(1) {
		t.Errorf("%v is asked, %t; want 1: nobody was answered since it failed", k, ok)
	}
	w.back(someone(1))
	w.answered(someone(3))
	for range 3 {
		if k, ok := w.next(nobody); !ok || k != someone(2) {
			t.Fatalf("%v is asked, %t; want 2", k, ok)
		}
		if k, ok := w.next(nobody); ok || w.known(nobody) {
			t.Fatalf("%v is asked; want nobody, as 2 has not answered yet", k)
		}
		w.back(someone(2))
	}
	if !w.failed(someone(1)) {
		t.Error("a failure after others were answered is not taken for the member's own")
	}
	w.answered(someone(1))
	if w.failed(someone(1)) {
		t.Error("it was answered in between, and still is not believed")
	}
}

func TestWitnessesRememberABoundedNumberOfFailures(t *testing.T) {
	t.Parallel()
	w := newWitnesses()
	for n := range 2 * maxFailing {
		w.failed(turnKey{user: "USR-1", member: strconv.Itoa(n)})
	}
	if n := w.failing.Len(); n != maxFailing {
		t.Errorf("%d failures are remembered, want %d", n, maxFailing)
	}
}

// failInARow has five members fail, from n on.
func (s *breakerStory) failInARow(n int) (last transition) {
	for i := range failedMembers {
		last = s.answer(n+i, failure(mx.ServerFailed))
	}
	return last
}

// testify has a witness answer, which the breaker must wish for.
func (s *breakerStory) testify(err error) transition {
	s.t.Helper()
	if ok, wait := s.breaker.admits(s.now, 0); !ok {
		s.t.Fatalf("no witness is asked; wait %s", wait)
	}
	k, ok := s.breaker.witness(true)
	if !ok {
		s.t.Fatal("the probe is no witness")
	}
	s.breaker.started(s.now)
	want := slowProbes
	if s.breaker.witnesses.known(nobody) { // another witness
		want = quickProbes
	}
	if ok, wait := s.breaker.admits(s.now, 1); ok || wait != want {
		s.t.Fatalf("a call beside the witness: admitted %t, wait %s; want to wait %s", ok, wait, want)
	}
	s.breaker.witnesses.back(k)
	return s.breaker.answered(answer{of: k, err: err, began: s.now, at: s.now, probe: true, jitter: even})
}

func TestBreakerAsksAWitnessBeforeItBlamesMX(t *testing.T) {
	t.Parallel()
	t.Run("who is answered", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		if got := s.failInARow(0); got != unmoved || s.breaker.open {
			t.Fatal("opened, although a member was answered lately that could be asked")
		}
		if got := s.testify(nil); got != unmoved {
			t.Errorf("transition %d, want none: the breaker was never open", got)
		}
		if ok, _ := s.breaker.admits(s.now, 0); !ok || s.breaker.probes() {
			t.Error("still in doubt although the witness was answered")
		}
	})
	t.Run("who is not", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		s.failInARow(0)
		if got := s.testify(failure(mx.Timeout)); got != opened || !s.breaker.open {
			t.Errorf("transition %d, want opened", got)
		}
	})
	t.Run("and two more", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		for n := range maxWitnesses {
			s.answer(100+n, nil)
		}
		s.failInARow(0)
		for n := range mostUnheard - 1 {
			if got := s.testify(failure(mx.ServerFailed)); got != unmoved {
				t.Fatalf("transition %d by witness %d, want none: others are known", got, n+1)
			}
		}
		if got := s.testify(failure(mx.ServerFailed)); got != opened {
			t.Errorf("transition %d by the last witness, want opened", got)
		}
		if s.breaker.witnesses.known(nobody) {
			t.Error("the others are still witnesses, though they were met about the same time")
		}
		s.probe(nil)
		s.answer(120, nil)
		s.failInARow(200)
		s.testify(failure(mx.ServerFailed))
		if got := s.testify(nil); got != unmoved || s.breaker.probes() {
			t.Errorf("transition %d, want none: the second witness was answered", got)
		}
	})
	t.Run("who was not needed", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		s.failInARow(0)
		s.answer(101, nil)
		if s.breaker.probes() {
			t.Error("still in doubt although another member was answered")
		}
	})
	t.Run("when one member gets 503", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		if s.answer(1, failure(mx.Unavailable)) == opened {
			t.Fatal("opened, although a member was answered lately that could be asked")
		}
		s.testify(nil)
		if s.answer(1, failure(mx.Unavailable)); s.breaker.probes() {
			t.Error("MX is in doubt for a member that is known to fail by itself")
		}
		s.answer(2, failure(mx.Unavailable))
		if got := s.testify(failure(mx.Unavailable)); got != opened {
			t.Errorf("transition %d when the witness gets 503 too, want opened", got)
		}
	})
	t.Run("but not when MX says how long it is down", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		if got := s.answer(1, &mx.CallError{Kind: mx.Unavailable, RetryAfter: time.Minute}); got != opened {
			t.Errorf("transition %d, want opened", got)
		}
	})
	t.Run("unless MX says meanwhile that it is too much", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		s.answer(100, nil)
		s.failInARow(0)
		if got := s.answer(7, failure(mx.RateLimited)); got != opened {
			t.Errorf("transition %d, want opened", got)
		}
	})
	t.Run("unless all are members that fail", func(t *testing.T) {
		t.Parallel()
		s := newBreakerStory(t, 64)
		for n := range maxWitnesses {
			s.answer(n, nil)
			s.answer(n, failure(mx.ServerFailed))
		}
		s.answer(100, failure(mx.NotFound)) // so it is their own trouble, and nobody is met
		if got := s.failInARow(200); got != opened {
			t.Errorf("transition %d, want opened", got)
		}
	})
}

func TestBreakerAsksOthersWhileAProbeHangs(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(1, failure(mx.RateLimited))
	for n := range 3 {
		_, wait := s.breaker.admits(s.now, n)
		if n > 0 && wait != slowProbes {
			t.Errorf("probe %d comes %s after the one that hangs, want %s", n+1, wait, slowProbes)
		}
		s.now = s.now.Add(wait)
		if ok, _ := s.breaker.admits(s.now, n); !ok {
			t.Fatalf("probe %d is not admitted", n+1)
		}
		s.breaker.started(s.now)
	}
	if got := s.breaker.answered(answer{of: someone(9), began: s.now, at: s.now, probe: true, jitter: even}); got != closed {
		t.Errorf("transition %d by the one that is answered, want closed", got)
	}
	s.breaker.answered(answer{of: someone(8), err: failure(mx.Timeout), began: s.now, at: s.now, probe: true, jitter: even})
	if s.breaker.probes() {
		t.Error("one that hung until then opened the breaker again")
	}
}

func TestBreakerIsNotOpenedByMembersThatFailByThemselves(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(100, nil)
	s.failInARow(0)
	s.testify(nil)
	for range 3 {
		if s.failInARow(0); s.breaker.probes() {
			t.Fatal("members that are known to fail while others are answered put MX in doubt")
		}
	}
	for n := range failedMembers {
		s.answer(n, nil) // they are well again
	}
	if s.failInARow(0); !s.breaker.probes() {
		t.Error("members that were well and fail again count for nothing")
	}
}

func TestDeskLooksForWitnessesBeforeTheLastIsGone(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	d := newDesk(t.Context(), &Config{MaxInFlight: 64}, func() time.Time { return now }, func() float64 { return even }, nil, lookAway)
	for n := range fewWitnesses {
		d.breaker.open = true
		if !d.friendless() {
			t.Errorf("nobody is looked for while MX is not asked and %d witnesses are known", n)
		}
		d.breaker.open = false
		if d.friendless() {
			t.Error("somebody is looked for while MX is asked")
		}
		d.breaker.witnesses.meet(someone(n), now)
	}
	if d.breaker.open = true; d.friendless() {
		t.Errorf("more are looked for than the %d that are known", fewWitnesses)
	}
}

func TestBreakerProbesMostlyWithWitnesses(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(100, nil)
	s.answer(101, nil)
	s.answer(1, failure(mx.RateLimited))
	probe := func(err error) string {
		_, wait := s.breaker.admits(s.now, 0)
		s.now = s.now.Add(wait)
		k, ok := s.breaker.witness(true)
		if !ok {
			k = someone(1) // whose turn it is
		}
		s.breaker.started(s.now)
		s.breaker.witnesses.back(k)
		s.breaker.answered(answer{of: k, err: err, began: s.now, at: s.now, probe: true, jitter: even})
		return k.member
	}
	var got []string
	for range 8 {
		got = append(got, probe(failure(mx.RateLimited)))
	}
	if want := []string{"MBR-101", "MBR-100", "MBR-101", "MBR-1", "MBR-100", "MBR-101", "MBR-100", "MBR-1"}; !slices.Equal(got, want) {
		t.Errorf("probed with %v, want %v", got, want)
	}
	got = nil
	for range 3 {
		got = append(got, probe(failure(mx.Unavailable))) // of this member, MX says; a witness no more
	}
	if want := []string{"MBR-101", "MBR-100", "MBR-1"}; !slices.Equal(got, want) {
		t.Errorf("probed with %v, want %v", got, want)
	}
}

func TestBreakerOpensItsWindowQuicklyOnceAWitnessWasAnswered(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(100, nil)
	s.answer(1, failure(mx.RateLimited))
	s.probe(nil)
	s.failInARow(200)
	s.testify(nil)
	if got := s.breaker.window; got != 2*firstWindow {
		t.Errorf("%d calls in flight, want %d: MX is well, so this is no outage that everybody has waited for", got, 2*firstWindow)
	}
}

func TestBreakerAsksAWitnessWhenAFullWindowStaysSilent(t *testing.T) {
	t.Parallel()
	s := newBreakerStory(t, 64)
	s.answer(100, nil)
	s.now = s.now.Add(2 * idleWindow)
	for running := range firstWindow {
		if ok, _ := s.breaker.admits(s.now, running); !ok {
			t.Fatalf("call %d is not admitted", running+1)
		}
		s.breaker.started(s.now)
	}
	if ok, wait := s.breaker.admits(s.now, firstWindow); ok || wait != silence {
		t.Fatalf("beyond the window: admitted %t, wait %s; want to wait %s", ok, wait, silence)
	}
	s.now = s.now.Add(silence)
	if ok, _ := s.breaker.admits(s.now, firstWindow); !ok {
		t.Fatal("nobody may be asked although the window was silent")
	}
	if got := s.testify(nil); got != unmoved {
		t.Errorf("transition %d, want none", got)
	}
	if ok, _ := s.breaker.admits(s.now, 2*firstWindow-1); !ok {
		t.Error("the window is not wider, although MX answers others")
	}
	if ok, wait := s.breaker.admits(s.now.Add(time.Minute), 64); ok || wait != 0 {
		t.Errorf("beyond the limit: admitted %t, wait %s", ok, wait)
	}
}
