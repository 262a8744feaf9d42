package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// followWait is how long an event stored at a time must wait for its follow-up,
// which is due after a time, and up to a 64th more: so those of a burst begin
// together, and share wake-ups and packets, which are most of what a read costs.
func followWait(stored, now time.Time, after time.Duration) time.Duration {
	tick := max(after/64, 1)
	due := stored.Add(after + tick - 1).Truncate(tick)
	return min(due.Sub(now), after+tick)
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
			d.settling(ctx)(refresh.Verdict{Disposition: refresh.Return})
			return
		case <-t.C:
		}
	}
	_, k, ok := b.subjects.ParseEvent(m.Subject)
	if !ok {
		d.settling(ctx)(refresh.Verdict{
			Disposition: refresh.Dead, Category: events.CategoryInvalid, Reason: fmt.Sprintf("subject: %q names no member", m.Subject),
		})
		return
	}
	// What caused the event is not read here: it is known once the event is recalled
	// as the last. Its trace is for spans and logs.
	jobs.Submit(&refresh.Job{
		Ref: d.ref(), Key: k, Command: events.Command{User: k.User(), Member: k.Member()},
		Source: refresh.SourceFollowUp, Lane: refresh.Background,
		Deliveries: d.meta.NumDelivered,
		FollowUpOf: d.meta.Sequence.Stream, At: d.meta.Timestamp,
		Traceparent: command.TraceOf(m.Header).Parent,
		Joined:      d.joined, Settle: d.settling(ctx),
	})
}
