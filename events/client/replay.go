package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
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
// end when the iteration began, less what expires or is purged before its turn. An
// event that cannot be read comes as an *[EventError] beside what is known of it, and
// the iteration goes on; any other error ends it. The end of ctx ends it with its
// error. History is bounded: the service keeps so many events of each type and member
// (HISTORY_PER_TYPE).
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

// quiet is how long no message comes until it is asked whether there is one: what
// was pending may have expired meanwhile, or been purged. It is longer than nats.go
// takes to see that no signs of life come.
const quiet = 3 * signOfLife

// walk calls f with what a stream holds now, until f returns false.
func (c *Client) walk(
	ctx context.Context, s jetstream.Stream, how jetstream.OrderedConsumerConfig, f func(jetstream.Msg, *jetstream.MsgMetadata) bool,
) error {
	how.InactiveThreshold = forgotten
	end := s.CachedInfo().State.LastSeq
	l, err := c.leg(ctx, s, how)
	if l == nil {
		return err
	}
	defer func() { l.end(ctx) }()
	for {
		m, err := l.messages.Next(jetstream.NextMaxWait(quiet))
		if errors.Is(err, nats.ErrTimeout) && ctx.Err() == nil {
			c.untilOnline(ctx)
			next, err := c.leg(ctx, s, how)
			switch {
			case err != nil: // Who cannot be asked may still deliver.
			case next == nil:
				return nil
			default:
				l.end(ctx)
				l = next
			}
			continue
		}
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
		how.DeliverPolicy, how.OptStartSeq, how.OptStartTime = jetstream.DeliverByStartSequencePolicy, meta.Sequence.Stream+1, nil
	}
}

// leg is a walk, or a part of one, with one consumer.
type leg struct {
	client   *Client
	stream   jetstream.Stream
	cons     jetstream.Consumer
	messages jetstream.MessagesContext
	unhook   func() bool
}

// leg begins one, nil when there is nothing to deliver. To begin another one tells
// that even to who may not ask for a consumer's state.
func (c *Client) leg(ctx context.Context, s jetstream.Stream, how jetstream.OrderedConsumerConfig) (*leg, error) {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := s.OrderedConsumer(asking, how)
	if err != nil {
		return nil, fmt.Errorf("making ordered consumer: %w", err)
	}
	if cons.CachedInfo().NumPending == 0 {
		c.discard(ctx, s, cons)
		return nil, nil //nolint:nilnil // Nothing to deliver is an answer.
	}
	messages, err := cons.Messages(jetstream.PullExpiry(10*signOfLife), jetstream.PullHeartbeat(signOfLife))
	if err != nil {
		c.discard(ctx, s, cons)
		return nil, fmt.Errorf("fetching: %w", err)
	}
	// During an outage Next tries to make its consumer anew, whatever became of ctx.
	return &leg{c, s, cons, messages, context.AfterFunc(ctx, messages.Stop)}, nil
}

func (l *leg) end(ctx context.Context) {
	l.unhook()
	l.messages.Stop()
	l.client.discard(ctx, l.stream, l.cons)
}

// untilOnline waits out an outage of the connection, or until ctx ends: Next would
// try to make its consumer anew, which heeds no context.
func (c *Client) untilOnline(ctx context.Context) {
	changed := c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer c.nc.RemoveStatusListener(changed)
	for !c.nc.IsConnected() && !c.nc.IsClosed() {
		select {
		case <-changed:
		case <-ctx.Done():
			return
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
