package refresh

import (
	"hash/maphash"
	"sync"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// known is a member's last event as far as a cycle needs it.
type known struct {
	state member.State
	lastEvent
}

// lastEvent is what is known of the last event itself.
type lastEvent struct {
	sequence   uint64 // on the event stream; 0: the member has no event
	eventID    string
	eventType  events.Type
	observedAt int64 // when its read was answered, in Unix nanoseconds: no pointer, unlike a time.Time
	cause      Cause
	// unannounced is the last event when it began a need to authorize whose
	// announcement is not known to be stored.
	unannounced *events.Event
}

// memory is a bounded record of members' last events. What it holds may have
// been overtaken by another process; whoever concludes from it asks the stream.
//
// It is made for very many members: each costs one allocation without pointers,
// which the garbage collector need not look into, and some 60 bytes around it.
// When it is full, the member goes that was not asked for since the clock's hand
// last passed it (CLOCK, or second chance).
type memory struct {
	most int
	seed maphash.Seed

	mu        sync.Mutex
	words     *member.Words
	slots     []slot
	index     map[uint64]int32 // of slots, by the hash of the key
	clockHand int
}

type slot struct {
	hash   uint64
	record string // empty: free; never changed, as what is unpacked from it are parts of it
	used   bool   // since the hand last passed
}

func newMemory(most int) *memory {
	return &memory{most: most, seed: maphash.MakeSeed(), words: member.NewWords(), index: make(map[uint64]int32)}
}

func (m *memory) hash(k events.Key) uint64 { return maphash.Comparable(m.seed, k) }

// recall reads what is remembered of the member into s, if anything is.
func (m *memory) recall(k events.Key, s *known) (ok bool) {
	hash := m.hash(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := m.index[hash]
	if !ok {
		return false
	}
	m.slots[i].used = true
	return s.unpack(m.slots[i].record, k, m.words)
}

// remember keeps s, unless something is left to announce: that has to be looked
// at again, with the whole event.
func (m *memory) remember(k events.Key, s *known) {
	if m.most == 0 {
		return
	}
	if s.unannounced != nil {
		m.forget(k)
		return
	}
	hash := m.hash(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	b := pack(k, s, m.words)
	i, ok := m.index[hash]
	if !ok {
		i = m.room()
		m.index[hash] = i
	}
	m.slots[i] = slot{hash, b, true}
}

// room returns a free slot. m.mu is held.
func (m *memory) room() int32 {
	if len(m.slots) < m.most {
		m.slots = append(m.slots, slot{})
		return int32(len(m.slots) - 1) //nolint:gosec // Config.Problems bounds the size.
	}
	for ; ; m.clockHand = (m.clockHand + 1) % len(m.slots) {
		s := &m.slots[m.clockHand]
		if s.used {
			s.used = false
			continue
		}
		if s.record != "" {
			delete(m.index, s.hash)
		}
		return int32(m.clockHand) //nolint:gosec // As above.
	}
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.index)
}

func (m *memory) forget(k events.Key) {
	hash := m.hash(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.index[hash]; ok {
		delete(m.index, hash)
		m.slots[i] = slot{}
	}
}

// others returns up to n members, other than k, that are known to live, from any
// place: rather of other users and not doubtful than the rest. from, in [0,1), says
// where to begin.
func (m *memory) others(k events.Key, n int, from float64, doubtful func(events.Key) bool) []events.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	var good, rest []events.Key
	begin := int(from * float64(len(m.slots)))
	for i := range m.slots {
		other, alive := owner(m.slots[(begin+i)%len(m.slots)].record)
		switch {
		case !alive || other == k:
		case len(good) == n:
			return good
		case other.User() != k.User() && !doubtful(other):
			good = append(good, other)
		case len(rest) < n:
			rest = append(rest, other)
		}
	}
	return append(good, rest[:min(len(rest), n-len(good))]...)
}
