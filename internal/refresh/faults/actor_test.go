package faults

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// errDead is what the calls of a crashed worker end with, when nobody looks any more.
var errDead = errors.New("the process is dead")

// grant is how a step goes on.
type grant uint8

const (
	goOn    grant = iota // it is done, and answered
	fail                 // it is not done, and fails
	unheard              // it is done, and nobody hears of it
	astray               // it gets no answer, and is done some time later
)

// step is a call of a worker that waits to be let through.
type step struct {
	name  string
	write bool // it can go astray
	must  bool // it cannot fail: it asks nobody
	grant chan grant
}

// actor is a worker whose every call waits for the scheduler. It serves one
// member, so it never has more than one call to make.
type actor struct {
	name    string
	world   *world
	service *refresh.Service
	arrive  chan *step    // a call waits
	rest    chan struct{} // the last job in hand was settled
	end     chan struct{} // closed when the schedule is over: the dead may return
	pending *step         // the call that waits
	hand    map[*message]int
	dead    bool
}

// pass makes a call when the scheduler lets it. do is nil where there is nothing to do.
func pass[T any](a *actor, s step, refusal, silence error, do func() (T, error)) (T, error) {
	var nothing T
	s.grant = make(chan grant)
	select {
	case a.arrive <- &s:
	case <-a.end:
		return nothing, errDead
	}
	var g grant
	select {
	case g = <-s.grant:
	case <-a.end:
		return nothing, errDead
	}
	switch g {
	case fail:
		return nothing, refusal
	case unheard:
		_, _ = do()
		return nothing, silence
	case astray:
		a.world.abroad = append(a.world.abroad, abroad{s.name + " of " + a.name, func() { _, _ = do() }})
		return nothing, silence
	case goOn:
	}
	return do()
}

// actorPorts are an actor's ways into the world.
type actorPorts struct {
	refresh.States
	refresh.Announcements
	refresh.Confirmations
	refresh.MX
	a *actor
}

// Set implements refresh.Health.
func (actorPorts) Set(string, error) {}

// Last implements refresh.States.
func (p actorPorts) Last(ctx context.Context, k events.Key) (events.Event, uint64, error) {
	l, err := pass(p.a, step{name: "load"}, errFault, errFault, func() (lastEvent, error) {
		e, seq, err := p.States.Last(ctx, k)
		return lastEvent{e, seq}, err
	})
	return l.event, l.sequence, err
}

// LastSequence implements refresh.States.
func (p actorPorts) LastID(ctx context.Context, k events.Key) (string, uint64, error) {
	last, err := pass(p.a, step{name: "confirm"}, errFault, errFault, func() (lastID, error) { return lastIDOf(ctx, p.States, k) })
	return last.id, last.seq, err
}

// Append implements refresh.States.
func (p actorPorts) Append(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
	ctx = context.WithoutCancel(ctx)
	return pass(p.a, step{name: "publish " + e.Type.Token(), write: true}, errFault, refresh.ErrOutcomeUnknown, func() (uint64, error) {
		seq, err := p.States.Append(ctx, e, after)
		if err == nil {
			p.a.world.stored(p.a, e, seq)
		}
		return seq, err
	})
}

// Announce implements refresh.Announcements.
func (p actorPorts) Announce(ctx context.Context, e events.Event) error {
	ctx = context.WithoutCancel(ctx)
	_, err := pass(p.a, step{name: "announce", write: true}, errFault, refresh.ErrOutcomeUnknown, func() (none, error) {
		err := p.Announcements.Announce(ctx, e)
		if err == nil {
			p.a.world.announced(e)
		}
		return none{}, err
	})
	return err
}

// Announced implements refresh.Announcements.
func (p actorPorts) Announced(ctx context.Context, e events.Event) (bool, error) {
	return pass(p.a, step{name: "look for announcement"}, errFault, errFault, func() (bool, error) { return p.Announcements.Announced(ctx, e) })
}

// ReadMember implements refresh.MX. Its answer may come late: what MX said then
// and when it is heard are two steps.
func (p actorPorts) ReadMember(ctx context.Context, user, member string) (mx.Member, error) {
	down := mxFailures(mx.OpReadMember)
	m, err := pass(p.a, step{name: "read"}, down.refused, down.unanswered, func() (mx.Member, error) { return p.MX.ReadMember(ctx, user, member) })
	if err == nil && p.a.world.story.lateReads {
		_, err = pass(p.a, step{name: "hear what was read", must: true}, nil, nil, func() (none, error) { return none{}, nil })
	}
	return m, err
}

// OAuthWindowURI implements refresh.MX.
func (p actorPorts) OAuthWindowURI(ctx context.Context, user, member string, o mx.OAuthOptions) (string, error) {
	down := mxFailures(mx.OpOAuthWindowURI)
	return pass(p.a, step{name: "get a URI"}, down.refused, down.unanswered, func() (string, error) { return p.MX.OAuthWindowURI(ctx, user, member, o) })
}

// newActor starts a worker that remembers nothing, on the n-th connection.
func (w *world) newActor(n int, name string) *actor {
	a := &actor{
		name: name, world: w, arrive: make(chan *step), rest: make(chan struct{}), end: w.over,
		hand: make(map[*message]int),
	}
	b := w.stage.rig.Workers[n].Bus
	p := actorPorts{b.States(), b.Announcements(), b.Confirmations(), w.stage.mx, a}
	a.service = refresh.New(refresh.Config{
		OAuthURITTL: 30 * time.Minute, InitialEvents: true, StateCache: 10,
		DeleteConfirmAfter: time.Hour, DeleteLimit: 20, CommandBudget: 24 * time.Hour, ShutdownTimeout: time.Second, MaxInFlight: 8,
	}, refresh.Deps{
		Subjects: w.stage.rig.Subjects, MX: p, States: p, Announcements: p, Confirmations: p, IDs: b.IDs(), Health: p,
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Jitter: func() float64 { return 0.5 },
	})
	return a
}

// wait returns when the actor, which was just let through or given its first
// job, waits to be let through again, or has nothing in hand.
func (a *actor) wait() {
	select {
	case a.pending = <-a.arrive:
	case <-a.rest:
	case <-time.After(patience):
		a.world.t.Fatalf("%s neither goes on nor rests\n%s", a.name, a.world.account())
	}
}

// let lets the waiting call through and waits for what comes next.
func (a *actor) let(g grant) {
	s := a.pending
	a.pending = nil
	s.grant <- g
	a.wait()
}
