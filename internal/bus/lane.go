package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

// watchdogTime: with messages waiting and none delivered for so long, the pull
// is made anew.
const watchdogTime = time.Minute

// probeWait is how long a lane waits for the one message to probe a failing MX with.
const probeWait = 500 * time.Millisecond

// lane fetches the messages of one durable consumer, as many as may be in hand,
// and none while MX may not be asked.
type lane struct {
	js       jetstream.JetStream
	stream   string
	durable  string
	limit    int // messages in hand at once
	prefetch int // messages the client may hold beyond those
	handle   func(jetstream.Msg)
	flow     func() refresh.Flow
	log      *slog.Logger
	restarts interface{ Inc() }

	mu       sync.Mutex
	room     *sync.Cond // signalled when held falls or draining changes
	held     int
	draining bool // what still comes is let in, whatever the limit
	last     time.Time
	now      func() time.Time
}

func (l *lane) init() *lane {
	l.room = sync.NewCond(&l.mu)
	return l
}

// enter waits until a message may be taken in hand.
func (l *lane) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held >= l.limit && !l.draining {
		l.room.Wait()
	}
	l.held++
	l.last = l.now()
}

// leave notes that a message is no longer in hand.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	l.room.Signal()
}

func (l *lane) drain(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining = on
	l.room.Broadcast()
}

// run fetches until ctx ends. What the client has received by then has passed
// through handle when it returns. An error is one that only a restart can mend.
func (l *lane) run(ctx context.Context) error {
	for ctx.Err() == nil {
		f := l.flow()
		var err error
		if f.Suspended {
			err = l.probe(ctx, f)
		} else {
			err = l.consume(ctx, f)
		}
		if err != nil && ctx.Err() == nil {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
				return fmt.Errorf("fetching from consumer %s of %s: %w", l.durable, l.stream, err)
			}
			l.log.Warn("fetching interrupted", "consumer", l.durable, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(probeWait):
			}
		}
	}
	return nil
}

// consume fetches until ctx ends, MX may not be asked any more, or the watchdog barks.
func (l *lane) consume(ctx context.Context, f refresh.Flow) error {
	cons, err := l.consumer(ctx)
	if err != nil {
		return err
	}
	fatal := make(chan error, 1)
	cc, err := cons.Consume(func(m jetstream.Msg) {
		l.enter()
		l.handle(m)
	},
		jetstream.PullMaxMessages(l.prefetch),
		jetstream.PullExpiry(30*time.Second),
		jetstream.PullHeartbeat(5*time.Second),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) {
				select {
				case fatal <- err:
				default:
				}
				return
			}
			l.log.Debug("fetching", "consumer", l.durable, "error", err) // the client goes on by itself
		}),
	)
	if err != nil {
		return fmt.Errorf("starting to fetch: %w", err)
	}
	defer func() { // what was received is handled; what was not stays with the server
		l.drain(true)
		cc.Drain()
		<-cc.Closed()
		l.drain(false)
	}()
	watchdog := time.NewTicker(watchdogTime)
	defer watchdog.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-fatal:
			return err
		case <-f.Moved:
			if f = l.flow(); f.Suspended {
				return nil
			}
		case <-cc.Closed():
			return errors.New("the client stopped fetching")
		case <-watchdog.C:
			if l.stuck(ctx, cons) {
				l.restarts.Inc()
				return errors.New("messages are waiting and none comes; fetching anew")
			}
		}
	}
}

func (l *lane) stuck(ctx context.Context, cons jetstream.Consumer) bool {
	l.mu.Lock()
	quiet := l.held == 0 && l.now().Sub(l.last) > watchdogTime
	l.mu.Unlock()
	if !quiet {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := cons.Info(ctx)
	return err == nil && info.NumPending > 0
}

// probe sees to it, while MX may not be asked, that there is one job in hand to
// probe with.
func (l *lane) probe(ctx context.Context, f refresh.Flow) error {
	if f.Hand > 0 {
		select {
		case <-ctx.Done():
		case <-f.Moved:
		case <-time.After(probeWait / 2):
		}
		return nil
	}
	cons, err := l.consumer(ctx)
	if err != nil {
		return err
	}
	batch, err := cons.Fetch(1, jetstream.FetchMaxWait(probeWait))
	if err != nil {
		return fmt.Errorf("fetching one message: %w", err)
	}
	for m := range batch.Messages() {
		l.mu.Lock()
		l.held++
		l.mu.Unlock()
		l.handle(m)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, jetstream.ErrNoMessages) {
		return fmt.Errorf("fetching one message: %w", err)
	}
	return nil
}

func (l *lane) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := l.js.Consumer(ctx, l.stream, l.durable)
	if err != nil {
		return nil, fmt.Errorf("looking up consumer: %w", err)
	}
	return c, nil
}
