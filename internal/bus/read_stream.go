package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of reading a stream. A page is what is held at once: 32 dead letters of the
// largest kind are some 12 MB.
const (
	readPage = 32
	readIdle = 2 * time.Minute // the server forgets a reader that went away without a word
)

// errInterrupted: part of what was to be read got lost on the way.
var errInterrupted = errors.New("connection was interrupted; begin again")

// selection says which part of a stream to read.
type selection struct {
	stream string
	filter string    // subject; empty: all
	since  time.Time // zero: from the beginning
	until  uint64    // last stream sequence; 0: to the end that the stream has now
}

// readStream yields the messages of a limits stream in stream order, page by page,
// whatever their number. Who is yielded to may remove them.
func readStream(ctx context.Context, js jetstream.JetStream, of selection) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		if err := readPages(ctx, js, of, func(m jetstream.Msg) bool { return yield(m, nil) }); err != nil {
			yield(nil, fmt.Errorf("reading stream %s: %w", of.stream, err))
		}
	}
}

func readPages(ctx context.Context, js jetstream.JetStream, of selection, f func(jetstream.Msg) bool) error {
	s, err := streamOf(ctx, js, of.stream)
	if err != nil {
		return err
	}
	end := s.CachedInfo().State.LastSeq
	if of.until > 0 {
		end = min(end, of.until)
	}
	how := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, FilterSubject: of.filter,
		InactiveThreshold: readIdle, MemoryStorage: true, Replicas: 1,
	}
	if !of.since.IsZero() {
		how.DeliverPolicy, how.OptStartTime = jetstream.DeliverByStartTimePolicy, &of.since
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := s.CreateConsumer(asking, how)
	if err != nil {
		return err //nolint:wrapcheck // readStream does.
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupTimeout)
		defer cancel()
		_ = s.DeleteConsumer(ctx, c.CachedInfo().Name) // Otherwise the server does, after readIdle.
	}()
	var read uint64
	for left := c.CachedInfo().NumPending; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		want := int(min(left, readPage))
		page, err := c.Fetch(want, jetstream.FetchMaxWait(askTimeout))
		if err != nil {
			return err //nolint:wrapcheck // readStream does.
		}
		got := 0
		for m := range page.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err //nolint:wrapcheck // readStream does.
			}
			got++
			if read++; meta.Sequence.Consumer != read {
				return errInterrupted // What is not acknowledged does not come again.
			}
			left = meta.NumPending
			if meta.Timestamp.Before(of.since) {
				continue // a time to come makes the server begin at the beginning (nats-server 2.15)
			}
			if meta.Sequence.Stream > end || !f(m) {
				return nil
			}
		}
		if err := page.Error(); err != nil {
			return err //nolint:wrapcheck // readStream does.
		}
		if got == 0 {
			return nil // the rest was removed meanwhile
		}
	}
	return nil
}

// streamOf looks a stream up, with a limit of time.
func streamOf(ctx context.Context, js jetstream.JetStream, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("looking at stream %s: %w", name, err)
	}
	return s, nil
}

// erase removes a message and has it overwritten on disk. It reports false for
// one that was gone already.
func erase(ctx context.Context, s jetstream.Stream, seq uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := s.SecureDeleteMsg(ctx, seq)
	if err == nil {
		return true, nil
	}
	// The client gives the server's reason as text only (nats.go 1.55), so look.
	if _, gone := s.GetMsg(ctx, seq); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return false, fmt.Errorf("removing message %d: %w", seq, err)
}
