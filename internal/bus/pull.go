package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// late is how long after its time a request may stay without an end: as long as any
// other question to NATS may without an answer. With less a slow path would look like a
// server that has forgotten the request, and what it sent would be thrown away on its way.
//
// The price is that a request is made again some seconds later when a server has died
// that kept it, while the connection to another one holds. A heartbeat would tell no
// sooner: what is late is late by the same way, and NATS has none for requests so short.
const late = askTimeout

// glance is the time between looks whether the connection still is the one that a request
// that is late was made on.
const glance = time.Second

// errLate: the server has not told of a request's end. It forgets requests when it
// is restarted, or the connection breaks.
var errLate = errors.New("the server did not answer in time")

// puller asks a consumer for messages, with one request after the other.
//
// It does what the client's Fetch does, save for two things. Fetch takes a message
// that has no body and a header named Status for word from the server, although
// any publisher can store such a command: it would be lost, or end the worker.
// And Fetch has a goroutine and a channel more for messages to pass, and a timer
// for each.
type puller struct {
	nc     *nats.Conn
	next   string // API subject
	most   int
	sub    *nats.Subscription
	in     chan *nats.Msg
	ending *time.Timer

	late time.Duration // see the constant
	left time.Duration // of it, after the next look
	made uint64        // connections before the one that the request was made on
}

// newPuller returns one that asks for up to most messages at a time. It must be closed.
func newPuller(nc *nats.Conn, stream, durable string, most int) (*puller, error) {
	p := &puller{
		nc: nc, next: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + durable, most: most,
		ending: time.NewTimer(0), late: late,
	}
	return p, p.renew()
}

// renew has nothing arrive any more that was asked for before.
func (p *puller) renew() error {
	p.close()
	p.in = make(chan *nats.Msg, p.most+8) // with what the server says beside them
	sub, err := p.nc.ChanSubscribe(p.nc.NewInbox(), p.in)
	if err != nil {
		return fmt.Errorf("subscribing for messages: %w", err)
	}
	p.sub = sub
	return nil
}

func (p *puller) close() {
	p.ending.Stop()
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // fails only where there is nothing left to end
	}
}

// pull asks for n messages and passes those to handle that come within wait. It
// returns when the server has told that no more will, so that none is left over
// for the next request; after an error some may be.
func (p *puller) pull(n int, wait time.Duration, handle func(*nats.Msg)) (got int, err error) {
	p.made = p.nc.Stats().Reconnects
	request := fmt.Appendf(nil, `{"expires":%d,"batch":%d}`, wait.Nanoseconds(), n)
	if err := p.nc.PublishRequest(p.next, p.sub.Subject, request); err != nil {
		return 0, fmt.Errorf("asking for messages: %w", err)
	}
	first := min(glance, p.late)
	p.left = p.late - first
	p.ending.Reset(wait + first)
	for got < n {
		m, err := p.receive()
		if err != nil {
			return got, err
		}
		if m.Reply == "" { // A message of the stream has a subject to settle it at.
			if over, err := word(m); over || err != nil {
				return got, err
			}
			continue
		}
		got++
		handle(m)
	}
	return got, nil
}

// receive returns what comes next. What has come counts, however long it took to
// handle what came before.
func (p *puller) receive() (*nats.Msg, error) {
	select {
	case m := <-p.in:
		return m, nil
	default:
	}
	for {
		select {
		case m := <-p.in:
			return m, nil
		case <-p.ending.C:
			if p.left <= 0 || p.nc.Stats().Reconnects != p.made || !p.nc.IsConnected() {
				return nil, errLate
			}
			next := min(glance, p.left)
			p.left -= next
			p.ending.Reset(next)
		}
	}
}

// word reads what the server says of a request: that it is over, or why it can't
// be answered.
func word(m *nats.Msg) (over bool, err error) {
	status, what := m.Header.Get("Status"), m.Header.Get("Description")
	switch status {
	case "100": // a sign of life
		return false, nil
	case "408": // its time is over
		return true, nil
	case "503":
		return true, nats.ErrNoResponders
	case "409":
		switch what {
		case "Consumer Deleted":
			return true, jetstream.ErrConsumerDeleted
		case "Leadership Change":
			return true, jetstream.ErrConsumerLeadershipChanged
		case "Server Shutdown":
			return true, jetstream.ErrServerShutdown
		}
	}
	return true, fmt.Errorf("the server says %s: %s", status, what)
}
