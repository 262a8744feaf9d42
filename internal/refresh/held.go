package refresh

import (
	"sync"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// held is the set of members whose deletion this process holds back; while there
// are any it is not ready, so that somebody looks. Each is held until a time: its
// confirmation comes again before, and if it does so to another worker, which may
// know better, this one must not stay unready for it.
type held struct {
	health Health

	mu      sync.Mutex
	members map[events.Key]time.Time
}

func newHeld(h Health) *held {
	return &held{health: h, members: make(map[events.Key]time.Time)}
}

// add holds k's deletion back until a time, and reports whether that is new.
func (h *held) add(k events.Key, until time.Time, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, was := h.members[k]
	h.members[k] = until
	h.health.Set(CheckDeletions, err)
	return !was
}

func (h *held) remove(k events.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.members[k]; ok {
		h.drop(k)
	}
}

// countWith is how many are held back, k among them.
func (h *held) countWith(k events.Key) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.members[k]; ok {
		return len(h.members)
	}
	return len(h.members) + 1
}

// expire drops those whose confirmation has not come again.
func (h *held) expire(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, until := range h.members {
		if now.After(until) {
			h.drop(k)
		}
	}
}

// drop removes k, and tells when nobody is left. h.mu is held.
func (h *held) drop(k events.Key) {
	delete(h.members, k)
	if len(h.members) == 0 {
		h.health.Set(CheckDeletions, nil)
	}
}
