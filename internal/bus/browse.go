package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of browsing. A page is what is held at once: 32 dead letters of the
// largest kind are some 12 MB.
const (
	browsePage = 32
	browseIdle = 2 * time.Minute // the server forgets a reader that went away without a word
)

// errInterrupted: part of what was to be read got lost on the way.
var errInterrupted = errors.New("connection was interrupted; begin again")

// excerptOf says which part of a stream to browse.
type excerptOf struct {
	stream string
	filter string    // subject; empty: all
	since  time.Time // zero: from the beginning
	until  uint64    // last stream sequence; 0: to the end that the stream has now
}

// browse yields the messages of a limits stream in stream order, page by page,
// whatever their number. Who is yielded to may remove them.
func browse(ctx context.Context, js jetstream.JetStream, e excerptOf) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		if err := browsing(ctx, js, e, func(m jetstream.Msg) bool { return yield(m, nil) }); err != nil {
			yield(nil, fmt.Errorf("reading stream %s: %w", e.stream, err))
		}
	}
}

func browsing(ctx context.Context, js jetstream.JetStream, e excerptOf, f func(jetstream.Msg) bool) error {
	s, err := streamOf(ctx, js, e.stream)
	if err != nil {
		return err
	}
	end := s.CachedInfo().State.LastSeq
	if e.until > 0 {
		end = min(end, e.until)
	}
	how := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, FilterSubject: e.filter,
		InactiveThreshold: browseIdle, MemoryStorage: true, Replicas: 1,
	}
	if !e.since.IsZero() {
		how.DeliverPolicy, how.OptStartTime = jetstream.DeliverByStartTimePolicy, &e.since
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := s.CreateConsumer(asking, how)
	if err != nil {
		return err //nolint:wrapcheck // browse does.
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setupTimeout)
		defer cancel()
		_ = s.DeleteConsumer(ctx, c.CachedInfo().Name) // Otherwise the server does, after browseIdle.
	}()
	var read uint64
	for left := c.CachedInfo().NumPending; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		want := int(min(left, browsePage))
		page, err := c.Fetch(want, jetstream.FetchMaxWait(askTimeout))
		if err != nil {
			return err //nolint:wrapcheck // browse does.
		}
		got := 0
		for m := range page.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err //nolint:wrapcheck // browse does.
			}
			got++
			if read++; meta.Sequence.Consumer != read {
				return errInterrupted // What is not acknowledged does not come again.
			}
			left = meta.NumPending
			if meta.Timestamp.Before(e.since) {
				continue // a time to come makes the server begin at the beginning (nats-server 2.15)
			}
			if meta.Sequence.Stream > end || !f(m) {
				return nil
			}
		}
		if err := page.Error(); err != nil {
			return err //nolint:wrapcheck // browse does.
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
