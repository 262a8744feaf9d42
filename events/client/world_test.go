package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

func TestMain(m *testing.M) {
	embeddedtest.AtOnce(12)
	goleak.VerifyTestMain(m)
}

// patience ends a broken test, no working one.
const patience = time.Minute

var began = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

// world is an installation without its service: the streams, and a test that
// publishes as the service does.
type world struct {
	tb       testing.TB
	srv      *embedded.Server
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
	client   *client.Client
}

// newWorld returns a world of its own, gone when tb ends.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	srv := embeddedtest.Start(tb)
	nc := embeddedtest.Connect(tb, srv)
	w, err := build(tb.Context(), nc)
	if err != nil {
		tb.Fatal(err)
	}
	w.tb, w.srv = tb, srv
	return w
}

// build makes the streams that the service would.
func build(ctx context.Context, nc *nats.Conn) (*world, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		return nil, err
	}
	s := c.Subjects()
	for name, subject := range map[string]string{
		s.EventStream(): s.Events(), s.OAuthStream(): s.OAuth(), s.CommandStream(): s.Commands(), "LETTERS": "letters.>",
	} {
		config := jetstream.StreamConfig{Name: name, Subjects: []string{subject}, MaxMsgsPerSubject: 64}
		if _, err := js.CreateStream(ctx, config); err != nil {
			return nil, err
		}
	}
	return &world{nc: nc, js: js, subjects: s, client: c}, nil
}

// member returns the key of member n.
func member(n int) events.Key {
	k, err := events.NewKey("USR-1", fmt.Sprintf("MBR-%d", n))
	if err != nil {
		panic(err)
	}
	return k
}

// event returns an event as the service makes it.
func (w *world) event(t events.Type, k events.Key, revision uint64) events.Event {
	d := events.Data{
		Member:  events.Member{GUID: k.Member(), UserGUID: k.User()},
		Changed: []string{"connection_status"}, Revision: revision, ObservedAt: began.Add(time.Duration(revision) * time.Minute),
	}
	if revision > 1 {
		d.Previous = map[string]json.RawMessage{"connection_status": json.RawMessage(`"CONNECTED"`)}
	}
	for e := range events.Types() {
		if e.Type == t && e.Status != "" {
			d.Member.ConnectionStatus = new(e.Status)
		}
	}
	return events.New(w.subjects, t, k, d)
}

// publish stores an event and returns its sequence.
func (w *world) publish(ctx context.Context, e events.Event) (uint64, error) {
	b, err := e.Encode()
	if err != nil {
		return 0, err
	}
	subject := w.subjects.Event(e.Type, e.Key)
	if e.Type == events.TypeOAuthRequired {
		subject = w.subjects.OAuthOf(e.Key)
	}
	ack, err := w.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: b, Header: nats.Header{"Content-Type": {events.ContentType}}})
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// happen publishes the event of a change of status.
func (w *world) happen(t events.Type, k events.Key, revision uint64) events.Event {
	w.tb.Helper()
	e := w.event(t, k, revision)
	if _, err := w.publish(w.tb.Context(), e); err != nil {
		w.tb.Fatal(err)
	}
	return e
}

// fill stores n events, of 1,000 members by turns.
func (w *world) fill(n int) {
	w.tb.Helper()
	for i := range n {
		e := w.event(events.TypeConnected, member(i%1000), uint64(i/1000+1))
		raw, err := e.Encode()
		if err != nil {
			w.tb.Fatal(err)
		}
		if _, err := w.js.PublishAsync(w.subjects.Event(e.Type, e.Key), raw); err != nil {
			w.tb.Fatal(err)
		}
	}
	<-w.js.PublishAsyncComplete()
}

// put stores any text on a subject.
func (w *world) put(subject, text string) {
	w.tb.Helper()
	if _, err := w.js.Publish(w.tb.Context(), subject, []byte(text)); err != nil {
		w.tb.Fatal(err)
	}
}

// running is a subscription that runs until the test ends or [running.stop].
type running struct {
	tb     testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// run runs a subscription; what it leaves open is filled in for tests: short
// waits and no notice lost.
func (w *world) run(s client.Subscription) *running {
	w.tb.Helper()
	return w.start(w.subscribe(s))
}

func (w *world) subscribe(s client.Subscription) *client.Subscriber {
	w.tb.Helper()
	if s.Durable == "" {
		s.Durable = "test"
	}
	if s.Backoff == nil {
		s.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	sub, err := w.client.Subscribe(w.tb.Context(), s)
	if err != nil {
		w.tb.Fatal(err)
	}
	return sub
}

func (w *world) start(sub *client.Subscriber) *running {
	ctx, cancel := context.WithCancel(w.tb.Context())
	r := &running{w.tb, cancel, make(chan struct{}), nil}
	go func() {
		defer close(r.ended)
		r.err = sub.Run(ctx)
	}()
	w.tb.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

// wait returns the error that the subscription ended with.
func (r *running) wait() error {
	r.tb.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		r.tb.Fatal("the subscription did not end")
	}
	return r.err
}

func (r *running) stop() {
	r.tb.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.tb.Errorf("the subscription ended with %v", err)
	}
}

// gate is what handlers of a test wait at. Its opening must be deferred: a
// subscription ends only when its handlers have.
func gate() (leave <-chan struct{}, release func()) {
	c := make(chan struct{})
	return c, sync.OnceFunc(func() { close(c) })
}

// receive waits for the next of what comes.
func receive[T any](tb testing.TB, from <-chan T) T {
	tb.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		tb.Fatal("nothing came")
		panic("unreachable")
	}
}

// journal notes what handlers are given, as "member/revision".
type journal struct {
	mu    sync.Mutex
	lines []string
	come  chan string
}

func newJournal() *journal { return &journal{come: make(chan string, 1000)} }

func (j *journal) note(d client.Delivery) {
	line := fmt.Sprintf("%s/%d", d.Key.Member(), d.Data.Revision)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	j.come <- line
}

func (j *journal) handle(_ context.Context, d client.Delivery) error {
	j.note(d)
	return nil
}

// await returns all lines once there are n.
func (j *journal) await(tb testing.TB, n int) []string {
	tb.Helper()
	var got []string
	for range n {
		got = append(got, receive(tb, j.come))
	}
	return got
}

// await waits until f succeeds.
func (w *world) await(f func() error) {
	w.tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			w.tb.Fatal(err)
		}
	}
}

// durableIs waits until the server says so of a durable on the event stream.
func (w *world) durableIs(name string, so func(*jetstream.ConsumerInfo) bool) {
	w.tb.Helper()
	w.await(func() error {
		c, err := w.js.Consumer(w.tb.Context(), w.subjects.EventStream(), name)
		if err != nil {
			return err
		}
		if i := c.CachedInfo(); !so(i) {
			return fmt.Errorf("%s is %+v", name, i)
		}
		return nil
	})
}

// proxy is a way to a server that can break.
type proxy struct {
	net.Listener
	server string
	nc     *nats.Conn // that goes through it

	mu     sync.Mutex
	open   []net.Conn
	breaks []byte // the text at which it breaks
	broken chan struct{}
}

// through returns w as seen by a connection of its own through a proxy.
func (w *world) through() (*world, *proxy) {
	w.tb.Helper()
	l, err := new(net.ListenConfig).Listen(w.tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	p := &proxy{Listener: l, server: strings.TrimPrefix(w.srv.URL(), "nats://"), broken: make(chan struct{}, 1)}
	var serving sync.WaitGroup
	serving.Go(func() { p.serve(&serving) })
	w.tb.Cleanup(func() {
		_ = l.Close()
		p.cut()
		serving.Wait()
	})
	nc, err := nats.Connect("nats://"+l.Addr().String(), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(nc.Close)
	p.nc = nc
	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		w.tb.Fatal(err)
	}
	far := *w
	far.client = c
	return &far, p
}

func (p *proxy) serve(serving *sync.WaitGroup) {
	for {
		near, err := p.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.open = append(p.open, near, far)
		p.mu.Unlock()
		serving.Go(func() { p.pass(far, near) })
		serving.Go(func() { p.pass(near, far) })
	}
}

// pass passes on what comes, up to the text at which the proxy breaks, if it is told one.
func (p *proxy) pass(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		found := p.breaks != nil && bytes.Contains(b[:n], p.breaks)
		if found {
			p.breaks = nil
		}
		p.mu.Unlock()
		if found {
			p.cut()
			p.broken <- struct{}{}
			return
		}
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

// swallow has what holds a text break all connections, in place of being passed on.
func (p *proxy) swallow(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.breaks = []byte(text)
}

// cut breaks all connections; new ones can be made.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// reconnects breaks p's connection and waits until there is another in its place,
// at the server too: to one that it thinks is there it would send, in vain.
func (w *world) reconnects(p *proxy) {
	w.tb.Helper()
	server := w.srv.NATS()
	clients := server.NumClients()
	p.cut()
	w.await(func() error {
		if n := server.NumClients(); p.nc.Stats().Reconnects == 0 || n != clients {
			return fmt.Errorf("reconnected %d times, the server has %d connections", p.nc.Stats().Reconnects, n)
		}
		return nil
	})
}

// settled waits until a durable has nothing left to deliver and nothing unanswered.
func (w *world) settled(stream, durable string) {
	w.tb.Helper()
	w.await(func() error {
		c, err := w.js.Consumer(w.tb.Context(), stream, durable)
		if err != nil {
			return err
		}
		if i := c.CachedInfo(); i.NumPending != 0 || i.NumAckPending != 0 {
			return fmt.Errorf("%s is not settled: %+v", durable, i)
		}
		return nil
	})
}

var errUnwell = errors.New("unwell")
