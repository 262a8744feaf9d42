package refresh

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// known is a member's last event as far as a cycle needs it.
type known struct {
	state member.State
	last
}

// last is what is known of the last event itself.
type last struct {
	sequence  uint64 // on the event stream; 0: the member has no event
	eventID   string
	eventType events.Type
	cause     cause
	// unannounced is the last event when it began a need to authorize whose
	// announcement is not known to be stored.
	unannounced *events.Event
}

// cause is the context of the job that made an event. The event's follow-up
// carries it on.
type cause struct{ id, reason, traceparent, tracestate string }

// record is known as it is remembered: its state in few bytes, without pointers
// that the garbage collector would have to follow for tens of thousands of members.
type record struct {
	last
	packed []byte
	alive  bool // seen, and not deleted
}

// memory is a bounded record of members' last events. What it holds may have
// been overtaken by another process; whoever concludes from it asks the stream.
type memory struct {
	mu     sync.Mutex
	states *simplelru.LRU[events.Key, *record] // nil: remember nothing
}

func newMemory(size int) *memory {
	if size == 0 {
		return &memory{}
	}
	l, err := simplelru.NewLRU[events.Key, *record](size, nil)
	if err != nil {
		panic(err) // Only for a size below 1, which Config.Problems refuses.
	}
	return &memory{states: l}
}

func (m *memory) recall(k events.Key) *known {
	if m.states == nil {
		return nil
	}
	m.mu.Lock()
	r, ok := m.states.Get(k)
	m.mu.Unlock()
	if !ok {
		return nil
	}
	return &known{member.Unpack(r.packed, k), r.last}
}

func (m *memory) remember(k events.Key, s *known) {
	if m.states == nil {
		return
	}
	r := &record{last: s.last, packed: s.state.Pack(), alive: s.state.Known() && !s.state.Deleted}
	// A key may be part of a larger text, such as a whole answer of MX; what is kept for long must not keep that.
	k = k.Clone()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states.Add(k, r)
}

func (m *memory) forget(k events.Key) {
	if m.states == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states.Remove(k)
}

// others returns up to n members, other than k, that were last seen alive.
func (m *memory) others(k events.Key, n int) []events.Key {
	if m.states == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []events.Key
	keys := m.states.Keys() // oldest first
	for i := len(keys) - 1; i >= 0 && len(out) < n; i-- {
		if r, ok := m.states.Peek(keys[i]); ok && keys[i] != k && r.alive {
			out = append(out, keys[i])
		}
	}
	return out
}

// budget counts how long each job has failed through its own member's fault.
// Time in which everybody failed is not counted: between two failures no more
// than twice the delay that was asked for.
type budget struct {
	mu    sync.Mutex
	spent *simplelru.LRU[string, *spending]
}

type spending struct {
	total time.Duration
	last  time.Time
	delay time.Duration
}

// budgetSize bounds how many failing jobs are counted at once. A job that is
// pushed out begins again: it is tried for longer, never lost.
const budgetSize = 10_000

func newBudget() *budget {
	l, err := simplelru.NewLRU[string, *spending](budgetSize, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &budget{spent: l}
}

// spend counts a failure of job ref, after which it comes again in delay, and
// returns what it has used up.
func (b *budget) spend(ref string, now time.Time, delay time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.spent.Get(ref)
	if !ok {
		b.spent.Add(ref, &spending{last: now, delay: delay})
		return 0
	}
	s.total += min(now.Sub(s.last), 2*s.delay)
	s.last, s.delay = now, delay
	return s.total
}

func (b *budget) settle(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent.Remove(ref)
}
