package refreshtest

import (
	"sync"
)

// Health records what a worker says of itself.
type Health struct {
	mu     sync.Mutex
	checks map[string]error
}

func newHealth() *Health { return &Health{checks: make(map[string]error)} }

// Set implements refresh.Health and bus.Health.
func (h *Health) Set(check string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[check] = err
}

// Get returns the state of a check: nil when it is well, or was never set.
func (h *Health) Get(check string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.checks[check]
}
