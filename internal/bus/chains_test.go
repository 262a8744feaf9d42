package bus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// walk makes steps as a test says.
type walk func(number, attempt uint64, state []byte) (next []byte, after time.Duration, err error)

func (w walk) Step(_ context.Context, _ string, number, attempt uint64, state []byte) ([]byte, time.Duration, error) {
	return w(number, attempt, state)
}

// counting is a walk of n steps that notes their numbers.
type counting struct {
	mu    sync.Mutex
	n     uint64
	steps []uint64
	pause time.Duration
}

func (c *counting) step(number, _ uint64, state []byte) ([]byte, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, number)
	if number >= c.n {
		return []byte(`"end"`), -1, nil
	}
	return state, c.pause, nil
}

func (c *counting) made() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]uint64(nil), c.steps...)
}

// ended waits until a chain goes on no more, and its last tick is gone.
func (h *house) ended(name string) string {
	h.t.Helper()
	var state string
	h.until("the chain has ended", func() bool {
		s, live, seq, err := h.chains.Load(h.t.Context(), name)
		if err != nil {
			h.t.Fatal(err)
		}
		state = string(s)
		return seq > 0 && !live && h.state(h.subjects.BackgroundStream()).Msgs == 1
	})
	return state
}

func (h *house) begin(name string) {
	h.t.Helper()
	_, _, seq, err := h.chains.Load(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.chains.Begin(h.t.Context(), name, []byte(`{"at":1}`), seq); err != nil {
		h.t.Fatal(err)
	}
}

func TestChainMakesItsStepsInOrderNowOrAfterAPause(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 5 * time.Millisecond} {
		h := newHouse(t, good())
		c := &counting{n: 5, pause: pause}
		h.Serve(walk(c.step))
		h.start(h.Bus, newInbox())
		h.begin("one")
		if state := h.ended("one"); state != `"end"` {
			t.Errorf("it ended with %s", state)
		}
		if got := c.made(); len(got) != 5 || got[0] != 1 || got[4] != 5 {
			t.Errorf("steps %v", got)
		}
	}
}

func TestTwoWorkersMakeTheStepsOfOneChainOnceEach(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	c := &counting{n: 40}
	other := h.open(good())
	for _, b := range []*Bus{h.Bus, other} {
		b.Serve(walk(c.step))
		h.start(b, newInbox())
	}
	h.begin("one")
	h.ended("one")
	if got := c.made(); len(got) != 40 {
		t.Errorf("%d steps were made, want 40", len(got))
	}
}

// A death between two actions of a step leaves what the others find: the test
// brings that about by hand, and delivers the tick again.
func TestChainGoesOnAfterADeathAtEachPointOfAStep(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		did     func(h *house, l link, seq uint64) error // what step 3 had done when its worker died
		repeats int                                      // how often step 3 is made after that
	}{
		{"before it was saved", func(*house, link, uint64) error { return nil }, 1},
		{"saved, next tick not sent", func(h *house, l link, seq uint64) error {
			_, err := h.chains.save(h.t.Context(), "one", l, seq)
			return err
		}, 0},
		{"saved and sent, not acknowledged", func(h *house, l link, seq uint64) error {
			_, err := h.chains.save(h.t.Context(), "one", l, seq)
			return errors.Join(err, h.chains.tick(h.t.Context(), "one", l.Step, 20*time.Millisecond))
		}, 0},
		{"saved and sent at once, not acknowledged", func(h *house, l link, seq uint64) error {
			_, err := h.chains.save(h.t.Context(), "one", l, seq)
			return errors.Join(err, h.chains.tick(h.t.Context(), "one", l.Step, 0))
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			seq, err := h.chains.save(t.Context(), "one", link{Step: 3, Live: true, State: []byte("{}")}, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.chains.tick(t.Context(), "one", 3, 0); err != nil { // what comes again
				t.Fatal(err)
			}
			if err := c.did(h, link{Step: 4, Live: true, State: []byte("{}")}, seq); err != nil {
				t.Fatal(err)
			}
			walker := &counting{n: 6}
			h.Serve(walk(walker.step))
			h.start(h.Bus, newInbox())
			h.ended("one")
			made := map[uint64]int{}
			for _, n := range walker.made() {
				made[n]++
			}
			if made[3] != c.repeats || made[4] != 1 || made[5] != 1 || made[6] != 1 {
				t.Errorf("steps made: %v", walker.made())
			}
		})
	}
}

func TestStaleTickMakesNoStep(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	c := &counting{n: 9, pause: time.Hour}
	h.Serve(walk(c.step))
	if _, err := h.chains.save(t.Context(), "one", link{Step: 5, Live: true, State: []byte("{}")}, 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{2, 4, 5, 7} {
		if err := h.chains.tick(t.Context(), "one", n, 0); err != nil {
			t.Fatal(err)
		}
	}
	h.start(h.Bus, newInbox())
	h.until("one tick waits", func() bool { return h.state(h.subjects.BackgroundStream()).Msgs == 2 })
	// Nor does one that comes between the record of step 5 and the tick of step 6.
	if got := c.made(); !slices.Equal(got, []uint64{5}) {
		t.Errorf("steps %v, want step 5", got)
	}
}

func TestRecordWhoseTickIsOnItsWayGetsNoOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	if _, err := h.chains.save(t.Context(), "one", link{Step: 5, Live: true, State: []byte("{}")}, 0); err != nil {
		t.Fatal(err)
	}
	looks := make(chan *nats.Msg, 100)
	sub, err := h.peer.Conn().ChanSubscribe("$JS.API.STREAM.MSG.GET."+h.subjects.BackgroundStream(), looks)
	if err == nil {
		err = h.peer.Conn().Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	revived := make(chan error, 1)
	go func() { revived <- h.chains.Revive(t.Context(), "one") }()
	for range 3 { // for the record, a tick that waits, and one that is due
		<-looks
	}
	if err := errors.Join(sub.Unsubscribe(), h.chains.tick(t.Context(), "one", 5, time.Hour), <-revived); err != nil {
		t.Fatal(err)
	}
	if n := h.state(h.subjects.BackgroundStream()).Msgs; n != 2 {
		t.Errorf("%d messages, want the record and its tick", n)
	}
}

func TestLostTickIsRepairedOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	c := &counting{n: 3, pause: time.Hour}
	h.Serve(walk(c.step))
	h.start(h.Bus, newInbox())
	h.begin("one")
	h.until("step 2 waits", func() bool { return len(c.made()) == 1 && h.state(h.subjects.BackgroundStream()).Msgs == 2 })
	for range 3 { // while there is one it stays alone
		if err := h.chains.Revive(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.state(h.subjects.BackgroundStream()).Msgs; n != 2 {
		t.Errorf("%d messages, want the record and its tick", n)
	}
	s, err := h.peer.Stream(t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := h.chains.place("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(at)); err != nil {
		t.Fatal(err)
	}
	if err := h.chains.Revive(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	h.until("step 2 was made", func() bool { return len(c.made()) == 2 })
	if err := h.chains.Revive(t.Context(), "none"); err != nil {
		t.Errorf("reviving what never was: %v", err)
	}
}

func TestStepThatFailsOrPanicsIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	var calls atomic.Int32
	h.Serve(walk(func(_, attempt uint64, state []byte) ([]byte, time.Duration, error) {
		switch n := calls.Add(1); {
		case n != int32(attempt):
			t.Errorf("call %d is told to be attempt %d", n, attempt)
		case n == 1:
			panic("on purpose")
		}
		return state, -1, nil
	}))
	h.start(h.Bus, newInbox())
	h.begin("one")
	h.ended("one")
	if calls.Load() != 2 {
		t.Errorf("the step was begun %d times", calls.Load())
	}
}

func TestStepThatIsOvertakenLeavesTheChainToTheOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	h.Serve(walk(func(_, _ uint64, state []byte) ([]byte, time.Duration, error) {
		_, _, seq, err := h.chains.Load(t.Context(), "one")
		if err == nil {
			err = h.chains.End(t.Context(), "one", []byte(`"stopped"`), seq)
		}
		if err != nil {
			t.Error(err)
		}
		return state, 0, nil
	}))
	h.start(h.Bus, newInbox())
	h.begin("one")
	if state := h.ended("one"); state != `"stopped"` {
		t.Errorf("it ended with %s", state)
	}
}

func TestChainBeginsOnceForTwoWhoTry(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	if err := h.chains.Begin(t.Context(), "one", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := h.chains.Begin(t.Context(), "one", []byte("2"), 0); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("beginning again: %v", err)
	}
	if err := h.chains.End(t.Context(), "one", []byte("3"), 0); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("ending what was not looked at: %v", err)
	}
	state, live, seq, err := h.chains.Load(t.Context(), "one")
	if string(state) != "1" || !live || seq == 0 || err != nil {
		t.Errorf("it is %s, live %t, %v", state, live, err)
	}
}

func TestTickIsLeftToWorkersThatMakeSteps(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	in := newInbox()
	h.start(h.Bus, in)
	h.begin("one")
	k := key(t, "MBR-1")
	if err := h.chains.Refresh(t.Context(), k, "sweep", "id", "once"); err != nil {
		t.Fatal(err)
	}
	if j := in.next(t); j.Key != k || j.Source != refresh.SourceSweep || j.ID != "id" || j.Command.Reason != "sweep" || j.Lane != refresh.Background {
		t.Errorf("the job is %+v", j)
	} else {
		done(j)
	}
	if _, live, _, err := h.chains.Load(t.Context(), "one"); !live || err != nil {
		t.Errorf("the chain is live %t, %v", live, err)
	}
}

func TestTickOfAChainWithABadNameIsADeadLetter(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	c := &counting{n: 1}
	h.Serve(walk(c.step))
	h.start(h.Bus, newInbox())
	h.publish("mx.background.due._.one", `{"cause":"chain","chain":"no.token","step":1}`, nil)
	h.until("it is buried", func() bool { return len(h.letters()) == 1 })
	if l := h.letters()[0]; l.Category != events.CategoryInvalid {
		t.Errorf("it is %s: %s", l.Category, l.Reason)
	}
	if _, _, _, err := h.chains.Load(t.Context(), "no.token"); err == nil {
		t.Error("a chain with such a name is looked for")
	}
}

func TestRefreshAskedForTwiceIsOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	for range 2 {
		if err := h.chains.Refresh(t.Context(), key(t, "MBR-1"), "periodic", "id", "once"); err != nil {
			t.Fatal(err)
		}
	}
	if n, taken, places, err := h.chains.Backlog(t.Context()); n != 1 || taken != 0 || places != maxAckPending || err != nil {
		t.Errorf("%d refreshes wait, %d of %d are taken, %v", n, taken, places, err)
	}
	if err := h.chains.Refresh(t.Context(), key(t, "MBR-1"), "whim", "id", "twice"); err == nil {
		t.Error("a cause that no worker knows was taken")
	}
}

func TestKnownIsTheEventStreamAsAListOfMembers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	known := h.Known()
	if first, last, err := known.Bounds(t.Context()); err != nil || last >= max(first, 1) {
		t.Errorf("an empty stream goes from %d to %d, %v", first, last, err)
	}
	if _, seq, err := known.Next(t.Context(), 1); seq != 0 || err != nil {
		t.Errorf("an empty stream begins at %d, %v", seq, err)
	}
	a, b := key(t, "MBR-a"), key(t, "MBR-b")
	for i, k := range []events.Key{b, a, b} {
		revision := uint64(1)
		after := uint64(0)
		if i == 2 {
			revision, after = 2, 1
		}
		if _, err := h.states.Append(t.Context(), event(t, k, revision), after); err != nil {
			t.Fatal(err)
		}
	}
	if k, seq, err := known.Next(t.Context(), 2); k != a || seq != 2 || err != nil {
		t.Errorf("at 2 there is %v at %d, %v", k, seq, err)
	}
	if _, seq, err := known.Next(t.Context(), 4); seq != 0 || err != nil {
		t.Errorf("behind the end there is %d, %v", seq, err)
	}
	if seq, err := known.First(t.Context(), a); seq != 2 || err != nil {
		t.Errorf("a begins at %d, %v", seq, err)
	}
	if seq, err := known.FirstOfUser(t.Context(), "USR-1"); seq != 1 || err != nil {
		t.Errorf("the user begins at %d, %v", seq, err)
	}
	if seq, err := known.FirstOfUser(t.Context(), "USR-2"); seq != 0 || err != nil {
		t.Errorf("an unknown user begins at %d, %v", seq, err)
	}
	if all, err := known.MembersOf(t.Context(), "USR-1"); len(all) != 2 || all[0] != a || all[1] != b || err != nil {
		t.Errorf("the user's members are %v, %v", all, err)
	}
	if all, err := known.MembersOf(t.Context(), "USR-2"); len(all) != 0 || err != nil {
		t.Errorf("an unknown user's members are %v, %v", all, err)
	}
	for _, bad := range []string{"", "*", ">", "a.b"} {
		if _, err := known.FirstOfUser(t.Context(), bad); err == nil {
			t.Errorf("user %q was looked for", bad)
		}
	}
}
