package bus

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// delivery is a message in hand, on its way to be settled.
type delivery struct {
	bus  *Bus
	lane *lane
	msg  *nats.Msg
	meta *nats.MsgMetadata

	command bool  // whoever sent it may listen for a result
	place   place // of the lane's
}

// open takes a message in hand. It returns nil when nothing can be done with it:
// we are stopping, or it is no JetStream message.
func (b *Bus) open(ctx context.Context, l *lane, m *nats.Msg) *delivery {
	meta, err := m.Metadata()
	if err != nil {
		b.countUnsent(m.Nak())
		l.leave(1)
		return nil
	}
	b.inProgress.take(m)
	d := &delivery{bus: b, lane: l, msg: m, meta: meta}
	if ctx.Err() != nil {
		d.settling(ctx)(refresh.Verdict{Disposition: refresh.Return})
		return nil
	}
	return d
}

func (d *delivery) ref() string {
	return d.meta.Stream + "-" + strconv.FormatUint(d.meta.Sequence.Stream, 10)
}

// joined is told when the message's job waits for a turn that others have begun.
func (d *delivery) joined() { d.lane.stepAside(d) }

// command makes a job of a message on the command stream.
func (b *Bus) command(ctx context.Context, jobs Jobs, l *lane, m *nats.Msg) {
	d := b.open(ctx, l, m)
	if d == nil {
		return
	}
	d.command = true
	c, trace, err := command.Decode(b.subjects, m.Subject, m.Header, m.Data)
	id := c.CommandID
	if id == "" || !events.ValidToken(id) {
		id = strconv.FormatUint(d.meta.Sequence.Stream, 10)
	}
	if err != nil {
		category := events.CategoryInvalid
		if errors.Is(err, command.ErrMisdirected) {
			category = events.CategoryMisdirected
		}
		d.settling(ctx)(refresh.Verdict{
			Disposition: refresh.Dead, Category: category, Reason: err.Error(), TraceID: refresh.TraceIDOf(trace.Parent),
			Result: events.Result{CommandID: id, Outcome: events.OutcomeFailed, Reason: err.Error(), FinishedAt: b.now().UTC()},
		})
		return
	}
	jobs.Submit(&refresh.Job{
		Ref: d.ref(), Command: c, ID: id,
		At: d.meta.Timestamp, Source: sourceOf(m.Header), Lane: refresh.Interactive,
		Deliveries:  d.meta.NumDelivered,
		Traceparent: trace.Parent, Tracestate: trace.State,
		Joined: d.joined, Settle: d.settling(ctx),
	})
}
