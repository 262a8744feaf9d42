package bus

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

const someTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestAFollowingFiresAsItWasScheduled(t *testing.T) {
	t.Parallel()
	h, in, k := newHouse(t, good()), newInbox(), key(t, "MBR-1")
	h.start(h.Bus, in)
	since := time.Now().UTC()
	next := refresh.Following{Tries: 4, Since: since, Cause: refresh.Cause{ID: "c-1", Reason: "signup", Traceparent: someTrace, Tracestate: "a=b"}}
	const after = 300 * time.Millisecond
	if err := h.Followings().Schedule(t.Context(), k, next, after, false); err != nil {
		t.Fatal(err)
	}
	j := in.next(t)
	if d := time.Since(since); d < after {
		t.Errorf("fired %s early", after-d)
	}
	if j.Key != k || j.Source != refresh.SourceFollowing || j.Lane != refresh.Background || j.Following == nil || j.Following.Tries != 4 || !j.Following.Since.Equal(since) {
		t.Errorf("job %+v, follows %+v", j, j.Following)
	}
	if got := (refresh.Cause{ID: j.ID, Reason: j.Command.Reason, Traceparent: j.Traceparent, Tracestate: j.Tracestate}); got != next.Cause {
		t.Errorf("cause %+v, want %+v", got, next.Cause)
	}
	done(j)
	h.until("the lane is empty", func() bool { return h.state("MX_BACKGROUND").Msgs == 0 })
}

// waiting is what the one message that is scheduled says.
func (h *house) waiting(k events.Key) slowBody {
	h.t.Helper()
	s, err := h.peer.Stream(h.t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		h.t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(h.t.Context(), h.subjects.BackgroundAt(causeSettle, k))
	if err != nil {
		h.t.Fatal(err)
	}
	var b slowBody
	if err := json.Unmarshal(m.Data, &b); err != nil {
		h.t.Fatal(err)
	}
	return b
}

func TestAMemberHasOneFollowingThatOnlyANewOneReplaces(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	other := h.open(good())
	schedule := func(b *Bus, tries uint64, anew bool) {
		t.Helper()
		if err := b.Followings().Schedule(t.Context(), k, refresh.Following{Tries: tries}, time.Hour, anew); err != nil {
			t.Fatal(err)
		}
	}
	schedule(h.Bus, 1, false)
	schedule(h.Bus, 2, false)
	schedule(other, 3, false)
	if s := h.state("MX_BACKGROUND"); s.Msgs != 1 || s.LastSeq != 1 || h.waiting(k).Tries != 1 {
		t.Errorf("%d messages, last sequence %d, tries %d; want the first alone", s.Msgs, s.LastSeq, h.waiting(k).Tries)
	}
	schedule(other, 4, true)
	if s := h.state("MX_BACKGROUND"); s.Msgs != 1 || h.waiting(k).Tries != 4 {
		t.Errorf("%d messages, tries %d; want the new one alone", s.Msgs, h.waiting(k).Tries)
	}
	if got := h.waiting(k); got.Cause != causeSettle {
		t.Errorf("body %+v", got)
	}
}

func TestAFollowingGoesOnWhateverIsRemembered(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	if err := h.Followings().Schedule(t.Context(), k, refresh.Following{Tries: 1}, time.Hour, true); err != nil {
		t.Fatal(err)
	}
	s, err := h.peer.Stream(t.Context(), h.subjects.BackgroundStream())
	if err != nil {
		t.Fatal(err)
	}
	// As a server does that fires what was there before.
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(h.subjects.BackgroundAt(causeSettle, k))); err != nil {
		t.Fatal(err)
	}
	if err := h.Followings().Schedule(t.Context(), k, refresh.Following{Tries: 5}, time.Hour, false); err != nil {
		t.Fatal(err)
	}
	if got := h.waiting(k).Tries; got != 5 {
		t.Errorf("tries %d wait, want 5", got)
	}
}

func TestNATSIsNotAskedAgainForAMemberWhoseNextReadIsSureToWait(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	var now atomic.Int64 // hours from the beginning
	begin := time.Now()
	h.Followings().now = func() time.Time { return begin.Add(time.Duration(now.Load()) * time.Hour) }
	asked, err := h.peerNC.SubscribeSync(h.subjects.BackgroundAt(causeSettle, k)) // what is refused is seen too
	if err != nil {
		t.Fatal(err)
	}
	if err := h.peerNC.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ hour, asked int }{{0, 1}, {0, 1}, {4, 1}, {6, 2}, {7, 3}} { // what NATS refused is not remembered
		now.Store(int64(step.hour))
		if err := h.Followings().Schedule(t.Context(), k, refresh.Following{Tries: 1}, 10*time.Hour, false); err != nil {
			t.Fatal(err)
		}
		if err := h.peerNC.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := asked.Pending(); err != nil || got != step.asked {
			t.Errorf("asked %d times by hour %d, want %d", got, step.hour, step.asked)
		}
	}
}

func TestEachCauseOfTheSlowLaneMakesItsOwnJob(t *testing.T) {
	t.Parallel()
	h, in, k := newHouse(t, good()), newInbox(), key(t, "MBR-1")
	h.start(h.Bus, in)
	for _, tc := range []struct {
		body   string
		source refresh.Source
	}{
		{`{"cause":"confirm_deletion","first_at":"2026-08-01T12:00:00Z","correlation_id":"c-1"}`, refresh.SourceDeletion},
		{`{"cause":"settle","tries":2,"since":"2026-08-01T12:00:00Z","correlation_id":"c-1"}`, refresh.SourceFollowing},
		{`{"cause":"sweep","correlation_id":"c-1"}`, refresh.SourceSweep},
		{`{"cause":"periodic","correlation_id":"c-1"}`, refresh.SourcePeriodic},
	} {
		h.publish(h.subjects.BackgroundDueOf(k), tc.body, nil)
		j := in.next(t)
		if j.Source != tc.source || j.Key != k || j.ID != "c-1" || j.Lane != refresh.Background ||
			(j.Confirms != nil) != (tc.source == refresh.SourceDeletion) || (j.Following != nil) != (tc.source == refresh.SourceFollowing) {
			t.Errorf("%s: job %+v", tc.body, j)
		}
		done(j)
	}
	for n, body := range []string{`{"cause":`, `{"cause":"settle","since":"yesterday"}`, `{"cause":"settle","tries":-1}`} {
		h.publish(h.subjects.BackgroundDueOf(k), body, nil)
		h.until("it is a dead letter: "+body, func() bool { return len(h.letters()) == n+1 })
		if l := h.letters()[n]; l.Category != events.CategoryInvalid || l.Reason == "" {
			t.Errorf("%s: dead letter %s, %q", body, l.Category, l.Reason)
		}
	}
}

func TestMessageThatOnlyANewerWorkerKnowsIsLeftToIt(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	var late atomic.Int64
	h.now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	h.start(h.Bus, newInbox())
	h.publish(h.subjects.BackgroundDueOf(k), `{"cause":"astrology"}`, nil)
	h.publish(h.subjects.BackgroundDueOf(k), `{"cause":`, nil)
	h.until("the broken one is a dead letter, and the strange one is left", func() bool {
		return len(h.letters()) == 1 && h.state(h.subjects.BackgroundStream()).Msgs == 1
	})
	if reason := h.letters()[0].Reason; strings.Contains(reason, "astrology") {
		t.Errorf("dead letter: %s", reason)
	}
	late.Store(int64(strangeFor))
	h.publish(h.subjects.BackgroundDueOf(k), `{"cause":"alchemy"}`, nil)
	h.until("what nobody knows is a dead letter at last", func() bool { return len(h.letters()) == 2 })
	if l := h.letters()[1]; l.Category != events.CategoryInvalid || !strings.Contains(l.Reason, `"alchemy"`) {
		t.Errorf("dead letter %s, %q", l.Category, l.Reason)
	}
}
