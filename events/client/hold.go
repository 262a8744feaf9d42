package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// hold keeps what comes after a start until all that an earlier process left
// unanswered has come again. Such events come when the server has missed that
// process for long enough, each in its own time: handled as they come, a member's
// events could change places.
type hold struct {
	expected int    // events left over
	upTo     uint64 // the last stream sequence that may be one
	come     int
	items    []*item
}

// add keeps an event, and reports whether it was the last to wait for.
func (h *hold) add(it *item) bool {
	h.items = append(h.items, it)
	if it.meta.Sequence.Stream <= h.upTo && it.meta.NumDelivered > 1 {
		h.come++
	}
	return h.come >= h.expected
}

// sorted returns the events kept in the order of the stream.
func (h *hold) sorted() []*item {
	slices.SortFunc(h.items, func(a, b *item) int { return cmp.Compare(a.meta.Sequence.Stream, b.meta.Sequence.Stream) })
	return h.items
}

// holdLeftovers begins a hold if something is left over.
func (l *lane) holdLeftovers(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := l.cons.Info(asking)
	if err != nil {
		return fmt.Errorf("looking at durable consumer %s of %s: %w", l.config.Durable, l.stream, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = nil
	if info.NumAckPending > 0 {
		l.hold = &hold{expected: info.NumAckPending, upTo: info.Delivered.Stream}
	}
	return nil
}

// letGoInTime ends a hold that no event ends: when all that was left over has
// been answered by another process that is alive, or, since some may still be in
// its hands, when the rest must have come.
func (l *lane) letGoInTime(ctx, handling context.Context) {
	over := time.NewTimer(l.ackWait + max(l.ackWait/4, askTimeout)) // what comes again still has to arrive
	defer over.Stop()
	look := time.NewTicker(min(time.Second, l.ackWait/4))
	defer look.Stop()
	for {
		ended := false
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			ended = true
		case <-look.C:
			ended = l.answered(ctx)
		}
		if ended {
			l.mu.Lock()
			defer l.mu.Unlock()
			if !l.stopping {
				l.letGo(ctx, handling)
			}
			return
		}
	}
}

// answered reports whether nothing is left over, or held.
func (l *lane) answered(ctx context.Context) bool {
	l.mu.Lock()
	h := l.hold
	l.mu.Unlock()
	if h == nil {
		return true
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := l.cons.Info(asking)
	return err == nil && info.AckFloor.Stream >= h.upTo
}

// letGo ends a hold. l.mu is held.
func (l *lane) letGo(ctx, handling context.Context) {
	if l.hold == nil {
		return
	}
	for _, it := range l.hold.sorted() {
		l.enqueue(ctx, handling, it)
	}
	l.hold = nil
}
