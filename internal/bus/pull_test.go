package bus

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// puller returns one for a consumer, which the test's end closes.
func (h *house) puller(stream, durable string, most int) *puller {
	h.t.Helper()
	p, err := newPuller(h.nc, stream, durable, most)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.close)
	return p
}

// pulled takes the next n messages of a consumer.
func (h *house) pulled(stream, durable string, n int) []*nats.Msg {
	h.t.Helper()
	var all []*nats.Msg
	got, err := h.puller(stream, durable, n).pull(n, patience, func(m *nats.Msg) { all = append(all, m) })
	if err != nil || got != n {
		h.t.Fatalf("%d messages of %d, and %v", got, n, err)
	}
	return all
}

// A publisher may give a command any header.
func TestACommandIsNotTakenForWordFromTheServer(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	for _, header := range []nats.Header{
		{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
		{"Status": {"404"}},
		{"Status": {"408"}, "Description": {"Request Timeout"}},
		{"Status": {"409"}, "Description": {"Consumer Deleted"}},
		{"Status": {"409"}, "Description": {"Server Shutdown"}},
		{"Status": {"503"}},
		{"Status": {"ok"}},
	} {
		h.publish(long, "", header)
		j := in.next(t)
		if j.Command.Member != "MBR-1" || j.Deliveries != 1 {
			t.Errorf("%v: job %+v", header, j)
		}
		done(j)
	}
	h.publish("mx.commands.member.refresh", "", nats.Header{"Status": {"404"}})
	h.until("it is a dead letter", func() bool { return h.state("MX_DEADLETTERS").Msgs == 1 })
	if l := h.letters()[0]; l.Category != events.CategoryInvalid {
		t.Errorf("dead letter %+v", l)
	}
	h.until("all are acknowledged", func() bool { return h.commands() == 0 })
}

func TestAPullerPassesWhatComesInTimeAndNoMoreThanAsked(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	p := h.puller("MX_COMMANDS", consumerCommands, 4)
	h.fill(6)
	var last uint64
	take := func(m *nats.Msg) {
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if meta.Sequence.Stream != last+1 {
			t.Errorf("message %d after %d", meta.Sequence.Stream, last)
		}
		last = meta.Sequence.Stream
	}
	for _, want := range []int{4, 2, 0} {
		if got, err := p.pull(4, 50*time.Millisecond, take); got != want || err != nil {
			t.Errorf("%d messages and %v, want %d", got, err, want)
		}
	}
	h.fill(1)
	if got, err := p.pull(1, patience, take); got != 1 || err != nil {
		t.Errorf("%d messages and %v after a time without", got, err)
	}
}

func TestAPullerKeepsWhatHasComeWhileOneTakesItsTime(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	const wait = 20 * time.Millisecond
	h.fill(3)
	slow := true
	p := h.puller("MX_COMMANDS", consumerCommands, 4)
	p.late = wait
	got, err := p.pull(4, wait, func(*nats.Msg) {
		if slow { // as a follow-up does that waits for its time
			slow = false
			<-time.After(3 * wait)
		}
	})
	if got != 3 || err != nil {
		t.Errorf("%d messages of 3, and %v", got, err)
	}
}

func TestAPullerTellsWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	never := func(*nats.Msg) { t.Error("a message") }
	if _, err := h.puller("MX_COMMANDS", "nobody", 1).pull(1, patience, never); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("no consumer: %v", err)
	}
	silent, err := h.peerNC.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.MX_COMMANDS.silent")
	if err == nil {
		err = h.peerNC.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := h.puller("MX_COMMANDS", "silent", 1)
	p.late = time.Millisecond
	if _, err := p.pull(1, time.Millisecond, never); !errors.Is(err, errLate) {
		t.Errorf("a server that says nothing: %v", err)
	}
	asked, err := silent.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	before := h.nc.NumSubscriptions()
	if err := p.renew(); err != nil {
		t.Fatal(err)
	}
	if n := h.nc.NumSubscriptions(); n != before {
		t.Errorf("%d subscriptions, where there were %d", n, before)
	}
	if err := asked.Respond([]byte("too late")); err != nil {
		t.Fatal(err)
	}
	if err := h.peerNC.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pull(1, time.Millisecond, never); !errors.Is(err, errLate) {
		t.Errorf("what belongs to a request of before: %v", err)
	}
}

// asking has somebody pull from a consumer that the test answers for, and returns the
// request and how it ended.
func (h *house) asking(p *puller) (request *nats.Msg, ended chan error) {
	h.t.Helper()
	sub, err := h.peerNC.SubscribeSync(p.next)
	if err == nil {
		err = h.peerNC.Flush()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	ended = make(chan error, 1)
	go func() {
		got, err := p.pull(1, time.Millisecond, func(*nats.Msg) {})
		if err == nil && got == 0 {
			err = errors.New("over, and no message")
		}
		ended <- err
	}()
	request, err = sub.NextMsg(patience)
	if err != nil {
		h.t.Fatal(err)
	}
	return request, ended
}

func TestAPullerWaitsForWhatIsLongOnItsWay(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	request, ended := h.asking(h.puller("MX_COMMANDS", "far", 1))
	<-time.After(glance + glance/2) // as far as a look whether the connection is the same, and beyond
	if err := h.peerNC.PublishMsg(&nats.Msg{Subject: request.Reply, Reply: "settle.far"}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAPullerDoesNotWaitForAConnectionThatIsGone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	p := h.puller("MX_COMMANDS", "far", 1)
	p.late = time.Hour
	_, ended := h.asking(p)
	if err := h.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, errLate) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("still waits")
	}
}

func TestWhatTheServerSaysOfARequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status, description string
		over                bool
		want                error
	}{
		{"100", "Idle Heartbeat", false, nil},
		{"408", "Request Timeout", true, nil},
		{"408", "Interest Expired", true, nil},
		{"503", "", true, nats.ErrNoResponders},
		{"409", "Consumer Deleted", true, jetstream.ErrConsumerDeleted},
		{"409", "Leadership Change", true, jetstream.ErrConsumerLeadershipChanged},
		{"409", "Server Shutdown", true, jetstream.ErrServerShutdown},
	} {
		over, err := word(&nats.Msg{Header: nats.Header{"Status": {c.status}, "Description": {c.description}}})
		if over != c.over || !errors.Is(err, c.want) {
			t.Errorf("%s %s: %t, %v", c.status, c.description, over, err)
		}
	}
	over, err := word(&nats.Msg{Header: nats.Header{"Status": {"409"}, "Description": {"Exceeded MaxWaiting"}}})
	if want := "the server says 409: Exceeded MaxWaiting"; !over || err == nil || err.Error() != want {
		t.Errorf("%t, %v, want %q", over, err, want)
	}
}
