package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// everywhere runs a test on one server and on three.
func everywhere(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) {
			t.Parallel()
			c := good()
			c.StreamReplicas = n
			test(t, newHouse(t, c))
		})
	}
}

func TestStatesNameSomeMembersFromAllOverTheStream(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		s := h.States()
		if got, err := s.Some(t.Context(), 2); len(got) != 0 || err != nil {
			t.Errorf("an empty stream has events of %v, %v", got, err)
		}
		a, b, c := key(t, "MBR-a"), key(t, "MBR-b"), key(t, "MBR-c")
		last := map[events.Key]uint64{}
		for i, k := range []events.Key{a, a, a, b, c, b} {
			seq, err := s.Append(t.Context(), event(t, k, uint64(i+1)), last[k])
			if err != nil {
				t.Fatal(err)
			}
			last[k] = seq
		}
		for n, want := range map[uint64][]events.Key{0: nil, 6: {a, b, c}, 20: {a, b, c}} {
			got, err := s.Some(t.Context(), n)
			slices.SortFunc(got, func(a, b events.Key) int { return strings.Compare(a.Member(), b.Member()) })
			if !slices.Equal(got, want) || err != nil {
				t.Errorf("%d of them are %v, %v; want %v", n, got, err, want)
			}
		}
		seen := map[events.Key]bool{}
		for range 1000 { // each time another may be named, so all are in the end
			got, err := s.Some(t.Context(), 1)
			if len(got) != 1 || err != nil {
				t.Fatalf("one of them is %v, %v", got, err)
			}
			if seen[got[0]] = true; len(seen) == 3 {
				return
			}
		}
		t.Errorf("one of them is always one of %v", seen)
	})
}

func TestStatesGuardTheirWrites(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		s, k := h.States(), key(t, "MBR-1")
		if _, seq, err := s.Last(t.Context(), k); seq != 0 || err != nil {
			t.Errorf("a member without events: sequence %d, %v", seq, err)
		}
		if id, seq, err := s.LastID(t.Context(), k); id != "" || seq != 0 || err != nil {
			t.Errorf("a member without events: id %q, sequence %d, %v", id, seq, err)
		}
		first, err := s.Append(t.Context(), event(t, k, 1), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), event(t, k, 1), 0); !errors.Is(err, refresh.ErrConflict) {
			t.Errorf("the same write again: %v, want a conflict", err)
		}
		// Of another type, so on another subject: the guard is about the member.
		other := events.New(h.subjects, events.TypeDegraded, k, event(t, k, 2).Data)
		if _, err := s.Append(t.Context(), &other, 0); !errors.Is(err, refresh.ErrConflict) {
			t.Errorf("a write from an overtaken state: %v, want a conflict", err)
		}
		second, err := s.Append(t.Context(), &other, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), event(t, k, 3), second+1); !errors.Is(err, refresh.ErrConflict) {
			t.Errorf("a write from a state that never was: %v, want a conflict", err)
		}
		if _, err := s.Append(t.Context(), event(t, key(t, "MBR-2"), 1), 0); err != nil {
			t.Errorf("another member's write: %v", err)
		}
		e, seq, err := s.Last(t.Context(), k)
		if err != nil || seq != second || e.ID != other.ID {
			t.Errorf("last event %s at %d, %v; want %s at %d", e.ID, seq, err, other.ID, second)
		}
	})
}

func TestRefusalsSayWhetherTheEventOrTheStoreIsToBlame(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		s := h.States()
		limit := func(edit func(*jetstream.StreamConfig)) {
			t.Helper()
			stream, err := h.js.Stream(t.Context(), h.subjects.EventStream())
			if err != nil {
				t.Fatal(err)
			}
			c := stream.CachedInfo().Config
			edit(&c)
			if _, err := h.js.UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		huge := event(t, key(t, "MBR-1"), 1)
		huge.Data.Member.Name = new(strings.Repeat("x", 2<<20))
		if _, err := s.Append(t.Context(), huge, 0); !errors.Is(err, refresh.ErrTooLarge) {
			t.Errorf("an event of 2 MiB: %v", err)
		}
		limit(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 })
		if _, err := s.Append(t.Context(), event(t, key(t, "MBR-1"), 1), 0); !errors.Is(err, refresh.ErrTooLarge) {
			t.Errorf("an event larger than the stream takes: %v", err)
		}
		limit(func(c *jetstream.StreamConfig) { c.MaxMsgSize, c.MaxBytes, c.Discard = -1, 100, jetstream.DiscardNew })
		if _, err := s.Append(t.Context(), event(t, key(t, "MBR-1"), 1), 0); !errors.Is(err, refresh.ErrRefused) {
			t.Errorf("an event for a full stream: %v", err)
		}
	})
}

func TestOneOfManyRivalsWins(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		c := h.config
		rivals := []*States{h.States(), h.open(c).States(), h.open(c).States()}
		for n := range 20 {
			k := key(t, fmt.Sprintf("MBR-%d", n))
			var wg sync.WaitGroup
			var won atomic.Int32
			for i, s := range rivals {
				wg.Go(func() {
					e := events.New(h.subjects, events.Statuses()[i].Type(), k, event(t, k, 1).Data)
					switch _, err := s.Append(t.Context(), &e, 0); {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, refresh.ErrConflict):
						t.Errorf("rival %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%d rivals won", won.Load())
			}
		}
	})
}

func TestReadsNeverMissAWriteThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	c := good()
	c.StreamReplicas = 3
	h := newHouse(t, c)
	writer, reader, k := h.States(), h.open(c).States(), key(t, "MBR-1")
	var last uint64
	for n := range uint64(300) {
		var err error
		e := event(t, k, n+1)
		if last, err = writer.Append(t.Context(), e, last); err != nil {
			t.Fatal(err)
		}
		if id, seq, err := reader.LastID(t.Context(), k); err != nil || seq != last || id != e.ID {
			t.Fatalf("last is %s at %d, %v; %s at %d was acknowledged", id, seq, err, e.ID, last)
		}
	}
}

func TestTheLastEventHasOneIDHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	e := event(t, k, 1)
	ours, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	front := `{"specversion":"1.0","id":"` + e.ID + `"`
	rest, ok := strings.CutPrefix(string(ours), front)
	if !ok {
		t.Fatalf("an event begins %.80s", ours)
	}
	long := strings.Repeat("x", 200)
	for n, tc := range []struct{ front, id string }{
		{front, e.ID},
		{`{"id":"first","specversion":"1.0"`, "first"},
		{`{"specversion":"1.0","id":"` + long + `"`, long},
		{`{"specversion":"1.0","id":"a\u0062c"`, "abc"},
		{`{"specversion" : "1.0","id":"lower","ID":"upper"`, "lower"},
		{`{"specversion":"1.0","id":7`, ""}, // no event
	} {
		h.publish(h.subjects.Event(events.TypeConnected, k), tc.front+rest, nil)
		last, seq, err := h.States().Last(t.Context(), k)
		if seq != uint64(n+1) || (err != nil) != (tc.id == "") || last.ID != tc.id {
			t.Errorf("%.60s: last is %q at %d, %v; want %q", tc.front, last.ID, seq, err, tc.id)
		}
		if id, seq, err := h.States().LastID(t.Context(), k); id != tc.id || seq != uint64(n+1) || err != nil {
			t.Errorf("%.60s: id %q at %d, %v; want %q", tc.front, id, seq, err, tc.id)
		}
	}
}

func TestAnUnreadableLastEventComesWithItsSequence(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	h.publish(h.subjects.Event(events.TypeConnected, k), "no event", nil)
	if _, seq, err := h.States().Last(t.Context(), k); !errors.Is(err, refresh.ErrUnreadable) || seq != 1 {
		t.Errorf("sequence %d, %v", seq, err)
	}
}

func TestNoAnswerIsAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	h.servers[0].Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.States().Append(ctx, event(t, k, 1), 0); err == nil || errors.Is(err, refresh.ErrConflict) {
		t.Errorf("writing to nobody: %v", err)
	}
	if _, _, err := h.States().Last(ctx, k); err == nil || errors.Is(err, refresh.ErrUnreadable) {
		t.Errorf("reading from nobody: %v", err)
	}

	gone := newHouse(t, good())
	if err := gone.peer.DeleteStream(t.Context(), "MX_EVENTS"); err != nil {
		t.Fatal(err)
	}
	if _, err := gone.States().Append(t.Context(), event(t, k, 1), 0); !errors.Is(err, refresh.ErrOutcomeUnknown) {
		t.Errorf("nobody takes the write: %v, want an unknown outcome", err)
	}
}

func TestAnnouncementsAreStoredOnceAndNeverGoBack(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, h *house) {
		t.Helper()
		a, k := h.Announcements(), key(t, "MBR-1")
		first, third := event(t, k, 1).Announcement("https://first"), event(t, k, 3).Announcement("https://third")
		announced := func(e events.Event) bool {
			t.Helper()
			done, err := a.Announced(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		announce := func(e events.Event, stored uint64) {
			t.Helper()
			if err := a.Announce(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if n := h.state("MX_OAUTH").LastSeq; n != stored {
				t.Errorf("%d announcements stored, want %d", n, stored)
			}
			if !announced(e) {
				t.Error("announced, and nobody knows")
			}
		}
		if announced(first) {
			t.Error("announced before it was")
		}
		announce(first, 1)
		announce(first, 1)
		announce(event(t, k, 1).Announcement("https://another"), 1) // of the same event: the same announcement
		announce(third, 2)
		announce(first, 2) // overtaken
		if n := h.state("MX_OAUTH").Msgs; n != 1 {
			t.Errorf("%d announcements kept of one member", n)
		}
	})
}

func TestACommandThatAsksForRollUpOrAScheduleWipesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	h.fill(10)
	for name, header := range map[string]nats.Header{
		"roll-up":  {"Nats-Rollup": {"all"}},
		"schedule": {jetstream.ScheduleHeader: {"@every 1s"}, jetstream.ScheduleTargetHeader: {plain}},
	} {
		if _, err := h.peer.PublishMsg(t.Context(), &nats.Msg{Subject: plain, Data: []byte(body), Header: header}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if n := h.commands(); n != 10 {
		t.Errorf("%d commands, want 10", n)
	}
}

func TestIDsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	h, k := newHouse(t, good()), key(t, "MBR-1")
	if _, ok := h.IDs().Lookup(t.Context(), "you", "account"); ok {
		t.Error("known before it was remembered")
	}
	h.IDs().Remember(t.Context(), "you", "account", k)
	for name, ids := range map[string]*IDs{"same process": h.IDs(), "another process": h.open(good()).IDs()} {
		if got, ok := ids.Lookup(t.Context(), "you", "account"); !ok || got != k {
			t.Errorf("%s: %v, %t", name, got, ok)
		}
		if _, ok := ids.Lookup(t.Context(), "youa", "ccount"); ok {
			t.Errorf("%s: other ids mean the same", name)
		}
	}
}

func TestIDsThatCannotBeReadAreNotKnown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	kv, err := h.peer.KeyValue(t.Context(), "MX_IDS")
	if err != nil {
		t.Fatal(err)
	}
	for n, value := range []string{"{", `{}`, `{"user_guid":"USR-1","member_guid":"a.b"}`} {
		if _, err := kv.Put(t.Context(), idKey("you", strconv.Itoa(n)), []byte(value)); err != nil {
			t.Fatal(err)
		}
		if k, ok := h.IDs().Lookup(t.Context(), "you", strconv.Itoa(n)); ok {
			t.Errorf("%s means %v", value, k)
		}
	}
}
