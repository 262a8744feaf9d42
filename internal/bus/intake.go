package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// delivery is a message in hand, on its way to be settled.
type delivery struct {
	bus  *Bus
	lane *lane
	msg  *nats.Msg
	meta *nats.MsgMetadata
}

// open takes a message in hand. It returns nil when nothing can be done with it:
// we are stopping, or it is no JetStream message.
func (b *Bus) open(ctx context.Context, l *lane, m *nats.Msg) *delivery {
	meta, err := m.Metadata()
	if err != nil || ctx.Err() != nil {
		b.lost(m.Nak())
		l.leave(1)
		return nil
	}
	b.hand.take(m)
	return &delivery{b, l, m, meta}
}

func (d *delivery) ref() string {
	return d.meta.Stream + "-" + strconv.FormatUint(d.meta.Sequence.Stream, 10)
}

// command makes a job of a message on the command stream.
func (b *Bus) command(ctx context.Context, jobs Jobs, l *lane, m *nats.Msg) {
	d := b.open(ctx, l, m)
	if d == nil {
		return
	}
	r, err := decodeCommand(b.subjects, m.Subject, m.Header, m.Data)
	id := r.CommandID
	if id == "" || !events.ValidToken(id) {
		id = strconv.FormatUint(d.meta.Sequence.Stream, 10)
	}
	if err != nil {
		category := events.CategoryInvalid
		if errors.Is(err, errMisdirected) {
			category = events.CategoryMisdirected
		}
		d.settleAs(ctx, refresh.SourceCommand)(refresh.Verdict{
			Disposition: refresh.Dead, Category: category, Reason: err.Error(), TraceID: refresh.TraceIDOf(r.traceparent),
			Result: events.Result{CommandID: id, Outcome: events.OutcomeFailed, Reason: err.Error(), FinishedAt: b.now().UTC()},
		})
		return
	}
	jobs.Submit(&refresh.Job{
		Ref: d.ref(), Command: r.Command, ID: id,
		At: d.meta.Timestamp, Source: sourceOf(m.Header), Lane: refresh.Interactive,
		Deliveries:  d.meta.NumDelivered,
		Traceparent: r.traceparent, Tracestate: r.tracestate,
		Settle: d.settleAs(ctx, refresh.SourceCommand),
	})
}

// followWait is how long an event stored at a time must wait for its follow-up,
// which is due after a time, and up to a 64th more: so those of a burst begin
// together, and share wake-ups and packets, which are most of what a read costs.
func followWait(stored, now time.Time, after time.Duration) time.Duration {
	tick := max(after/64, 1)
	due := stored.Add(after + tick - 1).Truncate(tick)
	return min(due.Sub(now), after+tick)
}

// serverClock is the server's clock, as far as the times of its messages tell, where
// ours is behind it. Without, each event of a backlog would seem to be of just now.
type serverClock struct {
	mu     sync.Mutex
	stored time.Time // the latest that a message had when it was seen
	seen   time.Time // when that was, by our clock
}

// now is the server's time as a message of some time is seen, or ours if that is later.
func (c *serverClock) now(ours, stored time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	theirs := c.stored.Add(ours.Sub(c.seen))
	if stored.After(theirs) {
		c.stored, c.seen, theirs = stored, ours, stored
	}
	if ours.After(theirs) {
		return ours
	}
	return theirs
}

// followUp makes a job of an event once it is old enough. The stream is in time
// order, so waiting for the first one delays all behind it no longer than they
// have to wait anyway.
func (b *Bus) followUp(ctx context.Context, jobs Jobs, l *lane, m *nats.Msg) {
	d := b.open(ctx, l, m)
	if d == nil {
		return
	}
	wait := followWait(d.meta.Timestamp, b.clock.now(b.now(), d.meta.Timestamp), b.config.FollowUpAfter)
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-ctx.Done():
			d.settleAs(ctx, refresh.SourceFollowUp)(refresh.Verdict{Disposition: refresh.Return})
			return
		case <-t.C:
		}
	}
	_, k, ok := b.subjects.ParseEvent(m.Subject)
	if !ok {
		d.settleAs(ctx, refresh.SourceFollowUp)(refresh.Verdict{
			Disposition: refresh.Dead, Category: events.CategoryInvalid, Reason: fmt.Sprintf("subject: %q names no member", m.Subject),
		})
		return
	}
	// What caused the event is not read here: it is known once the event is recalled
	// as the last. Its trace is for spans and logs.
	trace := request{traceparent: header(m.Header, headerTraceparent)}
	trace.dropBrokenTrace()
	jobs.Submit(&refresh.Job{
		Ref: d.ref(), Key: k, Command: events.Command{User: k.User(), Member: k.Member()},
		Source: refresh.SourceFollowUp, Lane: refresh.Background,
		Deliveries: d.meta.NumDelivered,
		FollowUpOf: d.meta.Sequence.Stream, At: d.meta.Timestamp,
		Traceparent: trace.traceparent,
		Settle:      d.settleAs(ctx, refresh.SourceFollowUp),
	})
}
