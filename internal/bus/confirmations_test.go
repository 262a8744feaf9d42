package bus

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

func TestARepeatedScheduleDoesNotPostponeTheFirst(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	for n := range 3 {
		if err := h.Confirmations().Schedule(t.Context(), k, time.Now().Add(time.Duration(n)*time.Hour), refresh.Cause{ID: strconv.Itoa(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.state("MX_BACKGROUND"); s.Msgs != 1 || s.LastSeq != 1 {
		t.Errorf("%d messages, last sequence %d; want the first alone", s.Msgs, s.LastSeq)
	}
}

func TestAScheduleFiresNoSecondTooEarlyIntoTheSlowLane(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	const after = 1400 * time.Millisecond // cut to seconds it would fire up to a second early
	h.Confirmations().after = after
	h.start(h.Bus, in)
	k, first := key(t, "MBR-1"), time.Now().UTC()
	by := refresh.Cause{ID: "c-1", Reason: "signup", Traceparent: someTrace, Tracestate: "a=b"}
	if err := h.Confirmations().Schedule(t.Context(), k, first, by); err != nil {
		t.Fatal(err)
	}
	j := in.next(t)
	if d := time.Since(first); d < after {
		t.Errorf("fired %s early", after-d)
	}
	if j.Key != k || j.Confirms == nil || !j.Confirms.FirstAt.Equal(first) {
		t.Errorf("job %+v, confirms %+v", j, j.Confirms)
	}
	if got := (refresh.Cause{ID: j.ID, Reason: j.Command.Reason, Traceparent: j.Traceparent, Tracestate: j.Tracestate}); got != by {
		t.Errorf("cause %+v, want %+v", got, by)
	}
	stands := func(want bool) {
		t.Helper()
		if got, err := h.Confirmations().Stands(t.Context(), k, *j.Confirms); err != nil || got != want {
			t.Errorf("stands: %t, %v; want %t", got, err, want)
		}
	}
	stands(true)
	if got, err := h.Confirmations().Stands(t.Context(), key(t, "MBR-2"), *j.Confirms); err != nil || got {
		t.Errorf("stands for another member: %t, %v", got, err)
	}
	if err := h.Confirmations().Cancel(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	stands(false)
	done(j)
}

func TestConfirmationsAreKnownToEveryWorkerAndCancelledByAny(t *testing.T) {
	t.Parallel()
	h, k, other := newHouse(t, good()), key(t, "MBR-1"), key(t, "MBR-2")
	early := h.open(good())
	for _, k := range []events.Key{k, other} {
		if err := h.Confirmations().Schedule(t.Context(), k, time.Now(), refresh.Cause{}); err != nil {
			t.Fatal(err)
		}
	}
	late := h.open(good())
	for name, b := range map[string]*Bus{"the one that scheduled": h.Bus, "one that was there": early, "one that came later": late} {
		h.until(name+" knows", func() bool { return b.Confirmations().Pending(k) })
	}
	if err := early.Confirmations().Cancel(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if early.Confirmations().Pending(k) || !early.Confirmations().Pending(other) {
		t.Error("canceling one member's confirmation is not just that")
	}
	if n := h.state("MX_BACKGROUND").Msgs; n != 1 {
		t.Errorf("%d messages, want the other member's", n)
	}
}

// interrupted is JetStream with something that happens whenever a stream is looked up.
type interrupted struct {
	jetstream.JetStream
	by func() error
}

// Stream implements jetstream.JetStream.
func (i interrupted) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if err := i.by(); err != nil {
		return nil, err
	}
	return i.JetStream.Stream(ctx, name)
}

func TestAConfirmationStaysKnownUnlessItIsSureToBeCancelled(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	other, c := h.open(good()).Confirmations(), h.Confirmations()
	schedule := func(by *Confirmations) {
		t.Helper()
		if err := by.Schedule(t.Context(), k, time.Now(), refresh.Cause{}); err != nil {
			t.Fatal(err)
		}
		h.until("it is known", func() bool { return c.Pending(k) })
	}
	schedule(c)
	js := c.js
	c.js = interrupted{js, func() error { return errors.New("no answer") }}
	if err := c.Cancel(t.Context(), k); err == nil || !c.Pending(k) {
		t.Errorf("%v; pending %t, although it was not canceled", err, c.Pending(k))
	}
	c.js = js
	// Once what it scheduled has come back to it, too, which counts as scheduled again.
	h.until("it is canceled", func() bool { return c.Cancel(t.Context(), k) == nil && !c.Pending(k) })
	c.js = interrupted{js, func() error {
		schedule(other) // another worker, while this one cancels
		return nil
	}}
	if err := c.Cancel(t.Context(), k); err != nil || !c.Pending(k) {
		t.Errorf("%v; pending %t, although it was scheduled since", err, c.Pending(k))
	}
}

func TestAConfirmationThatHasFiredIsNotScheduledAgain(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	c := h.Confirmations()
	c.after = time.Millisecond
	h.publish(h.subjects.BackgroundDueOf(k), `{"cause":"sweep"}`, nil) // none of a deletion
	schedule := func() {
		t.Helper()
		if err := c.Schedule(t.Context(), k, time.Now(), refresh.Cause{}); err != nil {
			t.Fatal(err)
		}
	}
	schedule()
	fired := func() (n uint64) {
		t.Helper()
		info, err := h.peer.Stream(t.Context(), "MX_BACKGROUND")
		if err != nil {
			t.Fatal(err)
		}
		all, err := info.Info(t.Context(), jetstream.WithSubjectFilter(h.subjects.BackgroundDue()))
		if err != nil {
			t.Fatal(err)
		}
		return all.State.Subjects[h.subjects.BackgroundDueOf(k)]
	}
	h.until("it has fired", func() bool { return fired() == 2 })
	last := h.state("MX_BACKGROUND").LastSeq
	schedule()
	if s := h.state("MX_BACKGROUND"); s.LastSeq != last {
		t.Errorf("%d messages more", s.LastSeq-last)
	}
}

func TestWhatWasScheduledWhileTheConnectionWasGoneIsKnownAfterwards(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	c := h.Confirmations()
	if err := c.Schedule(t.Context(), k, time.Now(), refresh.Cause{}); err != nil {
		t.Fatal(err)
	}
	quiet := 0
	h.until("it is heard of no more", func() bool { // what it has scheduled itself comes back to it
		quiet++
		if c.Pending(k) {
			c.forget(k)
			quiet = 0
		}
		return quiet == 20
	})
	if err := h.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	h.until("it is known again", func() bool { return c.Pending(k) })
}
