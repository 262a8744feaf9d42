package refreshtest

import (
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe/observetest"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// patience ends a broken test, no working one. It is shorter than the service's
// ack wait, so that what only a lost settlement brings back counts as lost.
const patience = 20 * time.Second

// glance is how often a condition on the server is looked at.
const glance = 5 * time.Millisecond

// Options say how a Rig differs from one worker with the default settings on
// one NATS server. The zero value is that.
type Options struct {
	// Servers are the NATS servers; none: one of the rig's own.
	Servers []*embedded.Server
	// Workers is how many workers are started; 0: one, negative: none.
	Workers int
	// Sim, Refresh and Bus change the settings that the rig begins with: MX keeps
	// its whole journal; a deletion is confirmed after 50 ms; events have no
	// follow-up.
	Sim     func(*mxsim.Config)
	Refresh func(*refresh.Config)
	Bus     func(*bus.Config)
	// Wrap may replace what a worker's service works with. worker counts from 0.
	Wrap func(worker int, d *refresh.Deps)
	// Jobs may replace what takes the jobs that a worker fetches: its service.
	Jobs func(worker int, s *refresh.Service) bus.Jobs
	// Connect returns further options of a worker's connection to NATS.
	Connect func(worker int) []nats.Option
	// AckWait replaces how long the server waits for a sign of life of a message
	// in hand, for tests that kill workers; 0 leaves the service's own.
	AckWait time.Duration
	// Tracer makes the spans of all workers; nil: none.
	Tracer trace.Tracer
	// Level is from where on workers log to the test; 0: errors.
	Level slog.Level
}

// Rig is an installation. Its methods end the test when something goes wrong.
type Rig struct {
	tb       testing.TB
	options  Options
	refresh  refresh.Config
	bus      bus.Config
	log      *slog.Logger
	servers  []*embedded.Server
	results  *results
	Sim      *mxsim.Server
	NC       *nats.Conn
	JS       jetstream.JetStream
	Subjects events.Subjects
	Workers  []*Worker // in order of their start, stopped ones included
}

// New puts an installation together and starts its workers. It is gone when the
// test is.
func New(tb testing.TB, o Options) *Rig {
	tb.Helper()
	if o.Level == 0 {
		o.Level = slog.LevelError + 1 // what tests provoke is not worth a line
	}
	r := &Rig{
		tb: tb, options: o, servers: o.Servers,
		log: slog.New(slog.NewMultiHandler(
			slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: o.Level}),
			// Whatever a test is about: no line of any level holds a secret.
			slog.NewTextHandler(observetest.ScanLog(tb), &slog.HandlerOptions{Level: slog.LevelDebug}),
		)),
		refresh: refresh.Config{
			OAuthURITTL: 30 * time.Minute, InitialEvents: true, StateCache: 10_000,
			DeleteConfirmAfter: 50 * time.Millisecond, DeleteLimit: 20,
			CommandBudget: 24 * time.Hour, ShutdownTimeout: 20 * time.Second, MaxInFlight: 64,
		},
		bus: bus.Config{SubjectPrefix: events.DefaultPrefix, StreamReplicas: 1, Topology: bus.TopologyEnsure, HistoryPerType: 64},
	}
	if len(r.servers) == 0 {
		r.servers = []*embedded.Server{embeddedtest.Start(tb)}
	}
	r.bus.StreamReplicas = len(r.servers)
	if o.Bus != nil {
		o.Bus(&r.bus)
	}
	r.refresh.FollowUpAfter = r.bus.FollowUpAfter
	if o.Refresh != nil {
		o.Refresh(&r.refresh)
	}
	r.startSim()
	r.prepare()
	r.results = listen(tb, r.NC, r.Subjects)
	for range max(1, o.Workers) {
		if o.Workers >= 0 {
			r.StartWorker()
		}
	}
	return r
}

func (r *Rig) startSim() {
	r.tb.Helper()
	cfg := mxsim.Config{Seed: 1, Log: mxsim.LogAll, Now: time.Now}
	if r.options.Sim != nil {
		r.options.Sim(&cfg)
	}
	var err error
	if r.Sim, err = mxsim.Start(r.tb.Context(), "", cfg); err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() {
		if err := r.Sim.Close(); err != nil {
			r.tb.Errorf("closing simulator: %v", err)
		}
	})
}

// prepare connects and makes the topology.
func (r *Rig) prepare() {
	r.tb.Helper()
	r.NC = embeddedtest.ConnectAll(r.tb, r.servers)
	var err error
	if r.JS, err = jetstream.New(r.NC); err != nil {
		r.tb.Fatal(err)
	}
	if r.Subjects, err = events.NewSubjects(r.bus.SubjectPrefix); err != nil {
		r.tb.Fatal(err)
	}
	id := bus.Identity{
		MXHost: "127.0.0.1", ClientID: mxsim.DefaultClientID, OAuthTTL: r.refresh.OAuthURITTL,
		TypePrefix: r.refresh.EventTypePrefix, Initial: r.refresh.InitialEvents, Aggregated: r.refresh.AggregatedEvents,
	}
	if err := bus.NewTopology(r.JS, r.bus, r.Subjects, id).Ready(r.tb.Context(), newHealth(), slog.New(slog.DiscardHandler)); err != nil {
		r.tb.Fatal(err)
	}
	if r.options.AckWait > 0 {
		r.shortenAckWait()
	}
}

func (r *Rig) shortenAckWait() {
	r.tb.Helper()
	ctx := r.tb.Context()
	for _, stream := range []string{r.Subjects.CommandStream(), r.Subjects.BackgroundStream(), r.Subjects.EventStream()} {
		s, err := r.JS.Stream(ctx, stream)
		if err != nil {
			r.tb.Fatal(err)
		}
		all := s.ListConsumers(ctx)
		for info := range all.Info() {
			info.Config.AckWait = r.options.AckWait
			if _, err := s.UpdateConsumer(ctx, info.Config); err != nil {
				r.tb.Fatal(err)
			}
		}
		if err := all.Err(); err != nil {
			r.tb.Fatal(err)
		}
	}
}

// AddMember adds a member to MX, under a user of its own. Its key is its guids.
func (r *Rig) AddMember(p mxsim.Patch) events.Key {
	r.tb.Helper()
	u, err := r.Sim.AddUser(mxsim.User{})
	if err != nil {
		r.tb.Fatal(err)
	}
	m, err := r.Sim.AddMember(u.GUID, p)
	if err != nil {
		r.tb.Fatal(err)
	}
	k, err := events.NewKey(m.UserGUID, m.GUID)
	if err != nil {
		r.tb.Fatal(err)
	}
	return k
}

// Set changes a member at MX.
func (r *Rig) Set(k events.Key, p mxsim.Patch) {
	r.tb.Helper()
	if err := r.Sim.Set(k.Member(), p); err != nil {
		r.tb.Fatal(err)
	}
}

// Inject puts a fault of MX in force, and returns its id for ClearFaults.
func (r *Rig) Inject(f mxsim.Fault) string {
	r.tb.Helper()
	id, err := r.Sim.Inject(f)
	if err != nil {
		r.tb.Fatal(err)
	}
	return id
}

// Publish publishes a command, and returns its sequence on the command stream.
func (r *Rig) Publish(c events.Command) uint64 {
	r.tb.Helper()
	body, err := json.Marshal(c)
	if err != nil {
		r.tb.Fatal(err)
	}
	return r.PublishMsg(&nats.Msg{Subject: r.Subjects.Refresh(), Data: body})
}

// PublishMsg stores a message as it is, and returns its stream sequence.
func (r *Rig) PublishMsg(m *nats.Msg) uint64 {
	r.tb.Helper()
	ack, err := r.JS.PublishMsg(r.tb.Context(), m)
	if err != nil {
		r.tb.Fatal(err)
	}
	return ack.Sequence
}

// Refresh publishes a command for a member by its guids and returns its result.
func (r *Rig) Refresh(k events.Key) events.Result {
	r.tb.Helper()
	return r.Do(events.Command{User: k.User(), Member: k.Member()})
}

// Do publishes a command and returns its result.
func (r *Rig) Do(c events.Command) events.Result {
	r.tb.Helper()
	id := r.Publish(c)
	if c.CommandID != "" {
		return r.Result(c.CommandID)
	}
	return r.Result(decimal(id))
}

// results collects the results that were sent.
type results struct {
	mu   sync.Mutex
	all  map[string][]events.Result
	news chan struct{} // closed and replaced when one arrives
}

func listen(tb testing.TB, nc *nats.Conn, s events.Subjects) *results {
	tb.Helper()
	r := &results{all: make(map[string][]events.Result), news: make(chan struct{})}
	if _, err := nc.Subscribe(s.Results(), func(m *nats.Msg) {
		got, err := events.DecodeResult(m.Data)
		if err != nil {
			tb.Errorf("result on %s: %v", m.Subject, err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all[got.CommandID] = append(r.all[got.CommandID], got)
		close(r.news)
		r.news = make(chan struct{})
	}); err != nil {
		tb.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
	return r
}
