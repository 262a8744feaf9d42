package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	prefetch  = 32 // events the NATS client may hold beyond the window
	pull      = 30 * time.Second
	shortPull = time.Second // the least that the NATS client takes
	heartbeat = 5 * time.Second
	// With events waiting and none coming for so long, fetching is begun anew.
	watchdog = time.Minute
)

// item is an event in hand.
type item struct {
	msg    jetstream.Msg
	meta   *jetstream.MsgMetadata
	member string
}

// lane takes the events of one durable consumer and handles them.
type lane struct {
	*Subscriber

	stream  string
	cons    jetstream.Consumer
	ackWait time.Duration

	mu       sync.Mutex
	room     *sync.Cond // signaled when inHand shrinks or stopping begins
	inHand   map[uint64]*item
	waiting  map[string][]*item // by member; the first is being handled
	hold     *hold              // nil: nothing is held
	stopping bool
	fetched  bool // since the watchdog looked last
	stopped  error
	fail     context.CancelFunc
	members  sync.WaitGroup

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

// run takes events until ctx ends, and returns when none is in hand.
func (l *lane) run(ctx, handling context.Context) error {
	ctx, l.fail = context.WithCancel(ctx)
	defer l.fail()
	l.inHand, l.waiting, l.stopping, l.stopped = map[uint64]*item{}, map[string][]*item{}, false, nil
	if err := l.holdLeftovers(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keepAlive(alive) })
	keeper.Go(func() { l.letGoInTime(ctx, handling) })
	var err error
	for ctx.Err() == nil && err == nil {
		err = l.consume(ctx, handling)
	}
	l.stop()
	l.fail()
	l.members.Wait()
	end()
	keeper.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(err, l.stopped)
}

// consume fetches until ctx ends, nil, or only a restart can help, an error; and
// returns nil as well when fetching should begin anew.
func (l *lane) consume(ctx, handling context.Context) error {
	gone := make(chan error, 1)
	expiry := pull
	options := []jetstream.PullConsumeOpt{
		jetstream.PullMaxMessages(min(prefetch, l.config.Window)),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				select {
				case gone <- err:
				default:
				}
				return
			}
			l.config.Notice(Notice{Kind: Fetching, Err: err})
		}),
	}
	if c := l.cons.CachedInfo().Config; c.PriorityPolicy == jetstream.PriorityPolicyPinned && len(c.PriorityGroups) > 0 {
		// A process that works must show itself well before it is taken for gone.
		expiry = min(pull, max(shortPull, c.PinnedTTL/3))
		options = append(options, jetstream.PullPriorityGroup(c.PriorityGroups[0]))
	}
	options = append(options, jetstream.PullExpiry(expiry), jetstream.PullHeartbeat(min(heartbeat, expiry/2)))
	fetching, err := l.cons.Consume(func(m jetstream.Msg) { l.take(ctx, handling, m) }, options...)
	if err != nil {
		return fmt.Errorf("fetching from %s: %w", l.stream, err)
	}
	err = l.watch(ctx, gone)
	l.mu.Lock()
	l.stopping = true // what still comes is handed back
	l.room.Broadcast()
	l.mu.Unlock()
	fetching.Drain()
	<-fetching.Closed()
	l.mu.Lock()
	l.stopping = ctx.Err() != nil || err != nil
	l.mu.Unlock()
	return err
}

// watch returns when ctx has ended or the consumer is gone, or nothing comes though events wait.
func (l *lane) watch(ctx context.Context, gone <-chan error) error {
	look := time.NewTicker(watchdog)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-gone:
			return fmt.Errorf("fetching from durable consumer %s of %s: %w", l.config.Durable, l.stream, err)
		case <-look.C:
		}
		l.mu.Lock()
		quiet := !l.fetched && len(l.inHand) == 0
		l.fetched = false
		l.mu.Unlock()
		if !quiet {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		info, err := l.cons.Info(asking)
		cancel()
		if err == nil && info.NumPending > 0 {
			return nil
		}
	}
}

// take takes a message in hand, when there is room.
func (l *lane) take(ctx, handling context.Context, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // Not from a stream, so nobody waits for an answer.
	}
	seq := meta.Sequence.Stream
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.inHand) >= l.limit() && !l.stopping {
		l.room.Wait()
	}
	l.fetched = true
	if _, again := l.inHand[seq]; again {
		return // The server missed our signs of life. The answer to the first delivery counts for this one too.
	}
	if l.stopping {
		_ = m.Nak() // Unanswered, it comes again later.
		return
	}
	it := &item{m, meta, memberOf(m.Subject())}
	l.inHand[seq] = it
	if l.hold != nil {
		if !l.hold.add(it) {
			return
		}
		l.letGo(ctx, handling)
		return
	}
	l.enqueue(ctx, handling, it)
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
		return l.config.Window + l.hold.expected // all that is left over must fit
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

// settled notes that an event is no longer in hand.
func (l *lane) settled(it *item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.inHand, it.meta.Sequence.Stream)
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
