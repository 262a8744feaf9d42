package refresh

import (
	"hash/maphash"
	"slices"
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
// All of it was learned in one epoch of the stream: with the next it is empty.
//
// It is made for very many members: each costs one allocation without pointers,
// which the garbage collector need not look into, and some 60 bytes around it.
// When it is full, the member goes that was not asked for since the clock's hand
// last passed it (CLOCK, or second chance).
type memory struct {
	most int
	seed maphash.Seed

	mu        sync.Mutex
	epoch     uint64
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

// enter reports whether epoch is still the latest. A later one begins with nothing
// remembered. m.mu is held.
func (m *memory) enter(epoch uint64) bool {
	if epoch > m.epoch {
		m.epoch = epoch
		m.clear()
	}
	return epoch == m.epoch
}

// clear forgets everybody. m.mu is held.
func (m *memory) clear() {
	clear(m.index)
	clear(m.slots)
	m.slots, m.clockHand = m.slots[:0], 0
}

// forgetAll forgets everybody: the stream is known to have lost events.
func (m *memory) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
}

// recall reads what is remembered of the member into s, if anything is.
func (m *memory) recall(k events.Key, epoch uint64, s *known) (ok bool) {
	hash := m.hash(k)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.enter(epoch) {
		return false
	}
	i, ok := m.index[hash]
	if !ok {
		return false
	}
	m.slots[i].used = true
	return s.unpack(m.slots[i].record, k, m.words)
}

// remember keeps s, which was learned in epoch, unless something is left to announce:
// that has to be looked at again, with the whole event.
func (m *memory) remember(k events.Key, epoch uint64, s *known) {
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
	if !m.enter(epoch) {
		return
	}
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

// othersAmong is among how many places others chooses. When everybody is doubtful it would
// else look at all of them for each member, while nobody else can recall or remember.
const othersAmong = 256

// others returns up to n members, other than k, that are known to live, from any
// place: rather of other users, and doubtful ones last. from, in [0,1), says where to
// begin. Fewer than n are all there are.
func (m *memory) others(k events.Key, n int, from float64, doubtful func(events.Key) bool) []events.Key {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found [3][]events.Key // of other users; of the same; doubtful
	begin := int(from * float64(len(m.slots)))
	for i := range m.slots {
		other, alive := owner(m.slots[(begin+i)%len(m.slots)].record)
		if !alive || other == k {
			continue
		}
		class := 0
		switch {
		case doubtful(other):
			class = 2
		case other.User() == k.User():
			class = 1
		}
		if len(found[class]) < n {
			found[class] = append(found[class], other)
		}
		if len(found[0]) == n || i+1 >= othersAmong && len(found[0])+len(found[1])+len(found[2]) >= n {
			break
		}
	}
	all := slices.Concat(found[:]...)
	return all[:min(len(all), n)]
}
