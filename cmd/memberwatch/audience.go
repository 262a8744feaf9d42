package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// audience is a customer who watches events, announcements and results as they
// come, shows them, and remembers what there was.
type audience struct {
	session  *session
	out      *lines
	results  *nats.Subscription
	watching sync.WaitGroup
	leave    context.CancelFunc

	mu         sync.Mutex
	seen       []events.Event
	ids        map[string]bool
	duplicates int
	answers    map[string]events.Result // by command id
	err        error                    // why it sees no more
	news       chan struct{}            // closed and replaced with everything that comes
}

// newAudience watches until it is dismissed.
func newAudience(ctx context.Context, c *session, out *lines) (*audience, error) {
	ctx, leave := context.WithCancel(ctx)
	a := &audience{
		session: c, out: out, leave: leave,
		ids: make(map[string]bool), answers: make(map[string]events.Result), news: make(chan struct{}),
	}
	var err error
	a.results, err = c.nc.Subscribe(c.subjects.Results(), func(m *nats.Msg) {
		r, err := events.DecodeResult(m.Data)
		a.note(func() {
			a.answers[r.CommandID] = r
			a.err = errors.Join(a.err, err)
		})
	})
	if err != nil {
		leave()
		return nil, fmt.Errorf("listening for results: %w", err)
	}
	for _, stream := range []string{c.subjects.EventStream(), c.subjects.OAuthStream()} {
		a.watching.Go(func() { a.watch(ctx, stream) })
	}
	return a, nil
}

// dismiss ends the watching.
func (a *audience) dismiss() {
	a.leave()
	a.watching.Wait()
	_ = a.results.Unsubscribe() // The connection is about to be closed.
}

func (a *audience) watch(ctx context.Context, stream string) {
	for m, err := range a.session.read(ctx, window{stream: stream, follow: true}) {
		var e events.Event
		if err == nil {
			e, err = events.Decode(m.Data())
		}
		if err != nil {
			a.note(func() { a.err = errors.Join(a.err, err) })
			return
		}
		a.out.event(&e)
		a.note(func() {
			if a.ids[e.ID] {
				a.duplicates++
			}
			a.ids[e.ID] = true
			a.seen = append(a.seen, e)
		})
	}
}

// note changes what is remembered and wakes those who wait for it.
func (a *audience) note(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.news)
	a.news = make(chan struct{})
}

// patience is how long the audience waits for one thing. It ends a broken
// performance, no working one.
const patience = 10 * time.Second

// await waits until what is remembered satisfies ok, which is called with the lock held.
func (a *audience) await(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a.mu.Lock()
		done, err, news := ok(), a.err, a.news
		a.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// counts of what was seen.
func (a *audience) counts() (published, announcements, duplicates, answers int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.seen {
		if a.seen[i].Type == events.TypeOAuthRequired {
			announcements++
		}
	}
	return len(a.seen) - announcements, announcements, a.duplicates, len(a.answers)
}
