package refresh

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// storeHealth tells readiness and the log that NATS refuses to store events, and that
// it does again: once each time, however many are refused meanwhile.
type storeHealth struct {
	health Health
	log    *slog.Logger

	refuses atomic.Bool
	mu      sync.Mutex
	latest  time.Time // refusal
}

// refusalAge is how long a refusal counts: what was refused comes again sooner, unless
// another worker, or nobody, has anything to store any more.
const refusalAge = time.Minute

// note looks at what became of a write.
func (s *storeHealth) note(now time.Time, err error) {
	refused := errors.Is(err, ErrRefused)
	if !refused && (err != nil || !s.refuses.Load()) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !refused {
		s.recover()
		return
	}
	s.latest = now
	if s.refuses.Swap(true) {
		return
	}
	s.health.Set(CheckStore, err)
	s.log.Warn("NATS refuses to store events; commands are kept and tried again", "error", err)
}

// expire forgets a refusal that nothing has followed for long.
func (s *storeHealth) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.latest) > refusalAge {
		s.recover()
	}
}

// recover tells that NATS stores events, if it was thought not to. s.mu is held.
func (s *storeHealth) recover() {
	if s.refuses.Swap(false) {
		s.health.Set(CheckStore, nil)
		s.log.Info("NATS refuses to store events no longer")
	}
}
