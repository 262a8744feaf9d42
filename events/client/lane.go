package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxBatch = 64 // events asked for at once
	// A request for events ends by itself, never by us: what the server has sent by
	// then has arrived, and nothing is left to wait for the ack wait. Stopping takes
	// so long at most.
	pullTime = time.Second
	// How long to wait before asking again after an error.
	pause = time.Second
)

// item is an event in hand.
type item struct {
	msg    jetstream.Msg
	meta   *jetstream.MsgMetadata
	member string

	// What its member's goroutine notes, for the next one should a handler end it.
	tries  int  // of a handler
	failed int  // how often it failed, to be handled or to be given up
	begun  bool // a handler was called and has not returned
}

// lane takes the events of one durable consumer and handles them.
type lane struct {
	*Subscriber

	stream  string
	cons    jetstream.Consumer
	ackWait time.Duration

	mu       sync.Mutex
	room     *sync.Cond         // signaled when inHand shrinks or stopping begins
	inHand   map[uint64]*item   // by stream sequence
	waiting  map[string][]*item // by member; the first is being handled
	hold     *hold              // nil: nothing is held
	stopping bool
	stopped  error
	fail     context.CancelFunc // stops the whole subscription
	members  sync.WaitGroup     // and holds
	link     link               // of the fetching goroutine

	ids  *recent[string, struct{}]
	last *recent[string, mark]
}

func newLane(s *Subscriber, stream string, cons jetstream.Consumer) *lane {
	l := &lane{
		Subscriber: s, stream: stream, cons: cons, ackWait: ackWait,
		ids: newRecent[string, struct{}](s.config.Memory), last: newRecent[string, mark](s.config.Memory),
	}
	l.room = sync.NewCond(&l.mu)
	c := cons.CachedInfo().Config
	switch {
	case len(c.BackOff) > 0:
		l.ackWait = c.BackOff[0] // It replaces AckWait.
	case c.AckWait > 0:
		l.ackWait = c.AckWait
	}
	return l
}

// run takes events until ctx ends, and returns when none is in hand. When it
// cannot go on it calls fail, which ends ctx for all lanes.
func (l *lane) run(ctx, handling context.Context, fail context.CancelFunc) error {
	l.fail = fail
	l.inHand, l.waiting, l.hold, l.link = map[uint64]*item{}, map[string][]*item{}, nil, link{}
	l.stopping, l.stopped = false, nil
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keepAlive(alive) })
	err := l.fetch(ctx, handling)
	l.stop()
	l.fail()
	l.members.Wait()
	end()
	keeper.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(err, l.stopped)
}

// fetch takes events in hand until ctx ends, nil, or only a restart can help, an
// error. It asks for no more than there is room for: what waited in the client
// could not be kept alive. (The client's own Consume buffers, and in nats.go 1.55
// can stop asking for two heartbeats.)
func (l *lane) fetch(ctx, handling context.Context) error {
	waking := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stopping = true
		l.room.Broadcast()
	})
	defer waking()
	options := []jetstream.FetchOpt{jetstream.FetchMaxWait(pullTime)}
	if c := l.cons.CachedInfo().Config; c.PriorityPolicy == jetstream.PriorityPolicyPinned && len(c.PriorityGroups) > 0 {
		options = append(options, jetstream.FetchPriorityGroup(c.PriorityGroups[0]))
	}
	for {
		n := l.awaitRoom()
		if n == 0 {
			return nil
		}
		err := l.holdLeftovers(ctx, handling)
		if err == nil {
			err = l.fetchBatch(ctx, handling, n, options)
		}
		if err == nil {
			continue
		}
		if err := l.mind(ctx, err); err != nil {
			return err
		}
	}
}

// fetchBatch takes in hand what the server has, up to n events.
func (l *lane) fetchBatch(ctx, handling context.Context, n int, options []jetstream.FetchOpt) error {
	batch, err := l.cons.Fetch(n, options...)
	if err == nil {
		for m := range batch.Messages() {
			l.take(ctx, handling, m)
		}
		err = batch.Error()
	}
	if err == nil || errors.Is(err, jetstream.ErrPinIDMismatch) {
		return nil
	}
	return fmt.Errorf("fetching from durable consumer %s of %s: %w", l.config.Durable, l.stream, l.look(ctx, err))
}

// mind returns err when only a restart can help; else it tells of it and waits for
// a while, or until ctx ends.
func (l *lane) mind(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	for _, lost := range []error{
		jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrStreamNotFound, nats.ErrConnectionClosed,
	} {
		if errors.Is(err, lost) {
			return err
		}
	}
	l.config.Notice(Notice{Kind: Fetching, Err: err})
	wait := time.NewTimer(pause)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	}
	return nil
}

// look adds to err what the server, when asked, says about the durable: nobody
// answers a request to fetch from one that is gone.
func (l *lane) look(ctx context.Context, err error) error {
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, now := l.cons.Info(asking); errors.Is(now, jetstream.ErrConsumerNotFound) || errors.Is(now, jetstream.ErrStreamNotFound) {
		return errors.Join(err, now)
	}
	return err
}

// awaitRoom returns how many events may be asked for; 0: none any more.
func (l *lane) awaitRoom() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.inHand) >= l.limit() && !l.stopping {
		l.room.Wait()
	}
	if l.stopping {
		return 0
	}
	return min(maxBatch, l.limit()-len(l.inHand))
}

// take takes a message in hand.
func (l *lane) take(ctx, handling context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // Not from a stream, so nobody waits for an answer.
	}
	seq := meta.Sequence.Stream
	unbroken := l.sameLink(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, again := l.inHand[seq]; again {
		return // The server missed our signs of life. The answer to the first delivery counts for this one too.
	}
	if l.stopping || !unbroken { // What is missing since the break must be known first.
		_ = m.Nak() // Unanswered, it comes again later.
		return
	}
	it := &item{msg: m, meta: meta, member: memberOf(m.Subject())}
	l.inHand[seq] = it
	if l.hold != nil {
		l.hold.add(it)
	} else {
		l.enqueue(ctx, handling, it)
	}
}

// enqueue puts an event behind the others of its member. l.mu is held.
func (l *lane) enqueue(ctx, handling context.Context, it *item) {
	queue, busy := l.waiting[it.member]
	l.waiting[it.member] = append(queue, it)
	if !busy {
		l.members.Go(func() { l.work(ctx, handling, it.member) })
	}
}

// limit is how many events may be in hand. l.mu is held.
func (l *lane) limit() int {
	if l.hold != nil {
		return l.config.Window + l.hold.room()
	}
	return l.config.Window
}

// stop hands back what is held; members hand back their own.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
	l.room.Broadcast()
	if l.hold == nil {
		return
	}
	for _, it := range l.hold.sorted() {
		_ = it.msg.Nak()
		delete(l.inHand, it.meta.Sequence.Stream)
	}
	l.hold = nil
}

// first returns the event whose turn it is; nil: the member has none.
func (l *lane) first(member string) *item {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting[member]
	if len(queue) == 0 {
		delete(l.waiting, member)
		return nil
	}
	return queue[0]
}

// settled notes that an event, the first of its member, is no longer in hand.
func (l *lane) settled(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.inHand, it.meta.Sequence.Stream)
	l.waiting[it.member] = l.waiting[it.member][1:]
	l.room.Signal()
}

// keepAlive tells the server, three times in an ack wait, that what is in hand is
// being worked on.
func (l *lane) keepAlive(ctx context.Context) {
	t := time.NewTicker(l.ackWait / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		l.mu.Lock()
		now := make([]jetstream.Msg, 0, len(l.inHand))
		for _, it := range l.inHand {
			now = append(now, it.msg)
		}
		l.mu.Unlock()
		for _, m := range now {
			_ = m.InProgress() // Lost, it costs at worst a redelivery, which is told.
		}
	}
}

// memberOf returns what orders a message: the last two tokens of its subject,
// user and member, whatever a mirror has put in front.
func memberOf(subject string) string {
	if i := strings.LastIndexByte(subject, '.'); i > 0 {
		if j := strings.LastIndexByte(subject[:i], '.'); j >= 0 {
			return subject[j+1:]
		}
	}
	return subject
}
