package stack

import (
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
	events        map[string][]events.Event // by member guid, as they came
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
		if want := uint64(len(i.events[member])) + 1; e.Data.Revision != want {
			i.complain("event on %s has revision %d, want %d", subject, e.Data.Revision, want)
		}
		i.events[member] = append(i.events[member], e)
	})
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
