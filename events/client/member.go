package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// mark is the last event of a member that was handled in its turn.
type mark struct {
	sequence uint64 // in the lane's stream
	revision uint64
	observed time.Time
}

// standing is how an event stands to what was handled before.
type standing int

const (
	inTurn    standing = iota // as far as is known
	duplicate                 // handled before
	late                      // of an earlier place in the stream than what was handled, and not handled itself
	stale                     // of a later place, and says nothing newer
)

// errExited is what a try ended with whose goroutine ended with it.
var errExited = errors.New("handler ended its goroutine (runtime.Goexit)")

// work handles the events of a member until none waits. Its context ends when
// no handler is to begin any more; handling when those that run must end.
func (l *lane) work(ctx, handling context.Context, member string) {
	it := l.first(member)
	defer func() {
		// Goexit, as in FailNow of a test, cannot be stopped: another goroutine goes on.
		if it != nil && it.begun {
			l.members.Go(func() { l.work(ctx, handling, member) })
		}
	}()
	for ; it != nil; it = l.first(member) {
		handled := l.handle(ctx, handling, it)
		l.settled(it) // before the answer, so that whatever is in hand is unanswered: see [lane.missing]
		if handled {
			_ = it.msg.Ack() // Lost, it costs a redelivery that is known as a duplicate.
		} else {
			_ = it.msg.Nak()
		}
	}
}

// handle reports whether the event is dealt with; if not, the subscription is stopping.
func (l *lane) handle(ctx, handling context.Context, it *item) bool {
	d := Delivery{
		Raw: it.msg.Data(), Stream: l.stream, Sequence: it.meta.Sequence.Stream, Redelivered: it.meta.NumDelivered > 1,
	}
	var err error
	d.Event, err = events.Decode(d.Raw)
	switch {
	case errors.Is(err, events.ErrNotMemberEvent):
		l.config.Notice(Notice{Foreign, d, err})
		return true
	case err != nil:
		return l.try(ctx, handling, it, d, nil, err)
	}
	h := l.config.handler(d.Type)
	if h == nil {
		return true
	}
	switch known := l.known(it.member, &d); known {
	case inTurn:
	case duplicate:
		l.config.Notice(Notice{Duplicate, d, nil})
		return true
	case late, stale:
		d.Stale = true
		l.config.Notice(Notice{Stale, d, nil})
		if known == stale && !l.config.DeliverStale {
			return true
		}
	}
	if !l.try(ctx, handling, it, d, h, nil) {
		return false
	}
	l.remember(it.member, &d)
	return true
}

// try has an event handled, again and again until it is, or is given up, or ctx
// has ended. One that could not be read comes with that error and no handler.
func (l *lane) try(ctx, handling context.Context, it *item, d Delivery, h Handler, unread error) bool {
	for l.enter(ctx) {
		err := l.attempt(handling, it, &d, h, unread)
		switch {
		case err == nil:
			return true
		case errors.Is(err, errCutShort):
			return false
		case errors.Is(err, ErrStopped):
			l.mu.Lock()
			l.stopped = errors.Join(l.stopped, err)
			l.mu.Unlock()
			l.fail()
			return false
		}
		it.failed++
		l.config.Notice(Notice{Retry, d, err})
		wait := time.NewTimer(l.config.Backoff(it.failed))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
	return false
}

// errCutShort is the end of a try that failed when its time was up, which is not
// the event's fault.
var errCutShort = errors.New("cut short")

// attempt has an event handled once, and given up when that was its last chance.
// It leaves the slot that was entered.
func (l *lane) attempt(handling context.Context, it *item, d *Delivery, h Handler, unread error) error {
	defer func() { <-l.slots }() // in whatever way the handler ends
	err := unread
	switch {
	case it.begun:
		err = errExited
	case h != nil:
		it.begun = true
		it.tries++
		d.Attempt = it.tries
		err = call(handling, h, *d)
	}
	it.begun, d.Attempt = false, it.tries
	if err == nil {
		return nil
	}
	if handling.Err() != nil {
		return errCutShort
	}
	if h == nil || errors.Is(err, errPermanent) || l.config.Attempts > 0 && it.tries >= l.config.Attempts {
		return l.giveUp(handling, it, *d, err)
	}
	return err
}

// enter waits for a slot, unless ctx has ended.
func (l *lane) enter(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case l.slots <- struct{}{}:
		return true
	}
}

func (l *lane) giveUp(ctx context.Context, it *item, d Delivery, why error) error {
	err := l.config.GiveUp(ctx, &EventError{
		Durable: l.config.Durable, Delivery: d, Subject: it.msg.Subject(), Header: it.msg.Headers(), Stored: it.meta.Timestamp,
		Attempts: d.Attempt, Err: why,
	})
	if err != nil {
		return err
	}
	l.config.Notice(Notice{GivenUp, d, why})
	return nil
}

// call turns a panic of a handler into an error, so that one event cannot end
// the process for all.
func call(ctx context.Context, h Handler, d Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return h(ctx, d)
}

// known tells how an event stands to what was handled. A redelivery that others
// of its member have overtaken is late: whatever they say, it was not handled, so
// that it must not pass for what a mirror sent out of order.
func (l *lane) known(member string, d *Delivery) standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.ids.get(d.ID); ok {
		return duplicate
	}
	last, ok := l.last.get(member)
	switch {
	case !ok:
		return inTurn
	case d.Sequence <= last.sequence:
		return late
	case !d.Newer(last.revision, last.observed):
		return stale
	}
	return inTurn
}

func (l *lane) remember(member string, d *Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids.put(d.ID, struct{}{})
	if !d.Stale {
		l.last.put(member, mark{d.Sequence, d.Data.Revision, d.Data.ObservedAt})
	}
}
