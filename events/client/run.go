package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Subscriber is a subscription whose durables are there.
type Subscriber struct {
	client *Client
	config Subscription
	lanes  []*lane       // one for each stream
	slots  chan struct{} // taken while a handler runs
}

// Subscribe finds the durable consumers that s asks for, or makes them. A durable
// that this kit made and that lacks a type of s is widened, never narrowed; one
// of somebody else's that lacks one is [ErrDurable].
func (c *Client) Subscribe(ctx context.Context, s Subscription) (*Subscriber, error) {
	s, err := s.complete()
	if err != nil {
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	sub := &Subscriber{client: c, config: s, slots: make(chan struct{}, s.Concurrency)}
	interests := s.interests(c.subjects)
	for _, stream := range slices.Sorted(maps.Keys(interests)) {
		cons, err := c.durable(ctx, stream, interests[stream], &s)
		if err != nil {
			return nil, fmt.Errorf("subscribing to %s: %w", stream, err)
		}
		sub.lanes = append(sub.lanes, newLane(sub, stream, cons))
	}
	return sub, nil
}

// Run handles events until ctx ends, then hands back what no handler has begun,
// waits for those that run, and returns nil. It returns earlier, with an error,
// when the policy was to stop ([ErrStopped]), when the durable is gone or when the
// connection was closed; then too it hands back the rest and waits for handlers
// that run, until their grace is over. It may be called again when it has returned.
func (s *Subscriber) Run(ctx context.Context) error {
	ctx, fail := context.WithCancel(ctx)
	defer fail()
	handling, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()

	var lanes, watch sync.WaitGroup
	finished := make(chan struct{})
	watch.Go(func() {
		select {
		case <-finished:
			return
		case <-ctx.Done():
		}
		grace := time.NewTimer(s.config.Grace)
		defer grace.Stop()
		select {
		case <-finished:
		case <-grace.C:
			abandon()
		}
	})
	errs := make([]error, len(s.lanes))
	for i, l := range s.lanes {
		lanes.Go(func() { errs[i] = l.run(ctx, handling, fail) })
	}
	lanes.Wait()
	close(finished)
	watch.Wait()
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	_ = s.client.nc.FlushWithContext(flushing) // An acknowledgement that is lost costs a redelivery.
	return errors.Join(errs...)
}
