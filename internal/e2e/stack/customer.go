package stack

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/memberwatch/memberwatch/events"
)

// Customer is somebody who publishes commands, follows events by a durable
// consumer of its own, and listens for results. Each message it gets is held
// against its schema. Methods that wait end the test when nothing comes.
type Customer struct {
	*inbox

	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
	durables []jetstream.Consumer
	follows  []jetstream.ConsumeContext
}

// NewCustomer returns a customer who follows the streams of the NATS at url, made
// before by a worker, until [Customer.Leave]. Servers may come and go meanwhile.
func NewCustomer(tb testing.TB, url, name string, v Validator) *Customer {
	tb.Helper()
	must := func(err error) {
		if err != nil {
			tb.Fatalf("customer %s: %v", name, err)
		}
	}
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	must(err)
	nc, err := nats.Connect(url, nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.Timeout(Patience), nats.IgnoreDiscoveredServers(), nats.PingInterval(2*time.Second))
	must(err)
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(err)
	c := &Customer{inbox: newInbox(), nc: nc, js: js, subjects: subjects}
	_, err = nc.Subscribe(subjects.Results(), func(m *nats.Msg) { c.takeResult(m.Subject, m.Data, v) })
	must(err)
	event := func(m jetstream.Msg) { c.takeEvent(m.Subject(), m.Data(), v) }
	for stream, take := range map[string]func(jetstream.Msg){
		subjects.EventStream(): event, subjects.OAuthStream(): event,
		subjects.DeadLetterStream(): func(m jetstream.Msg) {
			var l events.DeadLetter
			err := v.DeadLetter(m.Data())
			if err == nil {
				err = json.Unmarshal(m.Data(), &l)
			}
			c.takeLetter(l, err)
		},
	} {
		cons, err := js.CreateConsumer(tb.Context(), stream, jetstream.ConsumerConfig{
			Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second,
		})
		must(err)
		c.durables = append(c.durables, cons)
		follow, err := cons.Consume(func(m jetstream.Msg) {
			take(m)
			_ = m.Ack() // Unacknowledged it comes again, and is known by its id.
		}, jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second))
		must(err)
		c.follows = append(c.follows, follow)
	}
	must(nc.Flush())
	return c
}

// Leave ends what the customer follows, once all of it has come, and returns what
// it has to complain of. What a server that was killed had sent comes again.
func (c *Customer) Leave(tb testing.TB) []string {
	tb.Helper()
	for _, d := range c.durables {
		Eventually(tb, "all has come that "+d.CachedInfo().Name+" follows on "+d.CachedInfo().Stream, func() bool {
			i, err := d.Info(tb.Context())
			return err == nil && i.NumPending == 0 && i.NumAckPending == 0
		})
	}
	for _, f := range c.follows {
		f.Stop()
		<-f.Closed()
	}
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete()
	return slices.Clone(c.complaints)
}

// Publish sends a message to a stream and returns its sequence there. A server
// that is away is waited for.
func (c *Customer) Publish(tb testing.TB, m *nats.Msg) (sequence uint64) {
	tb.Helper()
	Eventually(tb, "a message on "+m.Subject+" is stored", func() bool {
		ack, err := c.js.PublishMsg(tb.Context(), m)
		if err == nil {
			sequence = ack.Sequence
		}
		return err == nil
	})
	return sequence
}

// Ask sends a request to an endpoint of the service. It returns the refusal, or
// nil with the answer decoded into response unless that is nil.
func (c *Customer) Ask(tb testing.TB, endpoint string, request, response any) *events.APIError {
	tb.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := c.nc.Request(c.subjects.API(endpoint), body, Patience)
	if err != nil {
		tb.Fatalf("asking %s: %v", endpoint, err)
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		return &events.APIError{Code: events.APICode(code), Message: m.Header.Get(micro.ErrorHeader)}
	}
	if response != nil {
		if err := json.Unmarshal(m.Data, response); err != nil {
			tb.Fatalf("answer of %s: %v", endpoint, err)
		}
	}
	return nil
}

// Refresh publishes a command and returns its id.
func (c *Customer) Refresh(tb testing.TB, command events.Command) (id string) {
	tb.Helper()
	body, err := json.Marshal(command)
	if err != nil {
		tb.Fatal(err)
	}
	sequence := c.Publish(tb, &nats.Msg{Subject: c.subjects.Refresh(), Data: body})
	if command.CommandID != "" {
		return command.CommandID
	}
	return strconv.FormatUint(sequence, 10)
}

// RefreshAll publishes a command for each of n, named prefix and number, without
// waiting for one before the next, and returns their ids.
func (c *Customer) RefreshAll(tb testing.TB, prefix string, n int, command func(int) events.Command) (ids []string) {
	tb.Helper()
	acks := make([]jetstream.PubAckFuture, n)
	for i := range n {
		cmd := command(i)
		cmd.CommandID = prefix + "-" + strconv.Itoa(i)
		body, err := json.Marshal(cmd)
		if err != nil {
			tb.Fatal(err)
		}
		if acks[i], err = c.js.PublishAsync(c.subjects.Refresh(), body); err != nil {
			tb.Fatalf("publishing %s: %v", cmd.CommandID, err)
		}
		ids = append(ids, cmd.CommandID)
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			tb.Fatalf("publishing %s: %v", ids[i], err)
		case <-time.After(Patience):
			tb.Fatalf("publishing %s: no answer", ids[i])
		}
	}
	return ids
}

// Result waits for the result of a command.
func (c *Customer) Result(tb testing.TB, id string) (r events.Result) {
	tb.Helper()
	if !c.await(nil, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.results[id]) > 0 {
			r = c.results[id][0]
		}
		return len(c.results[id]) > 0
	}) {
		tb.Fatalf("no result of command %s came", id)
	}
	return r
}

// Results waits until at least n of the commands have a result, and returns how many each has.
func (c *Customer) Results(tb testing.TB, ids []string, n int) map[string]int {
	tb.Helper()
	counts := make(map[string]int)
	if !c.await(nil, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, id := range ids {
			if len(c.results[id]) > 0 {
				counts[id] = len(c.results[id])
			}
		}
		return len(counts) >= n
	}) {
		tb.Fatalf("%d of %d results came, want at least %d", len(counts), len(ids), n)
	}
	return counts
}

// Event waits for the first event of a member that has type t and a revision above after.
func (c *Customer) Event(tb testing.TB, member string, t events.Type, after uint64) (e events.Event) {
	tb.Helper()
	if !c.await(nil, func() (found bool) {
		e, found = c.find(c.events, member, func(e events.Event) bool { return e.Type == t && e.Data.Revision > after })
		return found
	}) {
		tb.Fatalf("no %s after revision %d of member %s came; there are %v", t, after, member, c.History(member))
	}
	return e
}

// Announcement waits for the announcement of a need that began with a member's event of that revision.
func (c *Customer) Announcement(tb testing.TB, member string, revision uint64) (a events.Event) {
	tb.Helper()
	if !c.await(nil, func() (found bool) {
		a, found = c.find(c.announcements, member, func(e events.Event) bool { return e.Data.Revision == revision })
		return found
	}) {
		tb.Fatalf("no announcement for revision %d of member %s came", revision, member)
	}
	return a
}

// DeadLetter waits for the dead letter of the command with that stream sequence.
func (c *Customer) DeadLetter(tb testing.TB, sequence uint64) (l events.DeadLetter) {
	tb.Helper()
	if !c.await(nil, func() (found bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		l, found = c.letters[sequence]
		return found
	}) {
		tb.Fatalf("no dead letter of command %d came", sequence)
	}
	return l
}

// DeadLetters is how many have come.
func (c *Customer) DeadLetters() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.letters)
}

// History is the types of a member's events so far.
func (c *Customer) History(member string) (types []events.Type) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events[member] {
		types = append(types, e.Type)
	}
	return types
}

// Stored is how many events there have been.
func (c *Customer) Stored(tb testing.TB) uint64 {
	tb.Helper()
	s, err := c.js.Stream(tb.Context(), c.subjects.EventStream())
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// Known reports whether every one of members has at least one event.
func (c *Customer) Known(tb testing.TB, members []string) {
	tb.Helper()
	missing := 0
	if !c.await(nil, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		missing = 0
		for _, m := range members {
			if len(c.events[m]) == 0 {
				missing++
			}
		}
		return missing == 0
	}) {
		tb.Fatalf("%d of %d members have no event", missing, len(members))
	}
}
