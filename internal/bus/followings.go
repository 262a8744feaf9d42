package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Followings is the schedule of reads until members settle, as package refresh
// needs it. A member has one at-subject for them, so at most one is scheduled,
// however many workers read the member.
type Followings struct {
	js       jetstream.JetStream
	subjects events.Subjects
	clock    *serverClock
	overdue  *schedules
	now      func() time.Time // ours

	mu        sync.Mutex
	scheduled *simplelru.LRU[events.Key, time.Time] // until when it is certain that one waits
}

var _ refresh.Followings = (*Followings)(nil)

// scheduledMemory bounds for how many members it is known that a read is
// scheduled. For one that is pushed out NATS is asked again, and says so.
const scheduledMemory = 100_000

func newFollowings(js jetstream.JetStream, s events.Subjects, clock *serverClock, overdue *schedules, now func() time.Time) *Followings {
	l, err := simplelru.NewLRU[events.Key, time.Time](scheduledMemory, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &Followings{js: js, subjects: s, clock: clock, overdue: overdue, now: now, scheduled: l}
}

// Schedule implements refresh.Followings.
func (f *Followings) Schedule(ctx context.Context, k events.Key, next refresh.Following, after time.Duration, anew bool) error {
	now := f.now()
	// A following that goes on does not rely on what is remembered. Its own message has
	// just fired, and a server that fires a message purges its subject, together with
	// what has replaced the message since it was picked to fire (2.15).
	if !anew && next.Tries == 1 && f.waits(k, now) {
		return nil
	}
	m, err := scheduled(f.subjects, k, f.clock.at(now).Add(after), slowBody{Cause: causeSettle, Tries: next.Tries, Since: f.clock.toTheirs(next.Since)}, next.Cause)
	if err != nil {
		return fmt.Errorf("encoding next read: %w", err)
	}
	if !anew {
		m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{"0"}
	}
	switch _, err := publish(ctx, f.js, m); {
	case errors.Is(err, refresh.ErrConflict):
		return f.overdue.mend(ctx, m.Subject) // When that one comes is not known here, so nothing is remembered.
	case err != nil:
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Half of the time: the server's clock, by which it fires, may have been set since it was asked.
	f.scheduled.Add(k.Clone(), now.Add(after/2))
	return nil
}

// waits reports whether a read is certain to be scheduled still.
func (f *Followings) waits(k events.Key, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, ok := f.scheduled.Get(k)
	return ok && now.Before(until)
}
