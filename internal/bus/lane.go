package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

const (
	// pulls is how many requests for messages a lane has at the server, so that one
	// is waiting there while the messages of the other are taken in hand.
	pulls = 2
	// pullTime is how long a request waits for messages. It ends by itself, never by
	// us: what the server has sent by then has arrived, so nothing is left to wait
	// for the ack wait. Stopping takes so long at most.
	pullTime = 500 * time.Millisecond
	// probeWait is how long a lane waits for a message to probe a failing MX with,
	// and before it tries again to fetch after an error.
	probeWait = 500 * time.Millisecond
	// unreadyAfter is how long fetching may be interrupted before readiness hears of it:
	// longer than a stream takes to find another leader.
	unreadyAfter = 10 * time.Second
	// lateOnes is how many requests without an answer and without a message, one after
	// the other, are told as an interruption: more than are at the server at once, which a
	// new connection makes late together.
	lateOnes = pulls + 1
	// candidates is how many messages may be in hand in search of one to probe with:
	// the server sends those first that were handed back, and so have failed before.
	candidates = 128
	// maxAside bounds the messages of a lane that are in hand without a place, and so
	// how many may wait for members that MX answers slowly for before others have to wait
	// behind them. Each costs a sign of life every five seconds, and asideSize of memory
	// at most. It is a part of maxAckPending, which all workers share.
	maxAside  = 4096
	asideSize = 4 << 10 // far more than any command needs; a bigger one keeps its place
)

// lane fetches the messages of one durable consumer, as many as may be in hand,
// and while MX may not be asked only until there is one to probe it with.
//
// It asks with one request after the other. The client's Consume would keep asking
// by itself, but can stop for two heartbeats when all messages it asked for are
// handled before its request has returned (nats.go 1.55), and what it has
// buffered cannot be kept alive.
type lane struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  string
	durable string
	limit   int // messages in hand, or asked for, at once, save those that are aside
	batch   int // messages to ask for at once
	handle  func(*nats.Msg)
	flow    func() refresh.Flow
	health  Health
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex
	room    *sync.Cond // signaled when held falls or stopped changes
	held    int        // places taken: by messages in hand or asked for
	aside   int        // messages in hand that take no place
	stopped bool       // ask for no more
	down    time.Time  // since when fetching is interrupted, which was told; zero: it is not
	unready bool       // readiness was told so, too
	late    int        // requests in a row that brought nothing and were not answered
	back    []func()   // hand back what is to be handed back while the last requests run out
	over    bool       // the last requests have run out
}

func newLane(l *lane) *lane {
	l.room = sync.NewCond(&l.mu)
	return l
}

// reserve waits until a batch may be asked for and returns its size; 0 when the
// lane is to stop.
func (l *lane) reserve() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held+l.batch > l.limit && !l.stopped {
		l.room.Wait()
	}
	if l.stopped {
		return 0
	}
	l.held += l.batch
	return l.batch
}

// leave notes that n messages are no longer in hand, or will not come.
func (l *lane) leave(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held -= n
	l.room.Broadcast()
}

// place is where a message in hand stands. It is guarded by its lane's lock.
type place uint8

const (
	placed place = iota
	aside
	gone
)

// stepAside gives the place of a message to another one. It is for those that wait
// for a turn which others have begun: a place is for a read of MX to come, and these
// are served by somebody else's. Else a member that MX answers slowly for, and that
// many commands are about, would have all places, one read after the other.
func (l *lane) stepAside(d *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.place != placed || l.aside >= maxAside || d.msg.Size() > asideSize {
		return
	}
	d.place = aside
	l.aside++
	l.held--
	l.room.Broadcast()
}

// dismiss notes that a message is no longer in hand.
func (l *lane) dismiss(d *delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch d.place {
	case placed:
		l.held--
		l.room.Broadcast()
	case aside:
		l.aside--
	case gone:
	}
	d.place = gone
}

func (l *lane) stop(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = yes
	l.room.Broadcast()
}

// handBack has give hand a message back: at once or, if ctx has ended, when the last
// requests have run out. While one is open the server sends what is handed back
// straight to us again, and again, until the request has had as many as it asked for:
// each time counts as a delivery, from which delays and the bound of panics are reckoned.
//
// To unsubscribe first would be quicker, but what the server sends at that moment
// would be lost on its way, and wait for the ack wait; and a server with leaf nodes or
// gateways goes on sending for a while.
func (l *lane) handBack(ctx context.Context, give func()) {
	l.mu.Lock()
	wait := ctx.Err() != nil && !l.over
	if wait {
		l.back = append(l.back, give)
	}
	l.mu.Unlock()
	if !wait {
		give()
	}
}

// end hands back what waited for the last requests to run out.
func (l *lane) end() {
	l.mu.Lock()
	l.over = true
	back := l.back
	l.back = nil
	l.mu.Unlock()
	for _, give := range back {
		give()
	}
}

// run fetches until ctx ends. What the server has sent by then has passed
// through handle when it returns. An error is one that only a restart can mend.
func (l *lane) run(ctx context.Context) error {
	defer l.end()
	for ctx.Err() == nil {
		f := l.flow()
		var err error
		if f.Suspended {
			err = l.probe(ctx, f)
		} else {
			err = l.consume(ctx, f)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrConsumerDeleted) ||
			errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("fetching from consumer %s of %s: %w", l.durable, l.stream, err)
		}
		l.interrupted(err)
		select {
		case <-ctx.Done():
		case <-time.After(probeWait):
		}
	}
	return nil
}

// interrupted tells that messages cannot be fetched: the log once, until they can, and
// readiness if it lasts. NATS may be well connected meanwhile, with JetStream off. What
// the client says of a connection that is gone is that a buffer is full, since we have
// it buffer nothing.
func (l *lane) interrupted(err error) {
	if !l.nc.IsConnected() {
		err = errNotConnected
	}
	l.mu.Lock()
	now := l.now()
	began := l.down.IsZero()
	if began {
		l.down = now
	}
	l.unready = now.Sub(l.down) >= unreadyAfter
	unready := l.unready
	l.mu.Unlock()
	if began {
		l.log.Warn("fetching interrupted; this is said once until it goes on", "consumer", l.durable, "error", err)
	}
	if unready {
		l.health.Set(CheckFetching+l.durable, err)
	}
}

// goesOn tells that messages can be fetched, to whom it was told that they cannot.
func (l *lane) goesOn() {
	l.mu.Lock()
	down, unready := !l.down.IsZero(), l.unready
	l.down, l.unready, l.late = time.Time{}, false, 0
	l.mu.Unlock()
	if down {
		l.log.Info("fetching goes on", "consumer", l.durable)
	}
	if unready {
		l.health.Set(CheckFetching+l.durable, nil)
	}
}

var errNotConnected = errors.New("NATS is not connected")

// consume fetches until ctx ends, MX may not be asked any more, or NATS fails.
func (l *lane) consume(ctx context.Context, f refresh.Flow) error {
	if err := l.exists(ctx); err != nil {
		return err
	}
	l.stop(false)
	var wg sync.WaitGroup
	failed := make(chan error, pulls)
	for range pulls {
		wg.Go(func() {
			if err := l.pull(); err != nil {
				failed <- err
			}
		})
	}
	defer func() {
		l.stop(true)
		wg.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-f.Moved:
			if f = l.flow(); f.Suspended {
				return nil
			}
		}
	}
}

// pull fetches batch after batch until the lane is to stop.
func (l *lane) pull() error {
	p, err := newPuller(l.nc, l.stream, l.durable, l.batch)
	if err != nil {
		return err
	}
	defer p.close()
	for n := l.reserve(); n > 0; n = l.reserve() {
		err := l.fetch(p, n, pullTime)
		if errors.Is(err, errLate) { // Whoever did not answer has forgotten that request, and knows the next.
			err = p.renew()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fetch asks for the n messages that are reserved, and handles those that come within wait.
func (l *lane) fetch(p *puller, n int, wait time.Duration) error {
	got, err := p.pull(n, wait, l.handle)
	l.leave(n - got)
	switch {
	case err == nil || errors.Is(err, errLate) && got > 0:
		l.goesOn()
	case errors.Is(err, errLate) && l.lateAgain() >= lateOnes:
		l.interrupted(err)
	}
	return err
}

// lateAgain counts a request that brought nothing, and returns how many there were in a row.
func (l *lane) lateAgain() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late++
	return l.late
}

// probe sees to it, while MX may not be asked, that there is a promising job in
// hand to probe with.
func (l *lane) probe(ctx context.Context, f refresh.Flow) error {
	if f.Promising || f.Hand >= candidates {
		select {
		case <-ctx.Done():
		case <-f.Moved:
		case <-time.After(probeWait / 2):
		}
		return nil
	}
	if err := l.exists(ctx); err != nil {
		return err
	}
	p, err := newPuller(l.nc, l.stream, l.durable, 1)
	if err != nil {
		return err
	}
	defer p.close()
	l.mu.Lock()
	l.held++ // whatever the limit: a lane full of messages that wait has none to probe with
	l.mu.Unlock()
	if err := l.fetch(p, 1, probeWait); !errors.Is(err, errLate) {
		return err
	}
	return nil
}

// exists looks the consumer up.
func (l *lane) exists(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := l.js.Consumer(ctx, l.stream, l.durable); err != nil {
		return fmt.Errorf("looking up consumer: %w", err)
	}
	return nil
}
