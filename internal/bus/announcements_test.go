package bus

import (
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// need is a member's event of some revision that began a need, observed some time
// after the first of all.
func need(t *testing.T, k events.Key, revision uint64, after time.Duration) *events.Event {
	t.Helper()
	d := event(t, k, revision).Data
	d.OAuthRequired, d.ObservedAt = true, d.ObservedAt.Add(after)
	e := events.New(subjects(t), events.TypePending, k, d)
	return &e
}

func TestANewLifesNeedIsAnnouncedWhateverTheFormerOneLeft(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	for name, clock := range map[string]time.Duration{
		"later": time.Minute, "at the same time": -3, "by a clock that is behind": -time.Minute,
	} {
		k := key(t, "MBR-"+name[:2])
		announce := func(e *events.Event) string {
			t.Helper()
			if err := h.announcements.Announce(t.Context(), e.Announcement("https://uri")); err != nil {
				t.Fatal(err)
			}
			last, _, err := h.announcements.last(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			return last.ID
		}
		former := need(t, k, 4, 0)
		announce(former) // its events are purged, or rolled back
		first := need(t, k, 1, clock)
		if _, err := h.states.Append(t.Context(), first, 0); err != nil {
			t.Fatal(err)
		}
		a := first.Announcement("")
		if done, err := h.announcements.Announced(t.Context(), a); done || err != nil {
			t.Errorf("%s: the former life's announcement is taken for it (%v)", name, err)
		}
		if got := announce(first); got != a.ID {
			t.Errorf("%s: %s is announced, want the new life's %s", name, got, a.ID)
		}
		if done, err := h.announcements.Announced(t.Context(), a); !done || err != nil {
			t.Errorf("%s: announced, and nobody knows (%v)", name, err)
		}
		if got := announce(former); got != a.ID {
			t.Errorf("%s: a worker that was stopped for a while announces the former life's need", name)
		}
	}
}

func TestOfOneLifeTheLaterRevisionStaysAnnouncedWhateverClocksSay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	for name, clock := range map[string]time.Duration{
		"in order": time.Minute, "at the same time": -1, "by a clock that is behind": -time.Minute,
	} {
		k := key(t, "MBR-"+name[:2])
		var seq uint64
		earlier, later := need(t, k, 1, 0), need(t, k, 2, clock)
		for _, e := range []*events.Event{earlier, later, need(t, k, 3, clock)} {
			var err error
			if seq, err = h.states.Append(t.Context(), e, seq); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range []*events.Event{later, earlier} {
			if err := h.announcements.Announce(t.Context(), e.Announcement("https://uri")); err != nil {
				t.Fatal(err)
			}
		}
		last, _, err := h.announcements.last(t.Context(), k)
		if err != nil || last.ID != later.Announcement("").ID {
			t.Errorf("%s: revision %d is announced, want 2 (%v)", name, last.Data.Revision, err)
		}
		if err := h.announcements.Announce(t.Context(), need(t, k, 3, clock).Announcement("https://uri")); err != nil {
			t.Fatal(err)
		}
		if last, _, err = h.announcements.last(t.Context(), k); err != nil || last.Data.Revision != 3 {
			t.Errorf("%s: revision %d is announced, want 3 (%v)", name, last.Data.Revision, err)
		}
	}
}
