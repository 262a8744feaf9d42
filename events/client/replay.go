package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Range says which events to read again. The zero Range is everything on the
// event stream.
type Range struct {
	Since         time.Time  // stored at this time or later
	Member        events.Key // of this member alone
	Announcements bool       // announcements in place of events
}

// forgotten is how long the server keeps a consumer that nobody asks for events.
// A reader who takes longer over one is given another consumer, from there on.
const forgotten = time.Minute

// signOfLife is how often the server shows that it still has our request. On a
// cluster the first one to a consumer that was just made may get lost: without two
// signs nats.go makes the consumer anew, from where it was.
const signOfLife = time.Second

// Replay yields the events in r in the order of the stream, up to what was its
// end when the iteration began. An event that cannot be read comes as an
// *[EventError] beside what is known of it, and the iteration goes on; any other
// error ends it. The end of ctx ends it with its error. History is bounded: the
// service keeps so many events of each type and member (HISTORY_PER_TYPE).
func (c *Client) Replay(ctx context.Context, r Range) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		stream, filter := c.subjects.EventStream(), c.subjects.Events()
		switch {
		case r.Announcements && !r.Member.IsZero():
			stream, filter = c.subjects.OAuthStream(), c.subjects.OAuthOf(r.Member)
		case r.Announcements:
			stream, filter = c.subjects.OAuthStream(), c.subjects.OAuth()
		case !r.Member.IsZero():
			filter = c.subjects.EventsOf(r.Member)
		}
		how := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}}
		if !r.Since.IsZero() {
			how.DeliverPolicy, how.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.Since
		}
		s, err := c.stream(ctx, stream)
		if err == nil {
			err = c.walk(ctx, s, how, func(m jetstream.Msg, meta *jetstream.MsgMetadata) bool {
				return yield(read(stream, m.Data(), m, meta))
			})
		}
		if err != nil {
			yield(Delivery{}, fmt.Errorf("replaying %s: %w", stream, err))
		}
	}
}

// walk calls f with what a stream holds now, until f returns false.
func (c *Client) walk(
	ctx context.Context, s jetstream.Stream, how jetstream.OrderedConsumerConfig, f func(jetstream.Msg, *jetstream.MsgMetadata) bool,
) error {
	how.InactiveThreshold = forgotten
	end := s.CachedInfo().State.LastSeq
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := s.OrderedConsumer(asking, how)
	if err != nil {
		return fmt.Errorf("making ordered consumer: %w", err)
	}
	defer c.discard(ctx, s, cons)
	if cons.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := cons.Messages(jetstream.PullExpiry(10*signOfLife), jetstream.PullHeartbeat(signOfLife))
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	defer messages.Stop()
	// During an outage Next tries to make its consumer anew, whatever became of ctx.
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil || ctx.Err() != nil {
			return fmt.Errorf("fetching: %w", errors.Join(ctx.Err(), err))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("reading metadata: %w", err)
		}
		if meta.Sequence.Stream > end || !f(m, meta) || meta.NumPending == 0 || meta.Sequence.Stream == end {
			return nil
		}
	}
}

// discard deletes the consumer of a walk, also of one that was broken off. When
// the server cannot be asked, it deletes what is forgotten by itself.
func (c *Client) discard(ctx context.Context, s jetstream.Stream, cons jetstream.Consumer) {
	if !c.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	_ = s.DeleteConsumer(ctx, cons.CachedInfo().Name)
}

// read makes a delivery of a message that no handler gets.
func read(stream string, raw []byte, m jetstream.Msg, meta *jetstream.MsgMetadata) (Delivery, error) {
	d := Delivery{Raw: raw, Stream: stream, Sequence: meta.Sequence.Stream}
	var err error
	if d.Event, err = events.Decode(raw); err != nil {
		return d, &EventError{Delivery: d, Subject: m.Subject(), Header: m.Headers(), Stored: meta.Timestamp, Err: err}
	}
	return d, nil
}
