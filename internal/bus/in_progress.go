package bus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// inProgress is the set of messages that were fetched and not yet settled. While a
// message is in it the server is told, often enough, that it is being worked
// on: it may wait long for its member's turn.
type inProgress struct {
	every    time.Duration
	mu       sync.Mutex
	messages map[*nats.Msg]struct{}
}

func newInProgress(every time.Duration) *inProgress {
	return &inProgress{every: every, messages: make(map[*nats.Msg]struct{})}
}

func (p *inProgress) take(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.messages[m] = struct{}{}
}

func (p *inProgress) release(m *nats.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.messages, m)
}

// run keeps the messages alive until ctx ends.
func (p *inProgress) run(ctx context.Context) {
	t := time.NewTicker(p.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		p.mu.Lock()
		now := make([]*nats.Msg, 0, len(p.messages))
		for m := range p.messages {
			now = append(now, m)
		}
		p.mu.Unlock()
		for _, m := range now {
			// A sign of life that is lost costs at worst a redelivery, which is harmless;
			// one for a message settled this instant is ignored.
			_ = m.InProgress()
		}
	}
}
