package bus

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// pending is how many messages of a consumer are in hand, and how many are not
// handed out.
func (h *house) pending(stream, durable string) (inHand int, waiting uint64) {
	h.t.Helper()
	c, err := h.peer.Consumer(h.t.Context(), stream, durable)
	if err != nil {
		h.t.Fatal(err)
	}
	i := c.CachedInfo()
	return i.NumAckPending, i.NumPending
}

// fetched is how many commands of all that there are somebody has in hand. The
// consumer hears of a message a moment after its publisher has the acknowledgement.
func (h *house) fetched(all int) (inHand int) {
	h.t.Helper()
	h.until("the consumer knows of all commands", func() bool {
		n, waiting := h.pending("MX_COMMANDS", consumerCommands)
		inHand = n
		return n+int(waiting) == all
	})
	return inHand
}

func (h *house) fill(n int) {
	h.t.Helper()
	for range n {
		h.publish(long, "", nil)
	}
}

func TestALaneTakesNoMoreInHandThanItMay(t *testing.T) {
	t.Parallel()
	h, q := newHouse(t, good()), newQueue(false)
	const inHand, all = 16, 60 // for 4 reads in flight
	h.fill(all)
	h.start(h.Bus, q)
	h.until("the lane is full, and asks for no more", func() bool {
		c, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
		return err == nil && len(q.jobs) == inHand && c.CachedInfo().NumWaiting == 0
	})
	if n, waiting := h.pending("MX_COMMANDS", consumerCommands); n != inHand || waiting != all-inHand {
		t.Errorf("%d messages fetched and %d left, want %d and %d", n, waiting, inHand, all-inHand)
	}
	h.drain(q, all, inHand)
	h.until("all are acknowledged", func() bool { return h.commands() == 0 })
}

// prober is an inbox that, as the service does, has a job to probe MX with as soon as
// it has been given one.
type prober struct {
	looks
	first sync.Once
}

func (p *prober) Submit(j *refresh.Job) {
	p.first.Do(func() { p.set(refresh.Flow{Suspended: true, Hand: 1, Promising: true}) })
	p.looks.Submit(j)
}

func TestASuspendedLaneFetchesOneMessageToProbeWith(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), &prober{looks: looks{inbox: newInbox()}}
	in.set(refresh.Flow{Suspended: true})
	h.fill(20)
	h.start(h.Bus, in)
	j := in.next(t)
	before := in.n.Load()
	h.until("all lanes have looked again and again", func() bool { return in.n.Load() >= before+9 })
	if n := h.fetched(20); n != 1 {
		t.Errorf("%d messages fetched while MX may not be asked", n)
	}
	in.set(refresh.Flow{})
	done(j)
	for range 19 {
		done(in.next(t))
	}
	h.until("all are acknowledged", func() bool { return h.commands() == 0 })
}

func TestASuspendedLaneGoesOnToLookForAPromisingMessage(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	in.set(refresh.Flow{Suspended: true, Hand: candidates}) // enough of members that fail
	h.fill(20)
	h.start(h.Bus, in)
	if n := h.fetched(20); n != 0 {
		t.Errorf("%d messages fetched, although as many are in hand as may be searched", n)
	}
	in.set(refresh.Flow{Suspended: true, Hand: 1})
	for range 20 { // many more than are asked for ahead
		done(in.next(t))
	}
	h.until("all are acknowledged", func() bool { return h.commands() == 0 })
}

func TestALaneStopsFetchingWhenItIsSuspendedAndHandlesWhatItHas(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	h.fill(1)
	done(in.next(t))
	in.set(refresh.Flow{Suspended: true, Hand: 1, Promising: true})
	h.until("nobody waits for commands", func() bool {
		c, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
		return err == nil && c.CachedInfo().NumWaiting == 0
	})
	h.fill(10)
	if n := h.fetched(10); n != 0 {
		t.Errorf("%d messages fetched while MX may not be asked", n)
	}
	in.set(refresh.Flow{})
	for range 10 {
		done(in.next(t))
	}
}

func TestTheDeathOfAConsumerEndsTheWorker(t *testing.T) {
	t.Parallel()
	for stream, durable := range map[string]string{
		"MX_COMMANDS": consumerCommands, "MX_BACKGROUND": consumerBackground, "MX_EVENTS": consumerFollow,
	} {
		t.Run(durable, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			in := newInbox()
			ended := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { ended <- h.Run(ctx, in) }()
			h.until("it fetches", func() bool {
				c, err := h.peer.Consumer(t.Context(), stream, durable)
				return err == nil && c.CachedInfo().NumWaiting > 0
			})
			if err := h.peer.DeleteConsumer(t.Context(), stream, durable); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if !errors.Is(err, jetstream.ErrConsumerDeleted) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
					t.Errorf("ended with %v", err)
				}
			case <-time.After(patience):
				t.Error("still runs")
			}
		})
	}
}

// looks counts how often lanes asked how things stand: once for each try to fetch.
type looks struct {
	*inbox
	n atomic.Int64
}

func (l *looks) Flow() refresh.Flow {
	l.n.Add(1)
	return l.inbox.Flow()
}

// count is how many times text was written.
func (l *LockedBuffer) count(text string) int { return strings.Count(l.String(), text) }

// allWait reports whether each lane has a request for messages at the server.
func (h *house) allWait() bool {
	for _, want := range consumers(&h.config, h.subjects) {
		c, err := h.peer.Consumer(h.t.Context(), want.stream, want.config.Durable)
		if err != nil || c.CachedInfo().NumWaiting == 0 {
			return false
		}
	}
	return true
}

func TestAnOutageOfNATSIsToldOnceByEachLane(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]string{
		"while lanes wait for messages": jetstream.ErrServerShutdown.Error(),
		"before they ask for any":       errNotConnected.Error(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, in, log := newHouse(t, good()), &looks{inbox: newInbox()}, new(LockedBuffer)
			h.log = slog.New(slog.NewTextHandler(log, nil))
			if cause == errNotConnected.Error() {
				h.servers[0].Shutdown()
				h.until("the connection is gone", func() bool { return !h.nc.IsConnected() })
			}
			h.start(h.Bus, in)
			if cause != errNotConnected.Error() {
				h.until("all lanes wait for messages", h.allWait)
				h.servers[0].Shutdown()
			}
			h.until("all lanes tell of the outage", func() bool { return log.count("level=WARN") >= 3 })
			before := in.n.Load()
			h.until("all lanes have tried again and again", func() bool { return in.n.Load() >= before+9 })
			h.servers[0] = embeddedtest.Restart(t, h.servers[0])
			h.fill(1)
			done(in.next(t))
			h.until("all lanes tell that they go on", func() bool { return log.count(`level=INFO msg="fetching goes on"`) >= 3 })
			for text, want := range map[string]int{
				"level=WARN": 3, "level=INFO": 3, cause: 3, "buffer limit": 0,
				"consumer=" + consumerCommands + " ": 1, "consumer=" + consumerBackground + " ": 1, "consumer=" + consumerFollow + " ": 1,
			} {
				if n := log.count(text); n != want {
					t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, log.String())
				}
			}
		})
	}
}

// checks is a health that remembers how each check is.
type checks struct{ sync.Map }

func (c *checks) Set(check string, err error) { c.Store(check, err) }

// all reports whether readiness knows of each lane that it is bad, or well again.
func (c *checks) all(bad bool) bool {
	for _, durable := range []string{consumerCommands, consumerBackground, consumerFollow} {
		if err, known := c.Load(CheckFetching + durable); !known || (err != nil) != bad {
			return false
		}
	}
	return true
}

func TestReadinessHearsOfAnInterruptionThatLasts(t *testing.T) {
	t.Parallel()
	h, in, health := newHouse(t, good()), &looks{inbox: newInbox()}, new(checks)
	var ahead atomic.Int64
	h.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	h.options.Health = health
	h.start(h.Bus, in)
	h.until("all lanes wait for messages", h.allWait)
	h.servers[0].Shutdown()
	again := func() {
		before := in.n.Load()
		h.until("all lanes have tried again and again", func() bool { return in.n.Load() >= before+9 })
	}
	again()
	health.Range(func(check, err any) bool {
		t.Errorf("%v is told at once, as %v", check, err)
		return true
	})
	ahead.Add(int64(unreadyAfter))
	h.until("it is told of all lanes", func() bool { return health.all(true) })
	h.servers[0] = embeddedtest.Restart(t, h.servers[0])
	h.until("all are well again", func() bool { return health.all(false) })
}

func TestAMessageInHandIsKeptFromComingAgain(t *testing.T) {
	t.Parallel()
	for name, alive := range map[string]bool{"alive": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			const wait = 400 * time.Millisecond
			cons, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
			if err != nil {
				t.Fatal(err)
			}
			c := cons.CachedInfo().Config
			c.AckWait = wait
			if cons, err = h.peer.UpdateConsumer(t.Context(), "MX_COMMANDS", c); err != nil {
				t.Fatal(err)
			}
			h.fill(1)
			m := h.pulled("MX_COMMANDS", consumerCommands, 1)[0]
			kept := newInProgress(wait / 8)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); kept.run(ctx) }()
			defer func() { cancel(); <-ended }()
			kept.take(m)
			if !alive {
				kept.release(m)
			}
			_, err = cons.Next(jetstream.FetchMaxWait(4 * wait))
			if again := err == nil; again == alive {
				t.Errorf("came again: %t (%v)", again, err)
			}
		})
	}
}

func TestFollowUpsOfABurstBeginTogetherAndNeverEarly(t *testing.T) {
	t.Parallel()
	const after = 3200 * time.Millisecond // so that a 64th is 50 ms
	const together = after / 64
	begin := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	now := begin.Add(time.Second)
	starts := make(map[time.Time]int)
	for n := range 1000 { // an event each millisecond
		stored := begin.Add(time.Duration(n) * time.Millisecond)
		wait := followWait(stored, now, after)
		starts[now.Add(wait)]++
		if age := now.Add(wait).Sub(stored); age < after || age >= after+together {
			t.Errorf("the event of %d ms is followed up at an age of %s", n, age)
		}
	}
	if len(starts) > 21 {
		t.Errorf("those of a second begin at %d times, want one each %s", len(starts), together)
	}
	if wait := followWait(now.Add(time.Hour), now, after); wait != after+together {
		t.Errorf("where the server's clock is ahead they wait %s", wait)
	}
	if wait := followWait(now, now.Add(time.Hour), after); wait > 0 {
		t.Errorf("an old event waits %s", wait)
	}
	if wait := followWait(now, now, time.Nanosecond); wait < 1 || wait > 2 {
		t.Errorf("the shortest delay is %s", wait)
	}
}

func TestAClockThatIsBehindDoesNotMakeABacklogWait(t *testing.T) {
	t.Parallel()
	const after, behind = 3 * time.Second, time.Minute
	ours := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	var c serverClock
	theirs, waited := ours.Add(behind), time.Duration(0)
	for n := range 100 { // of the last second
		stored := theirs.Add(time.Duration(n-100) * 10 * time.Millisecond)
		wait := max(0, followWait(stored, c.now(ours, stored), after))
		ours, waited = ours.Add(wait), waited+wait
	}
	if waited < after || waited > 2*after {
		t.Errorf("a second's events waited %s", waited)
	}

	var ahead serverClock
	for range 2 {
		if got := ahead.now(ours, ours.Add(-time.Hour)); !got.Equal(ours) {
			t.Errorf("a clock that is not behind says %s, and is taken for %s", ours, got)
		}
	}
}

func TestARequestThatIsForgottenIsMadeAgainWithoutAWord(t *testing.T) {
	t.Parallel()
	h, in, log := newHouse(t, good()), newInbox(), new(LockedBuffer)
	h.log = slog.New(slog.NewTextHandler(log, nil))
	h.start(h.Bus, in)
	h.until("all lanes wait for messages", h.allWait)
	before, err := h.nc.GetClientID()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	// What the server sends where nobody reads any more comes again after ackWait only.
	h.until("the server has forgotten who waited", func() bool { return h.servers[0].NATS().GetClient(before) == nil })
	h.fill(1)
	done(in.next(t))
	h.until("all lanes wait again", h.allWait)
	if log.count("level=WARN") > 0 {
		t.Errorf("it is told:\n%s", log)
	}
}

func TestAFollowUpComesOnceItsEventIsOldEnough(t *testing.T) {
	t.Parallel()
	c := good()
	c.FollowUpAfter = 300 * time.Millisecond
	h, in := newHouse(t, c), newInbox()
	h.start(h.Bus, in)
	k := key(t, "MBR-1")
	at := time.Now()
	seq, err := h.States().Append(t.Context(), event(t, k, 1), 0)
	if err != nil {
		t.Fatal(err)
	}
	j := in.next(t)
	if d := time.Since(at); d < c.FollowUpAfter-10*time.Millisecond {
		t.Errorf("followed up after %s", d)
	}
	if j.Key != k || j.FollowUpOf != seq || j.Source != refresh.SourceFollowUp || j.Lane != refresh.Background {
		t.Errorf("job %+v", j)
	}
	sub := h.results()
	done(j)
	h.until("the follow-up is acknowledged", func() bool {
		n, waiting := h.pending("MX_EVENTS", consumerFollow)
		return n == 0 && waiting == 0
	})
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("%d results of a follow-up, %v", n, err)
	}
	if n := h.state("MX_EVENTS").Msgs; n != 1 {
		t.Errorf("%d events kept: acknowledging a follow-up must not remove its event", n)
	}
}
