package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// story says how much may happen in a schedule.
type story struct {
	name       string
	told       string   // what MX says when the story begins; empty: what is known
	waiting    int      // commands that wait when it begins: the first is for A, the second for B
	status     []string // what MX comes to say, one after the other
	commands   int      // published at any time
	redelivers int      // deliveries of what somebody has in hand: it was silent for an ack wait
	failures   int      // calls that are refused, or done unheard
	strays     int      // writes that are done after their time-out
	crashes    int
	lateReads  bool // MX's answers are heard some time after they were given
	cold       bool // B has not seen the member yet
	followLate bool // events are followed up when the rest is over
	steps      int  // after which the schedule only comes to rest
}

// message is a command, or an event that waits for its follow-up.
type message struct {
	id         string
	followUpOf uint64
	first      *actor // who gets it first; nil: anybody
	deliveries uint64
	done       bool
}

// abroad is a write on its way to the server, given up by who sent it.
type abroad struct {
	name string
	land func()
}

// world is one schedule: a member, two workers, and what is under way. One
// thing happens at a time, and the chooser says which.
type world struct {
	t        *testing.T
	stage    *stage
	story    story
	chooser  chooser
	k        events.Key
	actors   []*actor
	retired  []*actor // that crashed
	messages []*message
	abroad   []abroad
	needs    map[string]*needy // by the id of the announcement
	over     chan struct{}
	landing  bool // what is stored now was given up by who sent it
	changed  bool // MX has changed, and nobody is bound to look
	trace    []string
}

// needy is a need to authorize that an event began.
type needy struct {
	finder    *actor // whose read found it; nil: it gave up publishing it, and left it to the follow-up
	command   string // for which that was
	announced bool
}

func newWorld(t *testing.T, s *stage, st story, c chooser) *world {
	t.Helper()
	w := &world{t: t, stage: s, story: st, chooser: c, needs: make(map[string]*needy), over: make(chan struct{})}
	w.k = s.rig.AddMember(mxsim.Patch{"connection_status": "CONNECTED", "is_oauth": true})
	w.actors = []*actor{w.newActor(0, "A"), w.newActor(1, "B")}
	w.publish("known")
	w.deliver(w.messages[0], w.actors[0])
	w.settleDown()
	if !st.cold {
		w.publish("known-too")
		w.deliver(w.messages[len(w.messages)-1], w.actors[1])
		w.settleDown()
	}
	w.note("-- the story begins")
	if st.told != "" {
		w.changeMX(st.told)
	}
	for i := range st.waiting {
		w.publish(fmt.Sprintf("command-%d", i+1))
		w.messages[len(w.messages)-1].first = w.actors[i%len(w.actors)]
	}
	return w
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// account is all that happened, one line each.
func (w *world) account() string { return "\t" + strings.Join(w.trace, "\n\t") }

// stored notes that an event is on the stream: it will be followed up.
func (w *world) stored(by *actor, e *events.Event, seq uint64) {
	w.note("   stored %s, revision %d, as #%d", e.Type.Token(), e.Data.Revision, seq)
	w.messages = append(w.messages, &message{id: fmt.Sprintf("follow-up of #%d", seq), followUpOf: seq})
	if e.Data.OAuthRequired && slices.Contains(e.Data.Changed, events.FieldOAuthRequired) {
		w.needs[e.Announcement("").ID] = &needy{finder: by, command: e.CorrelationID}
		if w.landing {
			w.needs[e.Announcement("").ID].finder = nil
		}
	}
}

func (w *world) announced(a events.Event) {
	if n := w.needs[a.ID]; n != nil {
		n.announced = true
	}
}

func (w *world) publish(id string) {
	w.note("command %q", id)
	w.messages = append(w.messages, &message{id: id})
	w.changed = false
}

func (w *world) changeMX(status string) {
	w.note("MX says %s", status)
	p := mxsim.Patch{"connection_status": status, "oauth_window_uri": nil}
	if err := w.stage.rig.Sim.Set(w.k.Member(), p); err != nil {
		w.t.Fatal(err)
	}
	// What has yet to be delivered will be served by a read that begins after this.
	w.changed = !slices.ContainsFunc(w.messages, func(m *message) bool { return m.deliveries == 0 })
}

// deliver hands a message to an actor.
func (w *world) deliver(m *message, a *actor) {
	m.deliveries++
	w.note("%s gets %q, delivery %d", a.name, m.id, m.deliveries)
	j := &refresh.Job{
		Ref: m.id, Command: events.Command{User: w.k.User(), Member: w.k.Member()}, ID: m.id,
		Source: refresh.SourceCommand, Lane: refresh.Interactive, Deliveries: m.deliveries,
	}
	if m.followUpOf > 0 {
		j.Key, j.ID, j.FollowUpOf = w.k, "", m.followUpOf
		j.Source, j.Lane = refresh.SourceFollowUp, refresh.Background
	}
	j.Settle = func(v refresh.Verdict) { w.settle(a, m, v) }
	idle := len(a.hand) == 0
	a.hand[m]++
	a.service.Submit(j)
	if idle {
		a.wait()
	}
}

// settle is called by an actor's service, and waits for the scheduler as any
// other call: an acknowledgement can be late, too.
func (w *world) settle(a *actor, m *message, v refresh.Verdict) {
	_, err := pass(a, step{name: fmt.Sprintf("settle %q", m.id), must: true}, nil, nil, func() (none, error) { return none{}, nil })
	if err != nil {
		return // it died with it in hand
	}
	switch v.Disposition {
	case refresh.Done:
		w.checkAnnounced(a, m)
		m.done = true
	case refresh.Retry, refresh.Return:
		w.note("   handed back: %s", v.Reason)
	case refresh.Dead:
		w.t.Errorf("%q became a dead letter: %s\n%s", m.id, v.Reason, w.account())
		m.done = true
	}
	if a.hand[m]--; a.hand[m] == 0 {
		delete(a.hand, m)
	}
	if len(a.hand) == 0 {
		a.rest <- struct{}{}
	}
}

// checkAnnounced is I5: who finds a need announces it before it acknowledges the
// command for which it looked. (Another worker may have got that command, too,
// and be done with what it found itself.)
func (w *world) checkAnnounced(a *actor, m *message) {
	for id, n := range w.needs {
		if n.finder == a && n.command == m.id && m.followUpOf == 0 && !n.announced {
			w.t.Errorf("I5: %q is acknowledged before its need is announced (%s)\n%s", m.id, id, w.account())
		}
	}
}

// held reports whether an actor that lives has m in hand.
func (w *world) held(m *message) bool {
	return slices.ContainsFunc(w.actors, func(a *actor) bool { return a.hand[m] > 0 })
}

// crash ends an actor where it stands. Another takes its place and its connection.
func (w *world) crash(i int) {
	a := w.actors[i]
	w.note("%s dies", a.name)
	a.dead = true
	w.retired = append(w.retired, a)
	w.actors[i] = w.newActor(i, a.name+"'")
}

// move is something that may happen next.
type move struct {
	name string
	do   func()
}

// moves lists what may happen next. Within resting, nothing new and nothing bad.
func (w *world) moves(resting bool) []move {
	var all []move
	may := func(do func(), format string, args ...any) { all = append(all, move{fmt.Sprintf(format, args...), do}) }
	st := &w.story
	for i, a := range w.actors {
		s := a.pending
		if s == nil {
			continue
		}
		may(func() { a.let(goOn) }, "%s: %s", a.name, s.name)
		if resting {
			continue
		}
		if st.failures > 0 && !s.must {
			may(func() { st.failures--; a.let(fail) }, "%s: %s fails", a.name, s.name)
			may(func() { st.failures--; a.let(unheard) }, "%s: %s is done unheard", a.name, s.name)
		}
		if st.strays > 0 && s.write {
			may(func() { st.strays--; a.let(astray) }, "%s: %s goes astray", a.name, s.name)
		}
		if st.crashes > 0 {
			may(func() { st.crashes--; w.crash(i) }, "crash of %s at %s", a.name, s.name)
		}
	}
	for _, m := range w.messages {
		if m.done {
			continue
		}
		again := w.held(m)
		if again && (resting || st.redelivers == 0) || m.followUpOf > 0 && st.followLate && !resting {
			continue
		}
		for _, a := range w.actors {
			if a.hand[m] > 0 || m.deliveries == 0 && m.first != nil && m.first != a {
				continue // it would wait for the same turn; or it is for somebody else
			}
			may(func() {
				if again {
					st.redelivers--
				}
				w.deliver(m, a)
			}, "")
		}
	}
	for i, b := range w.abroad {
		may(func() {
			w.abroad = slices.Delete(w.abroad, i, i+1)
			w.landing = true
			b.land()
			w.landing = false
		}, "%s lands", b.name)
	}
	if resting {
		return all
	}
	if len(st.status) > 0 {
		may(func() { w.changeMX(st.status[0]); st.status = st.status[1:] }, "")
	}
	if st.commands > 0 {
		may(func() { st.commands--; w.publish(fmt.Sprintf("later-%d", len(w.messages))) }, "")
	}
	return all
}

// run lets the story happen, then come to rest.
func (w *world) run() {
	for range w.story.steps {
		all := w.moves(false)
		if len(all) == 0 {
			break
		}
		w.make(all[w.chooser.choose(len(all))])
	}
	for len(w.story.status) > 0 {
		w.changeMX(w.story.status[0])
		w.story.status = w.story.status[1:]
	}
	if w.changed {
		w.publish("last")
	}
	w.note("-- coming to rest")
	w.settleDown()
}

func (w *world) make(m move) {
	if m.name != "" {
		w.note("%s", m.name)
	}
	m.do()
}

// restSteps bounds how long a world may take to come to rest.
const restSteps = 1000

// settleDown lets happen whatever has to until nothing is under way.
func (w *world) settleDown() {
	for range restSteps {
		all := w.moves(true)
		if len(all) == 0 {
			return
		}
		w.make(all[0])
	}
	w.t.Fatalf("no rest after %d steps\n%s", restSteps, w.account())
}

// close ends the schedule: all workers stop, the dead too.
func (w *world) close() {
	close(w.over)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for _, a := range slices.Concat(w.actors, w.retired) {
		_ = a.service.Stop(done) // Nobody waits for what is cut off.
	}
}
