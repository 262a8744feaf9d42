package bus

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// quick is a rhythm that no test has to wait for.
var quick = rhythm{first: 10 * time.Millisecond, most: 80 * time.Millisecond, age: 100 * time.Millisecond}

// warden is a NATS whose worker's rights change while it runs.
type warden struct {
	*house
	nats    *server.Server
	options server.Options
	refused *denials
	health  *checks
	heard   *complaints
	log     *LockedBuffer
}

// complaints is a health that counts what it is told of NATS.
type complaints struct {
	*checks
	bad atomic.Int64
}

func (c *complaints) Set(check string, err error) {
	if err != nil && check == CheckNATS {
		c.bad.Add(1)
	}
	c.checks.Set(check, err)
}

// newWarden connects a worker that may do all that may not denies.
func newWarden(t *testing.T, r rhythm, mayNot *server.Permissions, maxSubs int) *warden {
	t.Helper()
	w := &warden{house: &house{t: t}, health: new(checks), log: new(LockedBuffer)}
	w.options = server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), MaxSubs: maxSubs}
	var err error
	if w.nats, err = server.NewServer(w.with(mayNot)); err != nil {
		t.Fatal(err)
	}
	w.nats.Start()
	t.Cleanup(func() { w.nats.Shutdown(); w.nats.WaitForShutdown() })
	if !w.nats.ReadyForConnections(patience) {
		t.Fatal("server does not become ready")
	}
	if w.peerNC, err = nats.Connect(w.nats.ClientURL(), nats.UserInfo("peer", "x")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.peerNC.Close)
	w.peer = js(t, w.peerNC)
	w.heard = &complaints{checks: w.health}
	c := good()
	c.URL = w.nats.ClientURL()
	w.refused = newDenials(r, w.heard, slog.New(slog.NewTextHandler(w.log, nil)))
	nc, err := connect(t.Context(), c, "memberwatch", w.refused, nats.UserInfo("worker", "x"), nats.ReconnectWait(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	w.Bus = &Bus{nc: nc}
	return w
}

// with returns the server's options where the worker may not do something.
func (w *warden) with(mayNot *server.Permissions) *server.Options {
	o := w.options
	o.Users = []*server.User{{Username: "peer", Password: "x"}, {Username: "worker", Password: "x", Permissions: mayNot}}
	return &o
}

// forbid has the worker keep all rights but some.
func (w *warden) forbid(mayNot *server.Permissions) {
	w.t.Helper()
	if err := w.nats.ReloadOptions(w.with(mayNot)); err != nil {
		w.t.Fatal(err)
	}
}

// work opens a bus on the connection, with its topology, and an API.
func (w *warden) work(in Jobs) {
	w.t.Helper()
	if err := NewTopology(w.peer, good(), subjects(w.t), identity()).Ready(w.t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); err != nil {
		w.t.Fatal(err)
	}
	b, err := New(w.t.Context(), w.nc, good(), Options{
		DeleteConfirmAfter: time.Hour, MaxInFlight: 4, Health: noHealth{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Bus = b
	w.t.Cleanup(b.Close)
	w.start(b, in)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	api := NewAPI(b, nil, APIOptions{MaxInHand: 1, Log: slog.New(slog.DiscardHandler)})
	go func() { ended <- api.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("API ended with %v", err)
		}
	})
	w.until("the API answers", w.answers)
}

// answers reports whether the API says that a request is no good.
func (w *warden) answers() bool {
	_, err := w.peerNC.Request(w.subjects.API(events.APIGet), []byte("{"), 100*time.Millisecond)
	return err == nil
}

// readiness is what health was told of NATS last; nil also before anything was.
func (w *warden) readiness() error {
	err, _ := w.health.Load(CheckNATS)
	if err == nil {
		return nil
	}
	return err.(error) //nolint:errcheck // Nothing else is stored.
}

func (w *warden) denied() bool { return errors.Is(w.readiness(), nats.ErrPermissionViolation) }

func TestASubscriptionThatIsRevokedIsMadeAgainWithTheRight(t *testing.T) {
	t.Parallel()
	for name, revoked := range map[string]string{
		"inboxes": "_INBOX_memberwatch.>", "requests": "mx.api.>", "confirmations": "mx.background.at.confirm_deletion.>",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, in := newWarden(t, quick, nil, 0), newInbox()
			w.work(in)
			w.forbid(&server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{revoked}}})
			w.until("readiness knows", w.denied)
			w.forbid(nil)
			w.until("readiness knows that all is well", func() bool { return w.readiness() == nil })
			w.until("the API answers", w.answers)
			w.fill(1)
			done(in.next(t))
			w.until("the command is done", func() bool { return w.commands() == 0 })
			k := key(t, "MBR-9")
			if err := w.peerNC.Publish(w.subjects.BackgroundAt(causeDeletion, k), nil); err != nil {
				t.Fatal(err)
			}
			w.until("a confirmation of another worker is noted", func() bool { return w.Confirmations().Pending(k) })
		})
	}
}

// A worker may lack a right that it can do without for good, and each new connection
// has it forget what it remembers.
func TestARightThatIsNotThereIsNoReasonToReconnect(t *testing.T) {
	t.Parallel()
	w, in := newWarden(t, quick, &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"$SRV.>"}}}, 0), newInbox()
	w.work(in)
	w.until("the right was tried again and again", func() bool { return w.heard.bad.Load() > 9+5*9 }) // nine verbs and names
	if n := w.nc.Stats().Reconnects; n != 0 {
		t.Errorf("reconnected %d times", n)
	}
	if !w.denied() {
		t.Error("ready, although a subscription is missing")
	}
	if n := w.log.count("denies a permission"); n != 9 {
		t.Errorf("said %d times, want each of nine subscriptions once:\n%s", n, w.log)
	}
	w.fill(1)
	done(in.next(t))
}

func TestADeniedPublicationCountsForAWhile(t *testing.T) {
	t.Parallel()
	w := newWarden(t, quick, &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"mx.events.>"}}}, 0)
	if err := w.nc.Publish("mx.events.member.connected.USR-1.MBR-1", nil); err != nil {
		t.Fatal(err)
	}
	w.until("readiness knows", func() bool { return w.heard.bad.Load() > 0 })
	w.until("it counts no longer", func() bool { return w.readiness() == nil })
	if n := w.nc.Stats().Reconnects; n != 0 {
		t.Errorf("reconnected %d times", n)
	}
}

func TestADenialThatCountsNoLongerSaysNothingOfAConnectionThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWarden(t, defaultRhythm(), &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"mx.events.>"}}}, 0)
	if err := w.nc.Publish("mx.events.x", nil); err != nil {
		t.Fatal(err)
	}
	w.until("readiness knows", w.denied)
	w.nats.Shutdown()
	w.until("readiness knows that the connection is gone", func() bool { return w.readiness() != nil && !w.denied() })
	w.refused.expire(w.nc)
	if w.readiness() == nil {
		t.Error("ready without a connection")
	}
}

func TestASubscriptionThatWasOneTooManyIsMadeWhenThereIsRoom(t *testing.T) {
	t.Parallel()
	w := newWarden(t, quick, nil, 2)
	got := make(chan *nats.Msg, 1)
	first, err := w.nc.SubscribeSync("first")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"second", "third"} {
		if _, err := w.nc.ChanSubscribe(s, got); err != nil {
			t.Fatal(err)
		}
	}
	full := func() bool { return errors.Is(w.readiness(), nats.ErrMaxSubscriptionsExceeded) }
	w.until("readiness knows", full)
	w.until("room was looked for again and again", func() bool { return w.heard.bad.Load() > 5 })
	if n := w.nc.Stats().Reconnects; n != 0 {
		t.Errorf("reconnected %d times", n)
	}
	if n := w.log.count("level=WARN"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.log)
	}
	if err := first.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	w.until("readiness knows that all is well", func() bool { return w.readiness() == nil })
	if err := w.peerNC.Publish("third", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-got:
	case <-time.After(patience):
		t.Error("nothing comes")
	}
}
