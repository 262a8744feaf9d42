package stack

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/memberwatch/memberwatch/events"
)

// Validator holds messages against the published schemas. *validate.Validator is one.
type Validator interface {
	Event(raw []byte) error
	Result(raw []byte) error
	DeadLetter(raw []byte) error
}

// inbox is what a customer has received. Events are kept once, by id: delivery
// to a customer is at least once.
type inbox struct {
	bell

	mu            sync.Mutex
	events        map[string][]events.Event // by member guid, in the order of revisions
	ids           map[string]bool
	announcements map[string][]events.Event
	results       map[string][]events.Result // by command id
	letters       map[uint64]events.DeadLetter
	complaints    []string
}

func newInbox() *inbox {
	return &inbox{
		events: make(map[string][]events.Event), ids: make(map[string]bool),
		announcements: make(map[string][]events.Event),
		results:       make(map[string][]events.Result), letters: make(map[uint64]events.DeadLetter),
	}
}

// complain notes what should not have come. i.mu is held.
func (i *inbox) complain(format string, args ...any) {
	i.complaints = append(i.complaints, fmt.Sprintf(format, args...))
}

// update runs f with the lock held, then wakes who waits.
func (i *inbox) update(f func()) {
	i.mu.Lock()
	f()
	i.mu.Unlock()
	i.raise()
}

func (i *inbox) takeEvent(subject string, raw []byte, v Validator) {
	i.update(func() {
		if err := v.Event(raw); err != nil {
			i.complain("event on %s: %v", subject, err)
		}
		e, err := events.Decode(raw)
		if err != nil {
			i.complain("event on %s: %v", subject, err)
			return
		}
		if i.ids[e.ID] {
			return
		}
		i.ids[e.ID] = true
		member := e.Key.Member()
		if e.Type == events.TypeOAuthRequired {
			i.announcements[member] = append(i.announcements[member], e)
			return
		}
		// A delivery that was lost comes again, behind younger ones: the order of a
		// member's events is that of their revisions.
		at, _ := slices.BinarySearchFunc(i.events[member], e, func(a, b events.Event) int { return cmp.Compare(a.Data.Revision, b.Data.Revision) })
		i.events[member] = slices.Insert(i.events[member], at, e)
	})
}

// complete complains of revisions that never came, or came twice with different ids. i.mu is held.
func (i *inbox) complete() {
	for member, all := range i.events {
		for n, e := range all {
			if want := uint64(n) + 1; e.Data.Revision != want {
				i.complain("member %s: revision %d came in place of %d", member, e.Data.Revision, want)
				break
			}
		}
	}
}

func (i *inbox) takeResult(subject string, raw []byte, v Validator) {
	i.update(func() {
		if err := v.Result(raw); err != nil {
			i.complain("result on %s: %v", subject, err)
		}
		r, err := events.DecodeResult(raw)
		if err != nil {
			i.complain("result on %s: %v", subject, err)
			return
		}
		i.results[r.CommandID] = append(i.results[r.CommandID], r)
	})
}

func (i *inbox) takeLetter(l events.DeadLetter, err error) {
	i.update(func() {
		if err != nil {
			i.complain("dead letter: %v", err)
		}
		i.letters[l.Sequence] = l
	})
}

// find returns the first of a member's events, or announcements, that match accepts.
func (i *inbox) find(of map[string][]events.Event, member string, match func(events.Event) bool) (events.Event, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := slices.IndexFunc(of[member], match); n >= 0 {
		return of[member][n], true
	}
	return events.Event{}, false
}
