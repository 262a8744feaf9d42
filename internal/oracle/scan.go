package oracle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// message is one stored message.
type message struct {
	stream  string
	seq     uint64
	subject string
	header  nats.Header
	stored  time.Time
	data    []byte
}

const (
	prefetch = 2000
	// quiet is how long to wait for a message before asking whether there is one: what was
	// pending may have expired meanwhile.
	quiet = 2 * time.Second
	// patience is how often in a scan: a change of leader takes 4 to 8 s.
	patience = 30
)

// dispose deletes the consumer that was read with at last, which the server would
// keep for minutes.
func dispose(ctx context.Context, js jetstream.JetStream, stream string, cons jetstream.Consumer) {
	info := cons.CachedInfo()
	if info == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quiet)
	defer cancel()
	_ = js.DeleteConsumer(ctx, stream, info.Name)
}

// scan calls visit with what is on a stream now, in order, and returns the
// server's time just before.
func (c *checker) scan(ctx context.Context, js jetstream.JetStream, name, filter string, visit func(message)) (time.Time, error) {
	last, now, err := end(ctx, js, name)
	if err != nil || last == 0 {
		return now, err
	}
	cfg := jetstream.OrderedConsumerConfig{}
	if filter != "" {
		cfg.FilterSubjects = []string{filter}
	}
	cons, err := js.OrderedConsumer(ctx, name, cfg)
	if err != nil {
		return now, fmt.Errorf("making a consumer: %w", err)
	}
	defer dispose(ctx, js, name, cons)
	if cons.CachedInfo().NumPending == 0 {
		return now, nil
	}
	// On a cluster the request to a consumer that was just made may get lost. Signs of life
	// within quiet show that; the client then makes the consumer anew.
	msgs, err := cons.Messages(jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(2*quiet), jetstream.PullHeartbeat(quiet/4))
	if err != nil {
		return now, fmt.Errorf("consuming: %w", err)
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	pauses := 0
	for {
		msg, err := msgs.Next(jetstream.NextMaxWait(quiet))
		switch {
		case ctx.Err() != nil:
			return now, context.Cause(ctx)
		case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
			if info, err := cons.Info(ctx); err == nil && info.NumPending == 0 {
				return now, nil
			}
			if pauses++; pauses > patience {
				return now, errors.New("consuming: messages are pending, and none comes")
			}
			continue
		case err != nil:
			return now, fmt.Errorf("consuming: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return now, fmt.Errorf("reading metadata: %w", err)
		}
		if meta.Sequence.Stream > last {
			return now, nil
		}
		visit(message{name, meta.Sequence.Stream, msg.Subject(), msg.Headers(), meta.Timestamp, msg.Data()})
		if meta.Sequence.Stream == last || meta.NumPending == 0 {
			return now, nil
		}
	}
}

// end tells the last sequence of a stream, 0 for an empty one, and the server's time.
func end(ctx context.Context, js jetstream.JetStream, name string) (last uint64, now time.Time, err error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("looking it up: %w", err)
	}
	info := s.CachedInfo()
	if info.State.Msgs == 0 {
		return 0, info.TimeStamp, nil
	}
	return info.State.LastSeq, info.TimeStamp, nil
}
