package faults

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// Times of a case: real ones, shortened.
const (
	ackWait      = 500 * time.Millisecond
	followAfter  = 50 * time.Millisecond
	confirmAfter = 100 * time.Millisecond
)

// ground is a server on which installations stand side by side, each by its
// prefix. One that a case has left in order is used by a later case, for members
// of its own: streams cost more than anything else here.
type ground struct {
	srv      *embedded.Server
	js       jetstream.JetStream
	free     chan string
	building chan struct{} // holds one for each case that is setting up: a server makes few streams at a time
	built    atomic.Int64
	cases    atomic.Uint64
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{srv: embeddedtest.Start(t), free: make(chan string, 1000), building: make(chan struct{}, 4)}
	var err error
	if g.js, err = jetstream.New(embeddedtest.Connect(t, g.srv)); err != nil {
		t.Fatal(err)
	}
	return g
}

// take returns the prefix of an installation that nobody uses.
func (g *ground) take(t *testing.T) string {
	t.Helper()
	var prefix string
	select {
	case prefix = <-g.free:
	default:
		prefix = fmt.Sprintf("f%d", g.built.Add(1))
	}
	t.Cleanup(func() {
		if !t.Failed() {
			g.free <- prefix
		}
	})
	return prefix
}

// shorten has what is in hand come again after ackWait, until the test's end:
// the next start insists on what the service sets.
func (g *ground) shorten(t *testing.T, s events.Subjects) {
	t.Helper()
	for stream, durable := range map[string]string{
		s.CommandStream(): "memberwatch", s.BackgroundStream(): "memberwatch-background", s.EventStream(): "memberwatch-follow",
	} {
		c, err := g.js.Consumer(t.Context(), stream, durable)
		if err != nil {
			t.Fatal(err)
		}
		was := c.CachedInfo().Config
		short := was
		short.AckWait = ackWait
		if _, err := g.js.UpdateConsumer(t.Context(), stream, short); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := g.js.UpdateConsumer(context.Background(), stream, was); err != nil {
				t.Error(err)
			}
		})
	}
}

// site is an installation in which one fault strikes the first worker.
type site struct {
	*refreshtest.Rig
	t       *testing.T
	trap    *trap
	poison  atomic.Bool
	k       events.Key
	other   events.Key // a member that is always well
	letters int        // that were there before
}

// newSite puts an installation up on g, in which both members are known.
func newSite(t *testing.T, g *ground, e effect, k kind, p plot) *site {
	t.Helper()
	prefix := g.take(t)
	s := &site{t: t, trap: newTrap(prefix)}
	g.building <- struct{}{}
	built := sync.OnceFunc(func() { <-g.building })
	defer built()
	s.Rig = refreshtest.New(t, refreshtest.Options{
		Servers: []*embedded.Server{g.srv}, Workers: -1,
		Sim: func(c *mxsim.Config) { c.Seed = g.cases.Add(1) }, // guids that no other case has
		Bus: func(c *bus.Config) { c.SubjectPrefix, c.FollowUpAfter = prefix, followAfter },
		Refresh: func(c *refresh.Config) {
			c.DeleteConfirmAfter = confirmAfter
			if p == comeback {
				c.DeleteConfirmAfter = 20 * time.Second // it has to be pending still when the member is back
			}
			if e == load || e == look {
				c.StateCache = 0
			}
		},
		Wrap: func(worker int, d *refresh.Deps) {
			t := s.trap
			if worker > 0 {
				t = newTrap(prefix) // that is never set
			}
			t.spoil(d, &s.poison)
		},
		Jobs: func(worker int, service *refresh.Service) bus.Jobs {
			if worker > 0 {
				return service
			}
			return trappedJobs{service, s.trap}
		},
		Connect: func(worker int) []nats.Option {
			if worker > 0 {
				return nil
			}
			return []nats.Option{nats.SetCustomDialer(s.trap.wire)}
		},
	})
	if k != "" && (e != deadLetter || k != lostRequest) {
		g.shorten(t, s.Subjects) // else the command would come again before the dead letter is given up
	}
	s.StartWorker()
	built()
	s.other = s.AddMember(mxsim.Patch{"connection_status": "CONNECTED"})
	s.k = s.AddMember(mxsim.Patch{"connection_status": "CONNECTED", "is_oauth": p == need})
	s.command("first-other", s.other)
	s.command("first", s.k)
	quiet(t, s.Rig)
	s.handsFree()
	s.letters = len(s.DeadLetters())
	return s
}

func (s *site) command(id string, k events.Key) {
	s.t.Helper()
	s.Publish(events.Command{User: k.User(), Member: k.Member(), CommandID: id})
}

// prepare brings the member to where the plot begins.
func (s *site) prepare(p plot) {
	s.t.Helper()
	if p != comeback {
		return
	}
	if err := s.Sim.Delete(s.k.Member()); err != nil {
		s.t.Fatal(err)
	}
	s.command("suspects", s.k)
	s.Result("suspects")
	s.handsFree()
}

// handsFree waits until the first worker has nothing in hand, not even what came
// to it twice because the machine was slow: a read for that could serve the
// command before the trap is set for it.
func (s *site) handsFree() {
	s.t.Helper()
	if !eventually(func() bool {
		return s.Messages(s.Subjects.CommandStream()) == 0 && s.Workers[0].Service.Flow().Hand == 0
	}) {
		s.t.Fatal("the worker keeps something in hand")
	}
}

// happen is what happens at MX before the command comes.
func (s *site) happen(p plot) {
	s.t.Helper()
	switch p {
	case change:
		s.Set(s.k, mxsim.Patch{"connection_status": "DEGRADED"})
	case noChange:
	case need:
		s.Set(s.k, mxsim.Patch{"connection_status": "PENDING", "oauth_window_uri": nil})
	case deletion:
		if err := s.Sim.Delete(s.k.Member()); err != nil {
			s.t.Fatal(err)
		}
	case comeback:
		if err := s.Sim.Restore(s.k.Member()); err != nil {
			s.t.Fatal(err)
		}
	case journey:
		s.Set(s.k, mxsim.Patch{"connection_status": "DELAYED"})
	}
}

// arrive has a member that is on its way settle at MX, and waits until the
// service has found that by itself: no command says so.
func (s *site) arrive(p plot) {
	s.t.Helper()
	if p != need && p != journey {
		return
	}
	seen := s.Reads(s.k)
	if !eventually(func() bool { return s.Reads(s.k) > seen }) { // one that finds it on its way still
		s.t.Fatal("the member is not followed")
	}
	s.Set(s.k, mxsim.Patch{"connection_status": "CONNECTED"})
	if !eventually(func() bool {
		all := s.Events(s.k)
		return all[len(all)-1].Type == events.TypeConnected
	}) {
		s.t.Fatal("nobody looked until the member had settled")
	}
	quiet(s.t, s.Rig)
}

// moveOn is what happens at MX at the moment the fault strikes.
func (s *site) moveOn(p plot) {
	s.t.Helper()
	switch p {
	case change, noChange, comeback, journey:
		s.Set(s.k, mxsim.Patch{"connection_status": "DISCONNECTED"})
	case need: // another need, right after the first
		s.Set(s.k, mxsim.Patch{"connection_status": "CONNECTED"})
	case deletion:
		if err := s.Sim.Restore(s.k.Member()); err != nil {
			s.t.Fatal(err)
		}
	}
}

// play has the command served, with what its effect needs to take place at all.
func (s *site) play(e effect, p plot) {
	s.t.Helper()
	switch e { //nolint:exhaustive // The others take place by themselves.
	case nak:
		s.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Member: s.k.Member(), Count: 1})
	case deadLetter, term:
		s.poison.Store(true)
	}
	s.happen(p)
	s.command("the-one", s.k)
}

// heal ends what play began, once the dead letter is there.
func (s *site) heal(e effect) {
	s.t.Helper()
	if e != deadLetter && e != term {
		return
	}
	if !eventually(func() bool { return s.Messages(s.Subjects.CommandStream()) == 0 }) || s.buried("the-one") == 0 {
		s.t.Fatal("the command that always panics did not become a dead letter")
	}
	s.poison.Store(false)
	s.command("in-its-place", s.k)
}

// testify gives the evidence without which nobody is declared deleted: MX
// answers for the other member. A worker that remembers others reads one by
// itself; one that has just started, or may remember nobody, cannot.
func (s *site) testify(p plot) {
	s.t.Helper()
	if p != deletion {
		return
	}
	if !eventually(func() bool { return s.Messages(s.Subjects.BackgroundStream()) > 0 || idle(s.t, s.Rig) }) {
		s.t.Fatal("no confirmation was scheduled")
	}
	s.command("evidence", s.other)
}

// bury lets go of whatever is still held, and of the worker that was spoilt.
func (s *site) bury() {
	for _, c := range []chan struct{}{s.trap.moved, s.trap.release, s.trap.buried} {
		open(c)
	}
	s.Workers[0].Kill()
}

// open closes a gate's channel, once.
func open(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// TestEveryEffectTakesPlaceWhereTheMatrixSaysSo counts the effects of a healthy
// run of each plot, so that no cell of the matrix is left out by mistake.
func TestEveryEffectTakesPlaceWhereTheMatrixSaysSo(t *testing.T) {
	g := newGround(t)
	for _, p := range plots() {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			seen := make(map[effect]bool)
			for _, e := range []effect{read, load, nak, deadLetter} { // each needs other surroundings
				s := newSite(t, g, e, "", p)
				s.prepare(p)
				s.trap.arm(e, "")
				s.play(e, p)
				s.heal(e)
				s.testify(p)
				quiet(t, s.Rig)
				s.arrive(p)
				judge(t, s.Rig, s.k)
				for took := range s.trap.taken() {
					seen[took] = true
				}
			}
			want := make(map[effect]bool)
			for _, r := range rows() {
				if slices.Contains(r.plots, p) {
					want[r.effect] = true
				}
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(seen))); diff != "" {
				t.Errorf("effects that take place (-matrix +seen):\n%s", diff)
			}
		})
	}
}

// TestFaultMatrix spoils each side effect in each way in each plot, with MX
// standing still and with MX moving on at that moment, and has the oracle judge
// what is there once all has healed.
func TestFaultMatrix(t *testing.T) {
	g := newGround(t)
	var cases atomic.Int64
	t.Cleanup(func() { t.Logf("%d cases, %d transitions checked", cases.Load(), checked.Load()) })
	for _, r := range rows() {
		for _, k := range r.effect.kinds() {
			for _, p := range r.plots {
				for _, moving := range []bool{false, true} {
					if moving && (r.effect == deadLetter || r.effect == term || r.effect == result) {
						continue // the command is over: a move of MX would be another case
					}
					name := fmt.Sprintf("%s/%s/%s/moving=%t", r.effect, k, p, moving)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						cases.Add(1)
						strike(t, g, r.effect, k, p, moving)
					})
				}
			}
		}
	}
}

func strike(t *testing.T, g *ground, e effect, k kind, p plot, moving bool) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("run it again: go test -run '%s' %s", pattern(t), here)
		}
	})
	s := newSite(t, g, e, k, p)
	t.Cleanup(s.bury)
	s.prepare(p)
	s.trap.arm(e, k)
	s.play(e, p)
	select {
	case <-s.trap.struck:
	case <-time.After(patience):
		t.Fatal("the effect never took place")
	}
	if moving {
		s.moveOn(p)
		s.command("moved", s.k)
	}
	close(s.trap.moved)

	first := s.Workers[0]
	if k.late() {
		first.StopFetching()
	}
	if k.late() || k.died() {
		s.StartWorker()
	}
	s.heal(e)
	s.testify(p)
	quiet(t, s.Rig)
	if k.late() || k == stray {
		close(s.trap.release)
		if k == stray || e.onWire() || e == follow {
			<-s.trap.landed
		}
		if !eventually(func() bool { return first.Service.Flow().Hand == 0 }) {
			t.Fatal("the worker that was stopped never finished what it had in hand")
		}
		quiet(t, s.Rig)
	}
	if !moving {
		s.arrive(p)
	}
	judge(t, s.Rig, s.k)
	s.settled(e, k)
}

// buried is how many dead letters hold a command.
func (s *site) buried(id string) (n int) {
	s.t.Helper()
	for _, l := range s.DeadLetters()[s.letters:] {
		if bytes.Contains(l.Body, []byte(`"`+id+`"`)) {
			n++
		}
	}
	return n
}

// settled checks what the oracle does not see: results and dead letters.
func (s *site) settled(e effect, k kind) {
	s.t.Helper()
	letters := 0
	last := "the-one"
	if e == deadLetter || e == term {
		letters, last = 1, "in-its-place"
	}
	if n := s.buried("the-one"); n != letters {
		s.t.Errorf("%d dead letters of the command, want %d", n, letters)
	}
	// Results are sent once, after the acknowledgement: who dies in between sends none.
	untold := e == result || e == ack && (k == lostAnswer || k == diedAfter)
	if !untold {
		s.Result(last)
	}
}
