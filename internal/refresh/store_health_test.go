package refresh

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

func TestARefusalToStoreIsForgottenOnceNothingIsRefusedAnyMore(t *testing.T) {
	t.Parallel()
	health := new(check)
	s := &storeHealth{health: health, log: slog.New(slog.DiscardHandler)}
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	refused := fmt.Errorf("publishing: %w", ErrRefused)

	s.note(now, refused)
	s.note(now, errors.New("no answer")) // tells nothing
	if health.err == nil {
		t.Error("ready although NATS refuses to store")
	}
	s.note(now, nil)
	if health.err != nil {
		t.Error("not ready although an event was stored")
	}

	s.note(now, refused)
	now = now.Add(refusalAge)
	s.note(now, refused) // another one
	now = now.Add(refusalAge)
	if s.expire(now); health.err == nil {
		t.Error("ready although the latest refusal is not old")
	}
	now = now.Add(time.Second)
	if s.expire(now); health.err != nil {
		t.Error("not ready although nothing was refused for long")
	}
}
