package bus

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serverClock is the server's clock, as far as can be told from here: it fires by its
// own what is scheduled, and stamps messages by it, and ours may be behind or ahead by
// any amount. It is asked for at start, after each reconnect and once in clockEvery.
//
// In between our clock is taken to run as fast, which its monotonic reading does
// whatever is done to the time of day.
type serverClock struct {
	mu           sync.Mutex
	ours, theirs time.Time // one moment by either clock, when the server was last asked; zero: it never was

	// A lower bound: leaders of streams are several servers, and one that stores events
	// may be ahead of the one that was asked.
	stored time.Time // the latest that a message had when it was seen, since it was asked
	seen   time.Time // when that was, by our clock
}

// Bounds of asking for the time. Of so many answers the quickest counts.
const (
	clockEvery     = time.Minute
	clockQuestions = 3
	clockAgain     = time.Second // after a question without an answer
)

// at is the server's time when ours is what it is.
func (c *serverClock) at(ours time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reckon(ours)
}

func (c *serverClock) reckon(ours time.Time) time.Time {
	if c.theirs.IsZero() {
		return ours
	}
	return c.theirs.Add(ours.Sub(c.ours))
}

// toTheirs and toOurs give a time of the one clock as the other's. Times in messages
// are the server's: each worker that reads one may have another clock.
func (c *serverClock) toTheirs(t time.Time) time.Time { return shifted(t, c.offset()) }
func (c *serverClock) toOurs(t time.Time) time.Time   { return shifted(t, -c.offset()) }

func shifted(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t // none
	}
	return t.Add(by).UTC()
}

func (c *serverClock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.theirs.Round(0).Sub(c.ours.Round(0)) // of the times of day
}

// now is the server's time as a message of some time is seen. Without the bound each
// event of a backlog would seem to be of just now.
func (c *serverClock) now(ours, stored time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	theirs := c.stored.Add(ours.Sub(c.seen))
	if stored.After(theirs) {
		c.stored, c.seen, theirs = stored, ours, stored
	}
	if reckoned := c.reckon(ours); reckoned.After(theirs) {
		return reckoned
	}
	return theirs
}

// answered takes the server's time from an answer: it was that between sent and back,
// most likely in the middle. If that is no further off than the way was long, the
// clocks agree as far as anybody can tell.
func (c *serverClock) answered(sent, theirs, back time.Time) {
	way := back.Sub(sent)
	ours := sent.Add(way / 2)
	if off := theirs.Sub(ours.Round(0)); off.Abs() <= way {
		theirs = ours
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ours, c.theirs = ours, theirs
	c.stored, c.seen = time.Time{}, time.Time{}
}

// ask asks the leader of a stream, by whose clock its schedules fire, for the time.
func (c *serverClock) ask(ctx context.Context, js jetstream.JetStream, stream string, now func() time.Time) error {
	var sent, theirs, back time.Time
	for range clockQuestions {
		asked := now()
		s, err := streamOf(ctx, js, stream)
		if err != nil {
			return err
		}
		if got := now(); theirs.IsZero() || got.Sub(asked) < back.Sub(sent) {
			sent, theirs, back = asked, s.CachedInfo().TimeStamp, got
		}
	}
	c.answered(sent, theirs, back)
	return nil
}

// keep goes on with ask until ctx ends.
func (c *serverClock) keep(ctx context.Context, nc *nats.Conn, ask func(context.Context) error, log *slog.Logger) {
	back := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(back)
	again := time.After(clockEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-back: // perhaps to another server
		case <-again:
		}
		again = time.After(clockEvery)
		if err := ask(ctx); err != nil && ctx.Err() == nil {
			log.Debug("time of the server not known", "error", err)
			again = time.After(clockAgain)
		}
	}
}
