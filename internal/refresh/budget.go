package refresh

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

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

func (b *budget) forget(ref string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent.Remove(ref)
}
