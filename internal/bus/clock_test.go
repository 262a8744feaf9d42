package bus

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// wrong is a clock that is off by what a test says.
type wrong struct{ by atomic.Int64 }

func (w *wrong) now() time.Time { return time.Now().Add(time.Duration(w.by.Load())) }

// openBy opens one more bus, with a clock of its own.
func (h *house) openBy(now func() time.Time) *Bus {
	h.t.Helper()
	nc := embeddedtest.ConnectAll(h.t, h.servers, nats.ReconnectBufSize(-1))
	b, err := New(h.t.Context(), nc, h.config, Options{
		DeleteConfirmAfter: time.Hour, MaxInFlight: 4, Log: slog.New(slog.DiscardHandler), Now: now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(b.Close)
	return b
}

// scheduledFor is when the last message on a subject is to fire, and when it was stored.
func (h *house) scheduledFor(subject string) (at, stored time.Time) {
	h.t.Helper()
	s, err := h.peer.Stream(h.t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		h.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(h.t.Context(), subject)
	if err != nil {
		h.t.Fatal(err)
	}
	at, err = time.Parse(time.RFC3339Nano, strings.TrimPrefix(m.Header.Get(jetstream.ScheduleHeader), "@at "))
	if err != nil {
		h.t.Fatal(err)
	}
	return at, m.Time
}

// clocks are those of workers that must do as well as any other.
var clocks = map[string]time.Duration{"half a minute behind": -30 * time.Second, "an hour ahead": time.Hour}

func TestADeletionIsConfirmedNoSoonerWhateverTheWorkersClockSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	for name, by := range clocks {
		w := new(wrong)
		w.by.Store(int64(by))
		b, k := h.openBy(w.now), key(t, "MBR-"+name[:2])
		w.by.Add(int64(-10 * time.Minute)) // set just now, so what is known of the server's is wrong
		before := time.Now()               // the server's clock: it runs in this process
		if err := b.Confirmations().Schedule(t.Context(), k, w.now(), refresh.Cause{}); err != nil {
			t.Fatal(err)
		}
		at, stored := h.scheduledFor(h.subjects.BackgroundAt(causeDeletion, k))
		if begin := at.Add(-b.confirmations.after); begin.Before(before) || begin.After(stored) {
			t.Errorf("%s: the delay begins %s after the 404, and the message was stored %s after it", name, begin.Sub(before), stored.Sub(before))
		}
	}
}

func TestWhatIsScheduledFiresByTheServersClockWhateverTheWorkersSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	const tolerable = 15 * time.Second // for a busy machine; the clocks are off by more
	for name, by := range clocks {
		w := new(wrong)
		w.by.Store(int64(by))
		b, k := h.openBy(w.now), key(t, "MBR-"+name[:2])
		if err := b.Followings().Schedule(t.Context(), k, refresh.Following{Tries: 1}, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if err := b.chains.tick(t.Context(), k.Member(), 1, time.Hour); err != nil {
			t.Fatal(err)
		}
		chainAt, _, err := b.chains.place(k.Member())
		if err != nil {
			t.Fatal(err)
		}
		for _, subject := range []string{h.subjects.BackgroundAt(causeSettle, k), chainAt} {
			at, stored := h.scheduledFor(subject)
			if off := at.Add(-time.Hour).Sub(stored); off.Abs() > tolerable {
				t.Errorf("%s: %s fires %s off", name, subject, off)
			}
		}
	}
}

func TestTimesInMessagesAreTheServersForWorkersOfAnyClock(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	behind, ahead, in := new(wrong), new(wrong), newInbox()
	behind.by.Store(int64(-time.Hour))
	ahead.by.Store(int64(time.Hour))
	b := h.openBy(behind.now)
	k, other := key(t, "MBR-1"), key(t, "MBR-2")
	b.confirmations.after = time.Millisecond
	first := behind.now()
	if err := b.Confirmations().Schedule(t.Context(), k, first, refresh.Cause{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Followings().Schedule(t.Context(), other, refresh.Following{Tries: 1, Since: first}, time.Millisecond, false); err != nil {
		t.Fatal(err)
	}
	h.start(h.openBy(ahead.now), in)
	const tolerable = 15 * time.Second
	for range 2 {
		j := in.next(t)
		var at time.Time
		if j.Confirms != nil {
			at = j.Confirms.FirstAt
		} else {
			at = j.Following.Since
		}
		if off := at.Sub(first.Add(2 * time.Hour)); off.Abs() > tolerable {
			t.Errorf("what was %s by one clock is %s by the other", first, at)
		}
		done(j)
	}
}

func TestTheServerIsAskedForTheTimeAgainWhenTheConnectionIsBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	w := new(wrong)
	b := h.openBy(w.now)
	w.by.Store(int64(time.Hour))
	off := func() time.Duration { return time.Until(b.clock.at(w.now())).Abs() }
	if off() < 30*time.Minute {
		t.Error("the clock was set, and nobody could know")
	}
	if err := b.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	h.until("it is known again what time it is", func() bool { return off() < 30*time.Minute })
}

func TestTheTimeOfAnAnswerIsThatOfTheMiddleOfItsWay(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	back := sent.Add(time.Second)
	for _, tc := range []struct{ says, off time.Duration }{
		{time.Minute, time.Minute - 500*time.Millisecond},
		{-time.Minute, -time.Minute - 500*time.Millisecond},
		{0, 0},
		{1500 * time.Millisecond, 0},
		{-500 * time.Millisecond, 0}, // no further off than the way was long
		{1501 * time.Millisecond, 1001 * time.Millisecond},
	} {
		var c serverClock
		c.answered(sent, sent.Add(tc.says), back)
		ours := back.Add(time.Hour)
		if got := c.at(ours).Sub(ours); got != tc.off {
			t.Errorf("a server that said %s more is off by %s, want %s", tc.says, got, tc.off)
		}
		if got := c.toTheirs(ours); !got.Equal(ours.Add(tc.off)) || !c.toOurs(got).Equal(ours) {
			t.Errorf("%s is %s there, and that is %s here", ours, got, c.toOurs(got))
		}
		if !c.toTheirs(time.Time{}).IsZero() {
			t.Error("no time has become one")
		}
	}
}

func TestAMessageFromTheFutureSaysMoreThanTheServerThatWasAsked(t *testing.T) {
	t.Parallel()
	ours := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	var c serverClock
	c.answered(ours, ours.Add(-time.Hour), ours)
	if got := c.now(ours, ours.Add(-2*time.Hour)); !got.Equal(ours.Add(-time.Hour)) {
		t.Errorf("where our clock is ahead it is %s", got)
	}
	stored := ours.Add(-time.Minute) // by the leader of another stream
	for range 2 {
		if got := c.now(ours, stored); !got.Equal(stored) {
			t.Errorf("it is %s, and a message is of %s", got, stored)
		}
		stored = stored.Add(time.Second)
		ours = ours.Add(time.Second)
	}
	if got := c.at(ours); !got.Equal(ours.Add(-time.Hour)) {
		t.Errorf("what is scheduled fires by %s", got)
	}
	c.answered(ours, ours.Add(-time.Hour), ours)
	if got := c.now(ours, ours.Add(-2*time.Hour)); !got.Equal(ours.Add(-time.Hour)) {
		t.Errorf("a message from the future outlives the next answer: it is %s", got)
	}
}
