package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// mark is how far a member has been handled.
type mark struct {
	revision uint64
	observed time.Time
}

// work handles the events of a member until none waits. Its context ends when
// no handler is to begin any more; handling when those that run must end.
func (l *lane) work(ctx, handling context.Context, member string) {
	for {
		l.mu.Lock()
		queue := l.waiting[member]
		if len(queue) == 0 {
			delete(l.waiting, member)
			l.mu.Unlock()
			return
		}
		it := queue[0]
		l.waiting[member] = queue[1:]
		l.mu.Unlock()

		if l.handle(ctx, handling, it) {
			_ = it.msg.Ack() // Lost, it costs a redelivery that is known as a duplicate.
		} else {
			_ = it.msg.Nak()
		}
		l.settled(it)
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
	duplicate, stale := l.known(it.member, &d)
	d.Stale = stale
	switch {
	case duplicate:
		l.config.Notice(Notice{Duplicate, d, nil})
		return true
	case stale:
		l.config.Notice(Notice{Stale, d, nil})
		if !l.config.DeliverStale {
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
	for failed := 0; ; {
		if !l.enter(ctx) {
			return false
		}
		err := unread
		if h != nil {
			d.Attempt++
			err = call(handling, h, d)
		}
		if err != nil && handling.Err() != nil {
			<-l.slots
			return false // It was cut short; that is not the event's fault.
		}
		if err != nil && (h == nil || errors.Is(err, errPermanent) || l.config.Attempts > 0 && d.Attempt >= l.config.Attempts) {
			err = l.giveUp(handling, it, d, err)
		}
		<-l.slots
		switch {
		case err == nil:
			return true
		case errors.Is(err, ErrStopped):
			l.mu.Lock()
			l.stopped = errors.Join(l.stopped, err)
			l.mu.Unlock()
			l.fail()
			return false
		}
		failed++
		l.config.Notice(Notice{Retry, d, err})
		wait := time.NewTimer(l.config.Backoff(failed))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
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

// known tells whether an event was handled before, or one that comes after it.
func (l *lane) known(member string, d *Delivery) (duplicate, stale bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.ids.get(d.ID); ok {
		return true, false
	}
	last, ok := l.last.get(member)
	reborn := d.Data.Revision == 1 && d.Data.ObservedAt.After(last.observed)
	return false, ok && d.Data.Revision <= last.revision && !reborn
}

func (l *lane) remember(member string, d *Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids.put(d.ID, struct{}{})
	if !d.Stale {
		l.last.put(member, mark{d.Data.Revision, d.Data.ObservedAt})
	}
}
