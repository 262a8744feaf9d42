package bus

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Bounds of a look at the topology while the service works: nine small questions
// about once in watchEvery, none of which grows with what is stored.
const (
	watchEvery   = 30 * time.Second
	watchTimeout = 10 * time.Second
)

// Watch looks now and then whether the topology is still what the service needs,
// and tells health. It mends nothing: what is changed under a running service
// was changed by somebody. Make one with [NewWatch], once the topology is ready.
type Watch struct {
	topology *Topology
	health   Health
	log      *slog.Logger
	every    time.Duration
	told     string // the differences that were told last
}

// NewWatch returns a Watch of t.
func NewWatch(t *Topology, health Health, log *slog.Logger) *Watch {
	return &Watch{topology: t, health: health, log: log, every: watchEvery}
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		wait := w.every*3/4 + rand.N(w.every/2) //nolint:gosec // Spreads the looks of several workers; nothing depends on it.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
			w.look(ctx)
		}
	}
}

// look compares once. While NATS cannot answer, what was found last still holds.
func (w *Watch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	steps, err := w.topology.Plan(ctx)
	if err != nil {
		w.log.Debug("topology cannot be looked at", "error", err)
		return
	}
	drift, text := drift(steps), ""
	if drift != nil {
		text = drift.Error()
	}
	if text == w.told {
		return
	}
	w.told = text
	w.health.Set(CheckTopology, drift)
	if drift == nil {
		w.log.Info("topology is right again")
		return
	}
	w.log.Warn("topology was changed while the service works", "error", drift)
}
