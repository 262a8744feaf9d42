package bus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// longAgo is before when a message was to fire that has not.
const longAgo = 2 * lateAfter

// byLimit is a body that the server refuses to store while it is at the limit.
var byLimit = strings.Repeat("x", 4096)

// unfired stores messages that are to fire, and has the server be at a limit while it
// fires them. Afterwards there is room again, and the server has forgotten them. The
// house's own bus is closed, so that nobody but the test looks for them.
func (h *house) unfired(messages ...*nats.Msg) {
	h.t.Helper()
	h.Close()
	s, err := h.peer.Stream(h.t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		h.t.Fatal(err)
	}
	limit := func(size int32) {
		h.t.Helper()
		c := s.CachedInfo().Config
		c.MaxMsgSize = size // the one limit that leaves room for the message that tells that it was tried
		if _, err := h.peer.UpdateStream(h.t.Context(), c); err != nil {
			h.t.Fatal(err)
		}
	}
	for wait := true; wait; { // again, if the server has fired one before it was at the limit
		for _, m := range messages {
			h.publish(m.Subject, string(m.Data), m.Header)
		}
		limit(1024)
		wait = false
		for _, m := range messages {
			if _, err := s.GetLastMsgForSubject(h.t.Context(), m.Subject); err != nil {
				wait = true
				limit(-1)
				if err := s.Purge(h.t.Context(), jetstream.WithPurgeSubject(h.subjects.BackgroundDue())); err != nil {
					h.t.Fatal(err)
				}
				break
			}
		}
	}
	// What is stored later fires later: this one does, so the others were tried.
	last := key(h.t, "MBR-last")
	h.publish(h.subjects.BackgroundAt("sweep", last), `{"cause":"sweep"}`, schedule(time.Now().Add(-longAgo), h.subjects.BackgroundDueOf(last)))
	h.until("the server has fired what was to fire", func() bool {
		_, err := s.GetLastMsgForSubject(h.t.Context(), h.subjects.BackgroundDueOf(last))
		return err == nil
	})
	if err := s.Purge(h.t.Context(), jetstream.WithPurgeSubject(h.subjects.BackgroundDueOf(last))); err != nil {
		h.t.Fatal(err)
	}
	limit(-1)
	for _, m := range messages {
		if _, err := s.GetLastMsgForSubject(h.t.Context(), m.Subject); err != nil {
			h.t.Fatalf("%s is not there any more (%v): does this server try again?", m.Subject, err)
		}
	}
}

// late is a message of a cause that should have fired long ago.
func (h *house) late(k events.Key, b slowBody) *nats.Msg {
	h.t.Helper()
	m, err := scheduled(h.subjects, k, time.Now().Add(-longAgo), b, refresh.Cause{ID: "c-1", Reason: byLimit, Traceparent: someTrace, Tracestate: "a=b"})
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// fired is what waits on a member's due-subject, once something does.
func (h *house) fired(k events.Key) (b slowBody, header nats.Header) {
	h.t.Helper()
	s, err := h.peer.Stream(h.t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		h.t.Fatal(err)
	}
	h.until(k.String()+" is due", func() bool {
		m, err := s.GetLastMsgForSubject(h.t.Context(), h.subjects.BackgroundDueOf(k))
		if err != nil {
			return false
		}
		if err := b.read(m.Data); err != nil {
			h.t.Fatal(err)
		}
		header = m.Header
		return true
	})
	return b, header
}

func TestWhatTheServerFailedToFireFiresForWhoeverWantsItScheduled(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		gone, moving := key(t, "MBR-gone"), key(t, "MBR-moving")
		first := time.Now().Add(-longAgo).UTC()
		h.unfired(
			h.late(gone, slowBody{Cause: causeDeletion, FirstAt: first}),
			h.late(moving, slowBody{Cause: causeSettle, Tries: 7}),
		)
		if err := h.Confirmations().Schedule(t.Context(), gone, time.Now(), refresh.Cause{ID: "another"}); err != nil {
			t.Fatal(err)
		}
		if b, _ := h.fired(gone); b.Cause != causeDeletion || !b.FirstAt.Equal(first) || b.CorrelationID != "c-1" {
			t.Errorf("%+v is due, want what the first 404 scheduled", b)
		}
		if err := h.Followings().Schedule(t.Context(), moving, refresh.Following{Tries: 1}, time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if b, trace := h.fired(moving); b.Tries != 7 || command.Header(trace, command.HeaderTraceparent) != someTrace || command.Header(trace, command.HeaderTracestate) != "a=b" {
			t.Errorf("%+v is due with %v, want what was scheduled first", b, trace)
		}
		if n := testutil.ToFloat64(h.metrics.revived); n != 2 {
			t.Errorf("%v are counted, want 2", n)
		}
	})
}

func TestAChainWhoseTickTheServerFailedToFireGoesOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	if _, err := h.chains.save(t.Context(), "one", link{Step: 3, Live: true, State: []byte("{}")}, 0); err != nil {
		t.Fatal(err)
	}
	one := chain(t, "one")
	h.unfired(h.late(one, slowBody{Cause: causeChain, Chain: "one", Step: 3}))
	if err := h.chains.Revive(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if b, _ := h.fired(one); b.Chain != "one" || b.Step != 3 {
		t.Errorf("%+v is due, want the tick of step 3", b)
	}
}

// chain is what the subjects of a chain's ticks name.
func chain(t *testing.T, name string) events.Key {
	t.Helper()
	k, err := events.NewKey(chainUser, name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestATickThatWaitsForItsTimeIsNotTakenForLost(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	if _, err := h.chains.save(t.Context(), "one", link{Step: 3, Live: true, State: []byte("{}")}, 0); err != nil {
		t.Fatal(err)
	}
	if err := h.chains.tick(t.Context(), "one", 3, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, stuck, err := h.chains.stuck(t.Context(), "one"); stuck || err != nil {
		t.Errorf("stuck %t, %v", stuck, err)
	}
}

func TestWhatTheServerFailedToFireFiresThoughNobodyAsks(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	gone, moving, one, waits := key(t, "MBR-gone"), key(t, "MBR-moving"), chain(t, "one"), key(t, "MBR-waits")
	for n := range lookNotLate - 1 { // stored earlier, and to fire later
		if err := h.Followings().Schedule(t.Context(), key(t, fmt.Sprintf("MBR-%d", n)), refresh.Following{Tries: 1}, time.Hour, false); err != nil {
			t.Fatal(err)
		}
	}
	h.unfired(
		h.late(gone, slowBody{Cause: causeDeletion, FirstAt: time.Now()}),
		h.late(moving, slowBody{Cause: causeSettle, Tries: 7}),
		h.late(one, slowBody{Cause: causeChain, Chain: "one", Step: 3}),
	)
	if err := h.Confirmations().Schedule(t.Context(), waits, time.Now(), refresh.Cause{}); err != nil {
		t.Fatal(err)
	}
	at, _ := h.scheduledFor(h.subjects.BackgroundAt(causeDeletion, waits))
	worker := h.open(good())
	for _, k := range []events.Key{gone, moving, one} {
		h.fired(k)
	}
	if n := testutil.ToFloat64(worker.metrics.revived); n != 3 {
		t.Errorf("%v are counted, want 3", n)
	}
	if n, err := worker.schedules.look(t.Context()); n != 0 || err != nil {
		t.Errorf("%d more are found, %v", n, err)
	}
	if got, _ := h.scheduledFor(h.subjects.BackgroundAt(causeDeletion, waits)); !got.Equal(at) {
		t.Errorf("what was not late was to fire at %s, and is at %s", at, got)
	}
}

func TestOfTwoWhoSeeAnOverdueMessageOnePublishesItAgain(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	m := h.late(k, slowBody{Cause: causeSettle, Tries: 7})
	h.unfired(m)
	st, err := h.peer.Stream(t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		t.Fatal(err)
	}
	seen, err := st.GetLastMsgForSubject(t.Context(), m.Subject)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []bool{true, false} {
		if got, err := h.schedules.revive(t.Context(), seen); got != want || err != nil {
			t.Errorf("the one who comes as number %d published it %t, %v", n+1, got, err)
		}
	}
}
