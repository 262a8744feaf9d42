package refresh

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
)

// storeHealth tells readiness and the log that NATS refuses to store events, and that
// it does again: once each time, however many are refused meanwhile.
type storeHealth struct {
	health Health
	log    *slog.Logger

	refuses atomic.Bool
	mu      sync.Mutex // orders what is told
}

// note looks at what became of a write.
func (s *storeHealth) note(err error) {
	refused := errors.Is(err, ErrRefused)
	if s.refuses.Load() == refused || err != nil && !refused {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses.Swap(refused) == refused {
		return // somebody was faster
	}
	if refused {
		s.health.Set(CheckStore, err)
		s.log.Warn("NATS refuses to store events; commands are kept and tried again", "error", err)
		return
	}
	s.health.Set(CheckStore, nil)
	s.log.Info("NATS stores events again")
}
