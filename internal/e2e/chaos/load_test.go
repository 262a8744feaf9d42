package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// Streams and subjects of the installation, as the contract has them.
const (
	commandStream = "MX_COMMANDS"
	eventStream   = "MX_EVENTS"
	refresh       = "mx.commands.member.refresh"
)

const (
	period = 200 * time.Millisecond // of a round of changes and commands
	answer = time.Second            // how long a publisher waits for one
)

// load changes members and has them refreshed, round after round, until it is
// stopped. A command that was not acknowledged is sent again, as any publisher
// would: what the service promises begins with the acknowledgement.
type load struct {
	sim     *stack.Sim
	nc      *nats.Conn
	js      jetstream.JetStream
	rng     *rand.Rand
	backlog uint64 // commands waiting above which no more changes are made

	members []mxsim.Ref // changed half at a time, by what MX is
	single  []mxsim.Ref // changed one by one, in every way
	deleted string      // one of single, while it is

	began   time.Time
	after   uint64 // last event before
	stop    context.CancelFunc
	done    sync.WaitGroup
	err     error
	sent    atomic.Int64
	refused atomic.Int64
}

// size of a load.
type size struct {
	members int
	backlog uint64
	beside  func(context.Context, *load) // goes on as long as the load; nil: nothing
}

// startLoad begins a load with members of its own. A worker must have run before.
func startLoad(t *testing.T, s stack.Stack, rng *rand.Rand, n size) *load {
	t.Helper()
	nc, err := nats.Connect(s.NATS(), nats.Name("load"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.IgnoreDiscoveredServers(), nats.PingInterval(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	// An answer that never comes must not hold up others: the client has only so many outstanding.
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(answer))
	if err != nil {
		t.Fatal(err)
	}
	l := &load{sim: s.Sim(), nc: nc, js: js, rng: rng, backlog: n.backlog}
	user := s.Sim().AddUser(t, "")
	for range 20 {
		m := s.Sim().AddMember(t, user, mxsim.Patch{"is_oauth": true})
		l.single = append(l.single, mxsim.Ref{UserGUID: user, GUID: m.GUID})
	}
	s.Sim().AddBulk(t, n.members)
	l.members = s.Sim().Members(t) // in the order of creation, by which halves are told
	l.began, l.after = time.Now(), l.last(t)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l.stop = stop
	l.done.Go(func() { l.err = l.run(ctx) })
	if n.beside != nil {
		l.done.Go(func() { n.beside(ctx, l) })
	}
	t.Cleanup(func() { stop(); l.done.Wait() })
	return l
}

// last is the sequence of the last event.
func (l *load) last(t *testing.T) uint64 {
	t.Helper()
	var last uint64
	stack.Eventually(t, "the event stream answers", func() bool {
		s, err := l.js.Stream(t.Context(), eventStream)
		if err == nil {
			last = s.CachedInfo().State.LastSeq
		}
		return err == nil
	})
	return last
}

// flows returns once an event is stored that was not there when it was called.
func (l *load) flows(t *testing.T) {
	t.Helper()
	before := l.last(t)
	stack.Eventually(t, "events flow", func() bool { return l.last(t) > before })
}

// end stops the load once every command was acknowledged.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.done.Wait()
	if l.err != nil {
		t.Fatalf("load: %v", l.err)
	}
}

func (l *load) run(ctx context.Context) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	var unsent []*nats.Msg
	for _, m := range l.members { // at first everybody is made known
		unsent = append(unsent, l.command(m, events.Command{}))
	}
	for ctx.Err() == nil {
		commands := unsent
		if l.waiting(context.WithoutCancel(ctx)) <= l.backlog {
			fresh, err := l.change(context.WithoutCancel(ctx))
			if err != nil {
				return err
			}
			commands = append(commands, fresh...)
		}
		unsent = l.publish(ctx, commands)
		if err := l.sim.Collect(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	for end := time.Now().Add(stack.Patience); len(unsent) > 0; <-tick.C {
		if unsent = l.publish(ctx, unsent); time.Now().After(end) {
			return fmt.Errorf("%d commands were not acknowledged in %s", len(unsent), stack.Patience)
		}
	}
	return nil
}

// waiting is how many commands wait to be done; while nobody can tell, none.
func (l *load) waiting(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	// Not what the stream holds: a nats-server that was killed keeps commands that were done.
	c, err := l.js.Consumer(ctx, commandStream, "memberwatch")
	if err != nil {
		return 0
	}
	i := c.CachedInfo()
	return i.NumPending + uint64(i.NumAckPending)
}

// change does a round's changes, and returns the commands by which the service will see them.
func (l *load) change(ctx context.Context) (commands []*nats.Msg, err error) {
	states := []string{"DEGRADED", "DISCONNECTED", "CHALLENGED", "DENIED", "IMPEDED", "LOCKED", "EXPIRED", "PENDING"}
	half := l.rng.IntN(2)
	flip := mxsim.Flip{To: states[l.rng.IntN(len(states))], Half: uint(half)}
	if err := l.sim.Ask(ctx, http.MethodPost, "flip", flip, nil); err != nil {
		return nil, err
	}
	for i := half; i < len(l.members); i += 2 {
		for range 1 + l.rng.IntN(8)/7 { // one in eight twice: two reads of a member that overlap
			commands = append(commands, l.command(l.members[i], events.Command{}))
		}
	}
	for range 1 + l.rng.IntN(3) {
		more, err := l.changeOne(ctx, l.single[l.rng.IntN(len(l.single))])
		if err != nil {
			return nil, err
		}
		commands = append(commands, more...)
	}
	l.rng.Shuffle(len(commands), func(i, j int) { commands[i], commands[j] = commands[j], commands[i] })
	return commands, nil
}

// changeOne does to a member what happens to members.
func (l *load) changeOne(ctx context.Context, m mxsim.Ref) ([]*nats.Msg, error) {
	var method, path string
	var body any
	command := events.Command{Reason: "load"}
	times := 1
	switch draw := l.rng.IntN(40); {
	case draw < 10:
		method, body = http.MethodPatch, mxsim.Patch{"name": fmt.Sprintf("Bank %d", l.rng.IntN(5))}
	case draw < 16:
		method, body = http.MethodPatch, mxsim.Patch{"error": map[string]any{"error_code": 1000 + l.rng.IntN(3)}}
	case draw < 20:
		method, body = http.MethodPatch, mxsim.Patch{"error": nil}
	case draw < 26:
		method, body = http.MethodPatch, mxsim.Patch{"connection_status": "PENDING"}
	case draw < 32:
		method, path, body = http.MethodPost, "/authorize", map[string]string{}
	case draw < 36:
		command.Aggregate = true
	case draw < 39:
		times = 30 // a burst
	case l.deleted == "":
		method, l.deleted = http.MethodDelete, m.GUID
	default:
		method, path, m.GUID = http.MethodPost, "/restore", l.deleted
		l.deleted = ""
	}
	if method != "" {
		// Refused where it does not fit what the member is; nothing is changed then.
		if err := l.sim.Ask(ctx, method, "members/"+m.GUID+path, body, nil); err != nil && !strings.Contains(err.Error(), "status 4") {
			return nil, err
		}
	}
	var commands []*nats.Msg
	for range times {
		commands = append(commands, l.command(m, command))
	}
	return commands, nil
}

// command asks for a refresh of m in one of the forms there are.
func (l *load) command(m mxsim.Ref, c events.Command) *nats.Msg {
	if c == (events.Command{}) && l.rng.IntN(2) == 0 {
		return &nats.Msg{Subject: refresh + "." + m.UserGUID + "." + m.GUID}
	}
	c.User, c.Member = m.UserGUID, m.GUID
	body, err := json.Marshal(c)
	if err != nil {
		panic(err) // a struct of texts
	}
	return &nats.Msg{Subject: refresh, Data: body}
}

// publish sends commands, and returns those that were not acknowledged.
func (l *load) publish(ctx context.Context, commands []*nats.Msg) (unsent []*nats.Msg) {
	acks := make([]jetstream.PubAckFuture, len(commands)) // nil: could not even be sent
	for i, m := range commands {
		// A copy: the client gives a message that it sends a reply subject.
		if ack, err := l.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Data: m.Data}); err == nil {
			acks[i] = ack
		}
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), answer)
	defer cancel()
	for i, ack := range acks {
		if acknowledged(limit, ack) {
			l.sent.Add(1)
			continue
		}
		l.refused.Add(1)
		unsent = append(unsent, commands[i])
	}
	return unsent
}

// acknowledged waits for the answer to a command.
func acknowledged(ctx context.Context, ack jetstream.PubAckFuture) bool {
	if ack == nil {
		return false
	}
	select {
	case <-ack.Ok():
		return true
	case err := <-ack.Err():
		return err == nil
	case <-ctx.Done():
		return false
	}
}

// pause is the longest time between two events that were stored one after the other
// while the load went on, up to the event with sequence end.
func (l *load) pause(t *testing.T, end uint64) (longest time.Duration) {
	t.Helper()
	if end <= l.after {
		return time.Since(l.began)
	}
	var messages jetstream.MessagesContext
	stack.Eventually(t, "the event stream can be read", func() bool {
		c, err := l.js.OrderedConsumer(t.Context(), eventStream, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: l.after + 1, HeadersOnly: true,
		})
		if err == nil {
			messages, err = c.Messages(jetstream.PullMaxMessages(4000))
		}
		return err == nil
	})
	defer messages.Stop()
	before := l.began
	for {
		m, err := messages.Next(jetstream.NextMaxWait(stack.Patience))
		var meta *jetstream.MsgMetadata
		if err == nil {
			meta, err = m.Metadata()
		}
		if err != nil {
			t.Fatalf("reading times of events: %v", errors.Join(err, t.Context().Err()))
		}
		longest = max(longest, meta.Timestamp.Sub(before))
		before = meta.Timestamp
		if meta.Sequence.Stream >= end {
			return longest
		}
	}
}

// of makes commands for refs, again from the first after the last.
func of(refs []mxsim.Ref) func(int) events.Command {
	return func(i int) events.Command {
		r := refs[i%len(refs)]
		return events.Command{User: r.UserGUID, Member: r.GUID}
	}
}
