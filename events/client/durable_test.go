package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

func newData(previous string, changed ...string) (d events.Data) {
	if err := json.Unmarshal([]byte(previous), &d.Previous); err != nil {
		panic(err)
	}
	d.Changed = changed
	return d
}

func ignore(context.Context, client.Delivery) error { return nil }

func TestSubscriptionNamesEverythingThatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.client.Subscribe(t.Context(), client.Subscription{
		Durable: "a.b", Concurrency: -1, Window: -1, Memory: -1,
		On: map[events.Type]client.Handler{"order.created": ignore, events.CommandType: ignore, events.TypeClosed: nil},
	})
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{"a.b", "concurrency", "window", "memory", "order.created", "member.refresh", "member.closed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s: %v", want, err)
		}
	}
	if _, err := w.client.Subscribe(t.Context(), client.Subscription{Durable: "none"}); err == nil {
		t.Error("a subscription without a handler was accepted")
	}
}

func TestMissingStreamOrDurableIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := client.Subscription{Durable: "test", Otherwise: ignore}
	elsewhere, err := client.New(w.nc, "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Subscribe(t.Context(), s); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("without a stream: %v", err)
	}
	s.BindOnly = true
	if _, err := w.client.Subscribe(t.Context(), s); !errors.Is(err, client.ErrNoDurable) {
		t.Errorf("without a durable: %v", err)
	}
	if _, err := client.New(w.nc, "a.b"); err == nil {
		t.Error("a bad prefix is accepted")
	}
}

func TestOperatorsDurableIsUsedAsItIs(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	cons := w.durable(jetstream.ConsumerConfig{FilterSubject: "mx.events.member.closed.*.*", AckWait: time.Minute})
	before := cons.CachedInfo().Config
	w.happen(events.TypeClosed, member(1), 1)
	w.run(client.Subscription{BindOnly: true, On: map[events.Type]client.Handler{events.TypeClosed: j.handle}})
	j.await(t, 1)
	for _, bindOnly := range []bool{true, false} {
		_, err := w.client.Subscribe(t.Context(), client.Subscription{Durable: "test", BindOnly: bindOnly, On: map[events.Type]client.Handler{
			events.TypeClosed: ignore, events.TypeDenied: ignore,
		}})
		if !errors.Is(err, client.ErrDurable) || !strings.Contains(err.Error(), "member.denied") {
			t.Errorf("BindOnly %v: a type that it lacks gives %v", bindOnly, err)
		}
	}
	info, err := cons.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, info.Config); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
}

func TestDurableThatLosesEventsIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for want, c := range map[string]jetstream.ConsumerConfig{
		"ack policy": {AckPolicy: jetstream.AckNonePolicy},
		"explicit":   {AckPolicy: jetstream.AckAllPolicy},
		"deliver -1": {AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 10},
		"bodies":     {AckPolicy: jetstream.AckExplicitPolicy, HeadersOnly: true},
	} {
		c.Durable = strings.ReplaceAll(want, " ", "_")
		if _, err := w.js.CreateConsumer(t.Context(), "MX_EVENTS", c); err != nil {
			t.Fatal(err)
		}
		_, err := w.client.Subscribe(t.Context(), client.Subscription{Durable: c.Durable, BindOnly: true, Otherwise: ignore})
		if !errors.Is(err, client.ErrDurable) || !strings.Contains(err.Error(), want) {
			t.Errorf("want ErrDurable that names %s, got %v", want, err)
		}
	}
}

func TestSequenceOfOneStreamIsNoStartOnTwo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := map[events.Type]client.Handler{events.TypeOAuthRequired: ignore, events.TypeConnected: ignore}
	for name, tc := range map[string]struct {
		s       client.Subscription
		refused bool
	}{
		"two types":     {client.Subscription{Start: client.After(7), On: both}, true},
		"otherwise":     {client.Subscription{Start: client.After(0), On: announcements(ignore), Otherwise: ignore}, true},
		"another-start": {client.Subscription{Start: client.Since(began), On: both}, false},
		"one-stream":    {client.Subscription{Start: client.After(7), On: announcements(ignore)}, false},
	} {
		tc.s.Durable = strings.ReplaceAll(name, " ", "_")
		_, err := w.client.Subscribe(t.Context(), tc.s)
		if refused := err != nil; refused != tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		if tc.refused && (!strings.Contains(err.Error(), "start after sequence") || !strings.Contains(err.Error(), "Since")) {
			t.Errorf("%s: error names neither the field nor what to do: %v", name, err)
		}
	}
}

func announcements(h client.Handler) map[events.Type]client.Handler {
	return map[events.Type]client.Handler{events.TypeOAuthRequired: h}
}

func TestDurableOfTheKitIsWidenedAndNeverNarrowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	filters := func(types ...events.Type) []string {
		t.Helper()
		on := map[events.Type]client.Handler{}
		for _, typ := range types {
			on[typ] = ignore
		}
		if _, err := w.client.Subscribe(t.Context(), client.Subscription{Durable: "test", On: on}); err != nil {
			t.Fatal(err)
		}
		c, err := w.js.Consumer(t.Context(), "MX_EVENTS", "test")
		if err != nil {
			t.Fatal(err)
		}
		return c.CachedInfo().Config.FilterSubjects
	}
	closed, denied := "mx.events.member.closed.*.*", "mx.events.member.denied.*.*"
	filters(events.TypeClosed)
	for _, got := range [][]string{filters(events.TypeClosed, events.TypeDenied), filters(events.TypeDenied)} {
		slices.Sort(got)
		if diff := cmp.Diff([]string{closed, denied}, got); diff != "" {
			t.Errorf("filters (-want +got):\n%s", diff)
		}
	}
	bind := client.Subscription{Durable: "test", BindOnly: true, Otherwise: ignore}
	if _, err := w.client.Subscribe(t.Context(), bind); !errors.Is(err, client.ErrDurable) {
		t.Errorf("one that may only bind: %v", err)
	}
}

func TestNewDurableBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(1), 2)
	w.happen(events.TypeClosed, member(1), 3)
	stream, err := w.js.Stream(t.Context(), "MX_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	second, err := stream.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		start client.Start
		want  []string
	}{
		"beginning": {client.Start{}, []string{"MBR-1/1", "MBR-1/2", "MBR-1/3", "MBR-1/4"}},
		"since":     {client.Since(second.Time), []string{"MBR-1/2", "MBR-1/3", "MBR-1/4"}},
		"after":     {client.After(2), []string{"MBR-1/3", "MBR-1/4"}},
		"last":      {client.LastOfEachType(), []string{"MBR-1/2", "MBR-1/3", "MBR-1/4"}},
		"now":       {client.Now(), []string{"MBR-1/4"}},
	} {
		j := newJournal()
		s := client.Subscription{Durable: name, Start: tc.start, Otherwise: j.handle}
		if _, err := w.client.Subscribe(t.Context(), s); err != nil { // made before the fourth event
			t.Fatal(err)
		}
		defer func() {
			w.run(s)
			if diff := cmp.Diff(tc.want, j.await(t, len(tc.want))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}()
	}
	w.happen(events.TypeDenied, member(1), 4)
}

func TestMirrorCanBeSubscribedTo(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "MX_EVENTS"}}); err != nil {
		t.Fatal(err)
	}
	w.happen(events.TypeConnected, member(1), 1)
	w.run(client.Subscription{Stream: "COPY", Otherwise: j.handle})
	j.await(t, 1)
	w.settled("COPY", "test")
}

func TestMirrorWithOtherSubjectsNeedsAClientOfTheirPrefix(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{
		Name: "MX_EVENTS", SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "mx.>", Destination: "copy.>"}},
	}}); err != nil {
		t.Fatal(err)
	}
	w.happen(events.TypeConnected, member(1), 1)
	s := client.Subscription{Durable: "test", Stream: "COPY", On: map[events.Type]client.Handler{events.TypeConnected: j.handle}}
	if _, err := w.client.Subscribe(t.Context(), s); err == nil || !strings.Contains(err.Error(), "copy.>") {
		t.Errorf("a durable that gets nothing was made: %v", err)
	}
	var err error
	if w.client, err = client.New(w.nc, "copy"); err != nil {
		t.Fatal(err)
	}
	w.run(s)
	j.await(t, 1)
}

func TestAnnouncementsOnAMixedStreamDoNotGoToOtherwise(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	if _, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "COPY", Sources: []*jetstream.StreamSource{{Name: "MX_EVENTS"}, {Name: "MX_OAUTH"}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreateConsumer(t.Context(), "COPY", jetstream.ConsumerConfig{Durable: "test", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.publish(t.Context(), w.event(events.TypePending, member(1), 1).Announcement("https://mxbank.example/a")); err != nil {
		t.Fatal(err)
	}
	w.happen(events.TypePending, member(2), 1)
	w.run(client.Subscription{Stream: "COPY", BindOnly: true, Otherwise: j.handle})
	if got := j.await(t, 1); got[0] != "MBR-2/1" {
		t.Errorf("handled %v", got)
	}
	w.settled("COPY", "test")
	if len(j.come) > 0 {
		t.Error("the announcement was handled")
	}
}

func TestLossOfTheDurableEndsTheSubscription(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	r := w.run(client.Subscription{Otherwise: j.handle})
	j.await(t, 1)
	w.settled("MX_EVENTS", "test")
	if err := w.js.DeleteConsumer(t.Context(), "MX_EVENTS", "test"); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("ended with %v", err)
	}
}

// unpin has the server take the process that works on a pinned durable for gone.
func (w *world) unpin() {
	w.tb.Helper()
	stream, err := w.js.Stream(w.tb.Context(), "MX_EVENTS")
	if err != nil {
		w.tb.Fatal(err)
	}
	if err := stream.UnpinConsumer(w.tb.Context(), "test", "one"); err != nil {
		w.tb.Fatal(err)
	}
}

func TestStandbyWaitsUntilTheOtherIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// The server takes a process for gone by the clock; here it is told instead.
	w.durable(jetstream.ConsumerConfig{
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"one"}, PinnedTTL: time.Hour,
	})
	a, b := newJournal(), newJournal()
	w.happen(events.TypeConnected, member(0), 1)
	first := w.run(client.Subscription{Otherwise: a.handle})
	a.await(t, 1)
	w.run(client.Subscription{Otherwise: b.handle})
	for n := range 20 {
		w.happen(events.TypeConnected, member(n+1), 1)
	}
	a.await(t, 20)
	if len(b.come) > 0 {
		t.Errorf("the one that should wait handled %d events", len(b.come))
	}
	first.stop()
	w.unpin()
	w.happen(events.TypeConnected, member(30), 1)
	b.await(t, 1)
}

func TestStartBesideAProcessThatIsAliveWaitsNoLongerThanItsEventsTake(t *testing.T) {
	t.Parallel()
	w, a, b := newWorld(t), newJournal(), newJournal()
	w.durable(jetstream.ConsumerConfig{AckWait: time.Hour})
	leave := make(chan struct{})
	w.happen(events.TypeConnected, member(1), 1)
	w.run(client.Subscription{Window: 1, Otherwise: func(ctx context.Context, d client.Delivery) error {
		a.note(d)
		select {
		case <-leave:
		case <-ctx.Done():
		}
		return nil
	}})
	a.await(t, 1)
	w.run(client.Subscription{Otherwise: b.handle})
	for n := range 50 {
		w.happen(events.TypeConnected, member(n+2), 1)
	}
	close(leave)
	b.await(t, 1)
}

func TestStandbyMakesADurableForOneProcess(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	w.run(client.Subscription{Standby: true, Otherwise: j.handle})
	j.await(t, 1)
	c, err := w.js.Consumer(t.Context(), "MX_EVENTS", "test")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.CachedInfo().Config; got.PriorityPolicy != jetstream.PriorityPolicyPinned || got.PinnedTTL != 30*time.Second {
		t.Errorf("policy %v, TTL %s", got.PriorityPolicy, got.PinnedTTL)
	}
}

// TestBoundSubscriptionNeedsNoMoreRightsThanDocumented runs one as a user of NATS
// who may do what the package's documentation says and nothing else.
func TestBoundSubscriptionNeedsNoMoreRightsThanDocumented(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Users: []*server.User{
			{Username: "operator", Password: "o"},
			{Username: "notifier", Password: "n", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{
					"$JS.API.CONSUMER.INFO.MX_EVENTS.test", "$JS.API.CONSUMER.MSG.NEXT.MX_EVENTS.test", "$JS.ACK.MX_EVENTS.test.>",
				}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_notifier.>"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	connect := func(options ...nats.Option) *nats.Conn {
		nc, err := nats.Connect(srv.ClientURL(), options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	w, err := build(t.Context(), connect(nats.UserInfo("operator", "o")))
	if err != nil {
		t.Fatal(err)
	}
	w.tb = t
	w.durable(jetstream.ConsumerConfig{})
	w.happen(events.TypeConnected, member(1), 1)
	denied := make(chan error, 10)
	nc := connect(nats.UserInfo("notifier", "n"), nats.CustomInboxPrefix("_INBOX_notifier"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if w.client, err = client.New(nc, events.DefaultPrefix); err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	r := w.run(client.Subscription{BindOnly: true, Otherwise: j.handle})
	j.await(t, 1)
	w.settled("MX_EVENTS", "test")
	r.stop()
	select {
	case err := <-denied:
		t.Error(err)
	default:
	}
}
