package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// hold keeps what comes after a break until all that the break left unanswered
// has come again: what a process that died had in hand, or what was on its way
// when a connection died. Such events come when the server has missed signs of
// life for long enough, each in its own time: handled as they come, a member's
// events could change places.
type hold struct {
	upTo    uint64 // the last stream sequence that may be missing
	items   []*item
	again   int           // of items, those that came again
	missing int           // when the server was last asked
	due     bool          // it must have missed signs of life by now
	look    chan struct{} // asks to look whether all have come
}

// add keeps an event.
func (h *hold) add(it *item) {
	h.items = append(h.items, it)
	if it.meta.NumDelivered == 1 {
		return
	}
	h.again++
	select {
	case h.look <- struct{}{}:
	default: // That is asked already.
	}
}

// room is how many events beyond the window must fit. Those that are missing get
// room once they are due, since the server then sends them first; before that,
// new events would take it.
func (h *hold) room() int {
	if h.due {
		return h.again + h.missing
	}
	return h.again
}

// sorted returns the events kept in the order of the stream.
func (h *hold) sorted() []*item {
	slices.SortFunc(h.items, func(a, b *item) int { return cmp.Compare(a.meta.Sequence.Stream, b.meta.Sequence.Stream) })
	return h.items
}

// link is what one delivery after another comes by. When it changes, some may be
// lost, or be in the hands of a process that is gone.
type link struct {
	known      bool
	reconnects uint64 // of the connection
	pin        string // by which the server knows who works on a durable for one process
}

// sameLink reports whether a message came by the link that the lane knows.
func (l *lane) sameLink(m jetstream.Msg) bool {
	if pin := m.Headers().Get("Nats-Pin-Id"); pin != l.link.pin {
		l.link = link{pin: pin}
	}
	// nats.go counts a reconnect before it can read anything from the new connection.
	return l.link.known && l.link.reconnects == l.client.nc.Stats().Reconnects
}

// holdLeftovers begins a hold if the link is new and something is missing.
func (l *lane) holdLeftovers(ctx, handling context.Context) error {
	reconnects := l.client.nc.Stats().Reconnects
	if l.link.known && l.link.reconnects == reconnects {
		return nil
	}
	info, err := l.info(ctx)
	if err != nil {
		return err
	}
	l.link.known, l.link.reconnects = true, reconnects
	l.mu.Lock()
	defer l.mu.Unlock()
	missing := l.missing(info)
	if missing == 0 || l.stopping {
		l.letGo(ctx, handling)
		return nil
	}
	h := &hold{upTo: info.Delivered.Stream, missing: missing, look: make(chan struct{}, 1)}
	if l.hold != nil {
		h.items, h.again = l.hold.items, l.hold.again
	}
	l.hold = h
	l.members.Go(func() { l.letGoInTime(ctx, handling, h) })
	return nil
}

// info asks the server about the durable.
func (l *lane) info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := l.cons.Info(asking)
	if err != nil {
		return nil, fmt.Errorf("looking at durable consumer %s of %s: %w", l.config.Durable, l.stream, err)
	}
	return info, nil
}

// missing returns how many events were delivered and unanswered when info was
// made and are not in hand now, on their way to us included. What is in hand has
// no answer yet, so it was unanswered then, unless it was delivered later. l.mu is held.
func (l *lane) missing(info *jetstream.ConsumerInfo) int {
	n := info.NumAckPending
	for seq := range l.inHand {
		if seq <= info.Delivered.Stream {
			n--
		}
	}
	return max(n, 0)
}

// letGoInTime ends a hold: when all has come, when what was left over has been
// answered by another process that is alive, or, since some may still be in its
// hands, when the rest must have come.
func (l *lane) letGoInTime(ctx, handling context.Context, h *hold) {
	const stages = 2                               // to make room for what is due; to give up
	slack := max(l.ackWait/4, askTimeout) / stages // what comes again still has to arrive
	late := time.NewTimer(l.ackWait + slack)
	defer late.Stop()
	tick := time.NewTicker(min(time.Second, l.ackWait/4))
	defer tick.Stop()
	for {
		over := false
		select {
		case <-ctx.Done():
			return
		case <-late.C:
			over = l.makeRoom(h)
			late.Reset(slack)
		case <-tick.C:
			over = l.allCame(ctx, h)
		case <-h.look:
			over = l.allCame(ctx, h)
		}
		l.mu.Lock()
		mine := l.hold == h
		if mine && over && !l.stopping {
			l.letGo(ctx, handling)
		}
		l.mu.Unlock()
		if over || !mine {
			return
		}
	}
}

// makeRoom has the missing fetched, whatever the window. It reports whether that
// was done before.
func (l *lane) makeRoom(h *hold) (before bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, h.due = h.due, true
	l.room.Signal()
	return before
}

// allCame reports whether nothing is left over.
func (l *lane) allCame(ctx context.Context, h *hold) bool {
	info, err := l.info(ctx)
	if err != nil {
		return false // Fetching tells of it.
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.missing = l.missing(info)
	return h.missing == 0 || info.AckFloor.Stream >= h.upTo
}

// letGo ends a hold, if there is one. l.mu is held.
func (l *lane) letGo(ctx, handling context.Context) {
	if l.hold == nil {
		return
	}
	for _, it := range l.hold.sorted() {
		l.enqueue(ctx, handling, it)
	}
	l.hold = nil
}
