package bus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// hand is the set of messages that were fetched and not yet settled. While a
// message is in it the server is told, often enough, that it is being worked
// on: it may wait long for its member's turn.
type hand struct {
	every    time.Duration
	mu       sync.Mutex
	messages map[*nats.Msg]struct{}
}

func newHand(every time.Duration) *hand {
	return &hand{every: every, messages: make(map[*nats.Msg]struct{})}
}

func (h *hand) take(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages[m] = struct{}{}
}

func (h *hand) release(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.messages, m)
}

// run keeps the messages alive until ctx ends.
func (h *hand) run(ctx context.Context) {
	t := time.NewTicker(h.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		h.mu.Lock()
		now := make([]*nats.Msg, 0, len(h.messages))
		for m := range h.messages {
			now = append(now, m)
		}
		h.mu.Unlock()
		for _, m := range now {
			// A sign of life that is lost costs at worst a redelivery, which is harmless;
			// one for a message settled this instant is ignored.
			_ = m.InProgress()
		}
	}
}
