package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// patience ends a broken test, no working one. It is shorter than ackWait, so
// that what comes again only because a settlement was lost counts as lost.
const patience = 15 * time.Second

func identity() Identity {
	return Identity{MXHost: "int-api.mx.com", ClientID: "client", OAuthTTL: 30 * time.Minute, Initial: true}
}

func subjects(tb testing.TB) events.Subjects {
	tb.Helper()
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// A command for a member, with a body or without, and what it may come with.
const (
	plain  = "mx.commands.member.refresh"
	long   = "mx.commands.member.refresh.USR-1.MBR-1"
	body   = `{"user":"USR-1","member":"MBR-1","command_id":"c-1","reason":"why","aggregate":true}`
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// house is a NATS with the topology on it, and one bus.
type house struct {
	*Bus
	t       *testing.T
	servers []*embedded.Server
	peer    jetstream.JetStream // of somebody else's connection
	peerNC  *nats.Conn
}

// newHouse starts as many servers as there are copies.
func newHouse(t *testing.T, c Config) *house {
	t.Helper()
	h := &house{t: t}
	if c.StreamReplicas == 1 {
		h.servers = []*embedded.Server{embeddedtest.Start(t)}
	} else {
		h.servers = embeddedtest.StartCluster(t, c.StreamReplicas)
	}
	h.peerNC = embeddedtest.ConnectAll(t, h.servers)
	h.peer = js(t, h.peerNC)
	if err := NewTopology(h.peer, c, subjects(t), identity()).Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	h.Bus = h.open(c)
	return h
}

// open opens one more bus on the same servers.
func (h *house) open(c Config) *Bus {
	h.t.Helper()
	nc := embeddedtest.ConnectAll(h.t, h.servers, nats.ReconnectBufSize(-1))
	b, err := New(h.t.Context(), nc, c, Options{
		DeleteConfirmAfter: time.Hour, MaxInFlight: 4, Health: noHealth{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(b.Close)
	return b
}

func js(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// state is what the server says of a stream.
func (h *house) state(stream string) jetstream.StreamState {
	h.t.Helper()
	s, err := h.peer.Stream(h.t.Context(), stream)
	if err != nil {
		h.t.Fatal(err)
	}
	return s.CachedInfo().State
}

// publish stores a message as somebody else would.
func (h *house) publish(subject, body string, header nats.Header) uint64 {
	h.t.Helper()
	ack, err := h.peer.PublishMsg(h.t.Context(), &nats.Msg{Subject: subject, Data: []byte(body), Header: header})
	if err != nil {
		h.t.Fatal(err)
	}
	return ack.Sequence
}

// letters returns all dead letters.
func (h *house) letters() []events.DeadLetter {
	h.t.Helper()
	s, err := h.peer.Stream(h.t.Context(), h.subjects.DeadLetterStream())
	if err != nil {
		h.t.Fatal(err)
	}
	var all []events.DeadLetter
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(h.t.Context(), seq)
		if err != nil {
			h.t.Fatal(err)
		}
		var l events.DeadLetter
		if err := json.Unmarshal(m.Data, &l); err != nil {
			h.t.Fatal(err)
		}
		if want := h.subjects.DeadLetter(l.Category); m.Subject != want {
			h.t.Errorf("dead letter on %s, want %s", m.Subject, want)
		}
		all = append(all, l)
	}
	return all
}

// until waits until a condition on the server holds.
func (h *house) until(what string, holds func() bool) {
	h.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			h.t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

type noHealth struct{}

func (noHealth) Set(string, error) {}

// inbox takes jobs as the service would, for the test to settle.
type inbox struct {
	jobs chan *refresh.Job

	mu   sync.Mutex
	flow refresh.Flow
	move chan struct{}
}

func newInbox() *inbox {
	return &inbox{jobs: make(chan *refresh.Job, 10_000), move: make(chan struct{})}
}

func (i *inbox) Submit(j *refresh.Job) { i.jobs <- j }

func (i *inbox) Flow() refresh.Flow {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.flow.Moved = i.move
	return i.flow
}

// set says how things stand from now on.
func (i *inbox) set(f refresh.Flow) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.flow = f
	close(i.move)
	i.move = make(chan struct{})
}

// next returns the next job.
func (i *inbox) next(t *testing.T) *refresh.Job {
	t.Helper()
	select {
	case j := <-i.jobs:
		return j
	case <-time.After(patience):
		t.Fatalf("no job in %s", patience)
		return nil
	}
}

// start runs the bus until the returned function is called, or the test ends.
func (h *house) start(b *Bus, jobs Jobs) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, jobs) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	h.t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
			h.t.Errorf("running the bus: %v", err)
		}
	})
	return stop
}

func key(t *testing.T, member string) events.Key {
	t.Helper()
	k, err := events.NewKey("USR-1", member)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// event is a member's event of some revision.
func event(t *testing.T, k events.Key, revision uint64) *events.Event {
	t.Helper()
	connected := events.StatusConnected
	e := events.New(subjects(t), events.TypeConnected, k, events.Data{
		Member:   events.Member{GUID: k.Member(), UserGUID: k.User(), ConnectionStatus: &connected},
		Revision: revision, ObservedAt: time.Date(2026, 8, 1, 12, 0, 0, int(revision), time.UTC),
	})
	return &e
}

// done settles a job as done.
func done(j *refresh.Job) {
	j.Settle(refresh.Verdict{Disposition: refresh.Done, Result: events.Result{CommandID: j.ID, Outcome: events.OutcomeUnchanged, FinishedAt: time.Now()}})
}

// LockedBuffer may be written to by many. The tests outside this package use it too.
type LockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *LockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *LockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
