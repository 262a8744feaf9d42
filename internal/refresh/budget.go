package refresh

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// budget counts how often, and for how long, each job has failed through its own
// member's fault, and how often it has panicked. Deliveries do not tell: a job is
// handed back in outages and when workers stop, too. Time in which everybody failed is
// not counted: between two failures no more than twice the delay that was asked for.
type budget struct {
	mu    sync.Mutex
	spent *simplelru.LRU[string, *spending]
}

type spending struct {
	failures uint64
	panics   int
	total    time.Duration
	last     time.Time
	delay    time.Duration
}

// budgetSize bounds how many failing jobs are counted at once. A job that is
// pushed out begins again: it is tried for longer, never lost. As many as NATS lets
// wait for their delay at once, in 30 MB when there are that many.
const budgetSize = 100_000

func newBudget() *budget {
	l, err := simplelru.NewLRU[string, *spending](budgetSize, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &budget{spent: l}
}

// spend counts a failure of job ref. It returns after how long the job is to come
// again, which delayOf tells by the number of failures, and what it has used up.
func (b *budget) spend(ref string, now time.Time, delayOf func(failures uint64) time.Duration) (delay, total time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.of(ref)
	if s.failures > 0 {
		s.total += min(now.Sub(s.last), 2*s.delay)
	}
	s.failures++
	s.last, s.delay = now, delayOf(s.failures)
	return s.delay, s.total
}

// panicked counts a panic of job ref, and returns how many there were.
func (b *budget) panicked(ref string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.of(ref)
	s.panics++
	return s.panics
}

// of is what is counted of job ref. b.mu is held.
func (b *budget) of(ref string) *spending {
	s, ok := b.spent.Get(ref)
	if !ok {
		s = new(spending)
		b.spent.Add(ref, s)
	}
	return s
}

func (b *budget) forget(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent.Remove(ref)
}
