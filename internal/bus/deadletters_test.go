package bus

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// A follow-up comes without the event's body, which is what an operator has to see.
func TestTheDeadLetterOfAFollowUpHoldsItsEvent(t *testing.T) {
	t.Parallel()
	c := good()
	c.FollowUpAfter = time.Millisecond
	h, in := newHouse(t, c), newInbox()
	h.start(h.Bus, in)
	dead := refresh.Verdict{Disposition: refresh.Dead, Category: events.CategoryStateUnreadable, Reason: "not JSON"}
	const broken = "{never an event"
	h.publish("mx.events.member.connected.USR-1.MBR-1", broken, nil)
	in.next(t).Settle(dead)
	h.until("the letter is there", func() bool { return len(h.letters()) == 1 })
	l := h.letters()[0]
	if string(l.Body) != broken || l.BodySize != len(broken) || l.Stream != "MX_EVENTS" || l.Sequence != 1 || len(l.Headers) != 0 {
		t.Errorf("dead letter %+v", l)
	}

	h.publish("mx.events.member.connected.USR-1.MBR-2", broken, nil)
	j := in.next(t)
	s, err := h.peer.Stream(t.Context(), h.subjects.EventStream())
	if err == nil {
		err = s.DeleteMsg(t.Context(), j.FollowUpOf)
	}
	if err != nil {
		t.Fatal(err)
	}
	j.Settle(dead)
	h.until("that of an event which is gone is there, too", func() bool { return len(h.letters()) == 2 })
}

func TestADeadLetterFitsWhatTheServerTakes(t *testing.T) {
	t.Parallel()
	quotes := strings.Repeat(`"`, 1000) // of which JSON makes twice as many
	whole := events.DeadLetter{
		Headers: map[string][]string{"X": {quotes}}, Body: bytes.Repeat([]byte("x"), 3000), BodySize: 3000, BodySHA256: "abc",
		Stream: "MX_COMMANDS", Sequence: 7, Reason: "body: no",
	}
	for limit, want := range map[int]struct {
		body    int
		headers bool
		reason  string
	}{
		8000: {3000, true, "body: no"},
		4000: {900, true, "body: no"},
		2000: {0, false, "body: no; headers: left out, as the server's max_payload has no room for them"},
	} {
		data, err := fitting(whole, limit)
		if err != nil || len(data) > limit {
			t.Errorf("%d bytes of %d, %v", len(data), limit, err)
		}
		var l events.DeadLetter
		if err := json.Unmarshal(data, &l); err != nil {
			t.Fatal(err)
		}
		if len(l.Body) < want.body || (len(l.Body) == 3000) != (want.body == 3000) || (len(l.Headers) > 0) != want.headers ||
			l.Reason != want.reason || l.BodySize != 3000 || l.BodySHA256 != "abc" {
			t.Errorf("in %d bytes: %d of the body, headers %t, reason %q", limit, len(l.Body), len(l.Headers) > 0, l.Reason)
		}
		if l.Headers == nil {
			t.Errorf("in %d bytes the headers are no object", limit)
		}
	}
}

func TestTheHeadersOfADeadLetterAreAnObjectEvenIfThereAreNone(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	h.publish(plain, "{", nil)
	h.until("the letter is there", func() bool { return len(h.letters()) == 1 })
	if l := h.letters()[0]; l.Headers == nil || len(l.Headers) != 0 {
		t.Errorf("headers %v, want an empty object", l.Headers)
	}
}

// What a server does not take would come again for ever.
func TestADeadLetterIsStoredWhateverItsSize(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	l := events.DeadLetter{Stream: "MX_COMMANDS", Sequence: 9, Category: events.CategoryInvalid, Body: make([]byte, 2<<20)}
	if err := h.bury(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if all, most := h.letters(), 1<<20; len(all[0].Body) < most/2 || len(all[0].Body) > most {
		t.Errorf("%d bytes of the body are kept", len(all[0].Body))
	}
}
