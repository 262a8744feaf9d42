package refresh

import (
	"sync"
	"time"
)

// allowance lets so many pass in any minute. A token bucket would let twice as
// many pass in the first.
type allowance struct {
	limit int

	mu     sync.Mutex
	passed []time.Time // within the last minute, in order
}

func (a *allowance) allow(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.passed) > 0 && now.Sub(a.passed[0]) >= time.Minute {
		a.passed = a.passed[1:]
	}
	if len(a.passed) >= a.limit {
		return false
	}
	a.passed = append(a.passed, now)
	return true
}
