package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/loglimit"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Options are what a Bus needs beside its Config.
type Options struct {
	// DeleteConfirmAfter is how long after a 404 the confirming read is due.
	DeleteConfirmAfter time.Duration
	// MaxInFlight is how many reads of MX may be under way.
	MaxInFlight int
	Health      Health
	Log         *slog.Logger
	Now         func() time.Time
}

// Jobs takes the jobs that a Bus makes of messages. *refresh.Service is one.
type Jobs interface {
	// Submit takes a job in hand at once; its Settle is called exactly once.
	Submit(*refresh.Job)
	// Flow tells whether jobs are wanted.
	Flow() refresh.Flow
}

// Bus is one worker's connection to the topology: the ports of package refresh,
// and the intake of both lanes.
type Bus struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	config   Config
	options  Options
	subjects events.Subjects
	log      *slog.Logger
	now      func() time.Time

	states        *States
	announcements *Announcements
	confirmations *Confirmations
	followings    *Followings
	ids           *IDs
	chains        *Chains
	steps         atomic.Pointer[Stepper] // nil: ticks are for other workers
	walking       sync.WaitGroup          // steps under way; begun by Run, which waits for them

	schedules  *schedules
	inProgress *inProgress
	burying    sync.WaitGroup // dead letters on their way; Close waits for them
	clock      *serverClock
	metrics    *metrics
	buried     *loglimit.Lines
	notBuried  *loglimit.Lines
	lag        *lag
	stop       context.CancelFunc
	ended      sync.WaitGroup
}

// New returns a Bus on a topology that is ready. It must be closed.
func New(ctx context.Context, nc *nats.Conn, c Config, o Options) (*Bus, error) {
	subjects, err := events.NewSubjects(c.SubjectPrefix)
	if err != nil {
		return nil, fmt.Errorf("SUBJECT_PREFIX: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	kv, err := js.KeyValue(ctx, subjects.IDBucket())
	if err != nil {
		return nil, fmt.Errorf("opening bucket %s: %w", subjects.IDBucket(), err)
	}
	states, clock := newStates(nc, js, subjects), new(serverClock)
	theirs := func() time.Time { return clock.at(o.Now()) }
	m := newMetrics()
	overdue := &schedules{js: js, subjects: subjects, now: theirs, revived: m.revived, log: o.Log}
	b := &Bus{
		nc: nc, js: js, config: c, options: o, subjects: subjects, log: o.Log, now: o.Now,
		states:        states,
		announcements: &Announcements{js, subjects, states},
		confirmations: newConfirmations(js, subjects, o.DeleteConfirmAfter, clock, overdue),
		followings:    newFollowings(js, subjects, clock, overdue, o.Now),
		ids:           newIDs(kv, o.Log),
		chains:        NewChains(js, subjects, theirs),
		schedules:     overdue,
		inProgress:    newInProgress(ackWait / 3),
		clock:         clock,
		metrics:       m,
		buried:        loglimit.New(o.Log.Warn, "dead letter"),
		notBuried:     loglimit.New(o.Log.Error, "dead letter not stored; the message comes again"),
		lag:           newLag(js, c, subjects, o.Now, o.Log),
	}
	askTime := func(ctx context.Context) error { return clock.ask(ctx, js, subjects.BackgroundStream(), o.Now) }
	if err := errors.Join(askTime(ctx), b.confirmations.watch(ctx, nc)); err != nil {
		return nil, err
	}
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	b.ended.Go(func() { b.inProgress.run(alive) })
	b.ended.Go(func() { b.confirmations.listAgain(alive, nc, o.Log) })
	b.ended.Go(func() { clock.keep(alive, nc, askTime, o.Log) })
	b.ended.Go(func() { overdue.run(alive) })
	return b, nil
}

// Subjects returns the subjects of the installation.
func (b *Bus) Subjects() events.Subjects { return b.subjects }

// States returns the event stream as package refresh needs it.
func (b *Bus) States() *States { return b.states }

// Announcements returns the OAuth stream as package refresh needs it.
func (b *Bus) Announcements() *Announcements { return b.announcements }

// Confirmations returns the schedule of confirming reads as package refresh needs it.
func (b *Bus) Confirmations() *Confirmations { return b.confirmations }

// Followings returns the schedule of reads until members settle as package refresh needs it.
func (b *Bus) Followings() *Followings { return b.followings }

// IDs returns the bucket of partners' ids as package refresh needs it.
func (b *Bus) IDs() *IDs { return b.ids }

// Run fetches messages and submits them as jobs until ctx ends. When it returns
// nothing more will be submitted; what was is still kept alive until Close. An
// error is one that only a restart can mend.
func (b *Bus) Run(ctx context.Context, jobs Jobs) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := b.options.MaxInFlight
	commands := b.lane(jobs, b.subjects.CommandStream(), consumerCommands, 4*n)
	commands.handle = func(m *nats.Msg) { b.command(ctx, jobs, commands, m) }
	background := b.lane(jobs, b.subjects.BackgroundStream(), consumerBackground, 2*n)
	background.handle = func(m *nats.Msg) { b.background(ctx, jobs, background, m) }
	all := []*lane{commands, background}
	if b.config.FollowUpAfter > 0 {
		follow := b.lane(jobs, b.subjects.EventStream(), consumerFollow, 2*n)
		follow.handle = func(m *nats.Msg) { b.followUp(ctx, jobs, follow, m) }
		all = append(all, follow)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, l := range all {
		wg.Go(func() {
			errs[i] = l.run(ctx)
			if errs[i] != nil {
				cancel() // one lane that cannot go on ends the worker: half a service looks like a whole one
			}
		})
	}
	wg.Wait()
	b.walking.Wait()
	return errors.Join(errs...)
}

func (b *Bus) lane(jobs Jobs, stream, durable string, limit int) *lane {
	return newLane(&lane{
		nc: b.nc, js: b.js, stream: stream, durable: durable,
		limit: limit, batch: max(1, limit/(2*pulls)), // so that both pulls are out while half of what is in hand waits
		flow: jobs.Flow, health: b.options.Health, log: b.log, now: b.now,
	})
}

// Close waits for the dead letters that are on their way, and ends what keeps messages
// alive. Nothing is settled any more when it is called. The connection stays the caller's.
func (b *Bus) Close() {
	b.burying.Wait()
	b.buried.Close()
	b.notBuried.Close()
	b.stop()
	b.ended.Wait()
}

// Metrics returns the bus' collectors, to be registered by the caller.
func (b *Bus) Metrics() []prometheus.Collector {
	return append(b.metrics.collectors(), b.lag, b.lag.errors)
}

// Catalog returns what [Bus.Metrics] of a bus and [API.Metrics] return, without
// one: to be described, not to be registered.
func Catalog() []prometheus.Collector {
	l := newLag(nil, Config{}, events.Subjects{}, nil, nil)
	return append(append(newMetrics().collectors(), l, l.errors), (&API{metrics: newAPIMetrics()}).Metrics()...)
}

// metrics counts what the bus does. No label holds an id.
type metrics struct {
	deadLetters *prometheus.CounterVec
	steps       *prometheus.CounterVec
	lost        prometheus.Counter
	revived     prometheus.Counter
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.deadLetters, m.steps, m.lost, m.revived}
}

func newMetrics() *metrics {
	return &metrics{
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_dead_letters_total", Help: "Messages kept as dead letters.",
		}, []string{"category"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_chain_steps_total", Help: "Steps of walks over all members, by how they ended.",
		}, []string{"chain", "outcome"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "memberwatch_settlements_lost_total", Help: "Acknowledgements that could not be sent; the message comes again and finds nothing new.",
		}),
		revived: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "memberwatch_schedules_revived_total", Help: "Scheduled messages whose time had passed and that NATS had not fired, published again.",
		}),
	}
}
