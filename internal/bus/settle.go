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

// Delays after which a message comes again whose dead letter could not be stored. They
// grow, as many such messages would else take turns in the places of all others.
const (
	unburiedDelay    = 5 * time.Second
	unburiedDelayMax = 5 * time.Minute
)

// settling returns the function that settles the message, once, by the verdict on
// its job.
func (d *delivery) settling(ctx context.Context) func(refresh.Verdict) {
	return func(v refresh.Verdict) {
		b := d.bus
		switch v.Disposition {
		case refresh.Done:
			b.countUnsent(d.msg.Ack())
			d.report(v.Result)
		case refresh.Retry:
			b.countUnsent(d.msg.NakWithDelay(v.Delay))
		case refresh.Return:
			d.lane.handBack(ctx, func() {
				b.countUnsent(d.msg.Nak())
				d.leave()
			})
			return
		case refresh.Dead:
			// NATS may take its time to store a letter, or not answer at all. Whoever
			// fetches has others to serve meanwhile, and so has a cycle of the service. There
			// are no more of these than a lane may have in hand: the message is until it is buried.
			b.burying.Go(func() {
				d.die(ctx, &v)
				d.leave()
			})
			return
		}
		d.leave()
	}
}

// leave notes that the message is no longer in hand.
func (d *delivery) leave() {
	d.bus.inProgress.release(d.msg)
	d.lane.dismiss(d)
}

// die settles a message with a dead letter.
func (d *delivery) die(ctx context.Context, v *refresh.Verdict) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout) // even while we stop
	defer cancel()
	b := d.bus
	m, err := d.stored(ctx)
	if err == nil {
		err = b.bury(ctx, letter(m, d.meta, v.Category, v.Reason, b.now()))
	}
	if err != nil {
		b.notBuried.Write("message", d.ref(), "error", err)
		b.countUnsent(d.msg.NakWithDelay(unburied(d.meta.NumDelivered)))
		return
	}
	b.metrics.deadLetters.WithLabelValues(string(v.Category)).Inc()
	b.buried.Write("message", d.ref(), "subject", d.msg.Subject, "category", string(v.Category), "reason", v.Reason,
		"command", v.Result.CommandID, "trace_id", v.TraceID)
	d.report(v.Result)
	b.countUnsent(d.msg.Respond([]byte("+TERM " + v.Category)))
}

// unburied is after how long a message comes again that could not be buried.
func unburied(deliveries uint64) time.Duration {
	return min(unburiedDelay<<min(deliveries-1, 6), unburiedDelayMax)
}

// countUnsent counts a settlement that could not be sent. The message comes again, and
// the protocol finds nothing new then.
func (b *Bus) countUnsent(err error) {
	if err != nil {
		b.metrics.lost.Inc()
	}
}

// report sends a command's result to whoever listens.
func (d *delivery) report(r events.Result) {
	if !d.command || r.CommandID == "" {
		return
	}
	b := d.bus
	buffer := b.states.buffers.get()
	body, err := r.AppendTo(*buffer, b.subjects)
	if err == nil {
		err = b.nc.PublishMsg(&nats.Msg{
			Subject: b.subjects.Result(r.CommandID), Data: body,
			Header: nats.Header{command.HeaderContentType: {events.ContentType}},
		})
	}
	if err != nil {
		b.log.Debug("result not sent", "command", r.CommandID, "error", fmt.Sprint(err))
	}
	b.states.buffers.put(buffer, body)
}
