package stack

import (
	"sync"
	"testing"
	"time"
)

// Bounds of waiting. They end a broken test, no working one.
const (
	Patience = 45 * time.Second
	glance   = 20 * time.Millisecond
)

// Eventually waits until condition holds, for what only an outside process knows.
func Eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	end := time.NewTimer(Patience)
	defer end.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-end.C:
			tb.Fatalf("waited %s in vain until %s", Patience, what)
		}
	}
}

// bell wakes all who wait for a change of something that a lock guards.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// raised returns a channel that is closed with the next raise.
func (b *bell) raised() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) raise() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// await calls condition now and after each change until it holds. It reports
// whether it did before patience and done ended; done may be nil.
func (b *bell) await(done <-chan struct{}, condition func() bool) bool {
	end := time.NewTimer(Patience)
	defer end.Stop()
	for {
		next := b.raised()
		if condition() {
			return true
		}
		select {
		case <-next:
		case <-done:
			return condition()
		case <-end.C:
			return false
		}
	}
}
