package client_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

func TestStopWaitsForHandlersAndHandsBackTheRest(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	for revision := range uint64(5) {
		w.happen(events.TypeConnected, member(1), revision+1)
	}
	entered := make(chan struct{})
	leave, release := gate()
	defer release()
	var left atomic.Bool
	r := w.run(client.Subscription{Grace: time.Hour, Otherwise: func(ctx context.Context, d client.Delivery) error {
		close(entered) // and panic, should another event be begun
		<-leave
		if ctx.Err() != nil {
			t.Error("the handler's context ended within its grace")
		}
		left.Store(true)
		return j.handle(ctx, d)
	}})
	receive(t, entered)
	r.cancel()
	select {
	case <-r.ended:
		t.Error("the subscription did not wait for its handler")
	case <-time.After(3 * time.Second): // longer than it takes to end without one
	}
	release()
	r.stop()
	if !left.Load() {
		t.Error("the subscription ended before its handler")
	}
	j.await(t, 1)
	w.run(client.Subscription{Otherwise: j.handle})
	if diff := cmp.Diff([]string{"MBR-1/2", "MBR-1/3", "MBR-1/4", "MBR-1/5"}, j.await(t, 4)); diff != "" {
		t.Errorf("handled afterwards (-want +got):\n%s", diff)
	}
}

func TestGraceEndsTheContextOfHandlersAndIsNoFailureOfTheEvent(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	entered := make(chan struct{})
	r := w.run(client.Subscription{
		Attempts: 1, Grace: time.Millisecond,
		Otherwise: func(ctx context.Context, _ client.Delivery) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		},
	})
	receive(t, entered)
	r.stop()
	w.run(client.Subscription{Otherwise: j.handle})
	j.await(t, 1)
}

// The handler that waits is of the lane that fails, or of the other.
func TestFailureStopsAllLanesAndEndsTheirHandlersAfterTheGrace(t *testing.T) {
	t.Parallel()
	lost := []error{jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound} // while it was asked for events, or before
	for name, tc := range map[string]struct {
		on   events.Type // has the handler that waits
		fail func(*world) error
		want []error // any of them
	}{
		"policy, same lane":  {events.TypeConnected, nil, []error{client.ErrStopped}},
		"policy, other lane": {events.TypeOAuthRequired, nil, []error{client.ErrStopped}},
		"loss, same lane":    {events.TypeConnected, (*world).loseDurable, lost},
		"loss, other lane":   {events.TypeOAuthRequired, (*world).loseDurable, lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			entered := make(chan struct{})
			r := w.run(client.Subscription{Grace: time.Millisecond, On: map[events.Type]client.Handler{
				tc.on: func(ctx context.Context, _ client.Delivery) error {
					close(entered)
					<-ctx.Done()
					return ctx.Err()
				},
				events.TypeClosed: func(context.Context, client.Delivery) error { return client.Permanent(errUnwell) },
				events.TypeDenied: ignore, // the event stream is read in any case
			}})
			w.happen(tc.on, member(1), 1)
			receive(t, entered)
			if tc.fail == nil {
				w.happen(events.TypeClosed, member(2), 1)
			} else if err := tc.fail(w); err != nil {
				t.Fatal(err)
			}
			err := r.wait()
			if !slices.ContainsFunc(tc.want, func(want error) bool { return errors.Is(err, want) }) {
				t.Errorf("ended with %v, want %v", err, tc.want)
			}
		})
	}
}

// loseDurable deletes the durable under a subscription.
func (w *world) loseDurable() error {
	return w.js.DeleteConsumer(w.tb.Context(), w.subjects.EventStream(), "test")
}

// An operator's durable with so short an ack wait that a test can see it pass.
func (w *world) durable(c jetstream.ConsumerConfig) jetstream.Consumer {
	w.tb.Helper()
	c.Durable, c.AckPolicy = "test", jetstream.AckExplicitPolicy
	cons, err := w.js.CreateConsumer(w.tb.Context(), "MX_EVENTS", c)
	if err != nil {
		w.tb.Fatal(err)
	}
	return cons
}

func TestWhatAKilledProcessHadInHandComesFirstAndInOrder(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	cons := w.durable(jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond})
	for revision := range uint64(3) {
		w.happen(events.TypeConnected, member(1), revision+1)
	}
	batch, err := cons.Fetch(2)
	if err != nil {
		t.Fatal(err)
	}
	first := receive(t, batch.Messages())
	receive(t, batch.Messages())
	// The first showed signs of life last: the second will come again before it.
	if err := first.InProgress(); err != nil {
		t.Fatal(err)
	}
	w.happen(events.TypeConnected, member(1), 4)
	w.run(client.Subscription{Otherwise: j.handle})
	if diff := cmp.Diff([]string{"MBR-1/1", "MBR-1/2", "MBR-1/3", "MBR-1/4"}, j.await(t, 4)); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

// signs is what a durable is told about events: answers, and signs of life.
func (w *world) signs() *nats.Subscription {
	w.tb.Helper()
	s, err := w.nc.SubscribeSync("$JS.ACK.MX_EVENTS.test.>")
	if err != nil {
		w.tb.Fatal(err)
	}
	return s
}

func TestServerIsToldOfAnEventInHandAsLongAsItsHandlerTakes(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.durable(jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond})
	signs := w.signs()
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(1), 2)
	leave, release := gate()
	defer release()
	w.run(client.Subscription{Otherwise: func(_ context.Context, d client.Delivery) error {
		j.note(d)
		<-leave
		return nil
	}})
	j.await(t, 1)
	told := map[string]int{} // signs of life by event, the one that waits for its turn included
	for len(told) < 2 || slices.Min(slices.Collect(maps.Values(told))) < 4 {
		m, err := signs.NextMsg(patience)
		if err != nil {
			t.Fatalf("signs of life: %v, then %v", told, err)
		}
		if string(m.Data) != "+WPI" {
			t.Fatalf("the server was told %q", m.Data)
		}
		told[sequenceOf(m.Subject)]++
	}
	release()
	j.await(t, 1)
	w.settled("MX_EVENTS", "test")
	if n := len(j.lines); n != 2 {
		t.Errorf("handlers were called %d times, want 2", n)
	}
}

// sequenceOf returns the stream sequence in the subject of an acknowledgement.
func sequenceOf(subject string) string {
	// $JS.ACK.<stream>.<durable>.<deliveries>.<stream sequence>.…
	return strings.Split(subject, ".")[5]
}

func TestRedeliveryOfAnEventInHandIsNoSecondEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cons := w.durable(jetstream.ConsumerConfig{AckWait: 600 * time.Millisecond})
	signs := w.signs()
	w.happen(events.TypeConnected, member(1), 1)
	later := make(chan struct{})
	leave, release := gate()
	defer release()
	j, notices := w.watched(client.Subscription{Otherwise: func(_ context.Context, d client.Delivery) error {
		if d.Key == member(2) {
			close(later)
		}
		<-leave
		return nil
	}})
	sign, err := signs.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	// Have the server send it again, as if it had missed that sign of life.
	if err := w.nc.Publish(sign.Subject, []byte("-NAK")); err != nil {
		t.Fatal(err)
	}
	for {
		info, err := cons.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.Delivered.Consumer > 1 {
			break
		}
	}
	// What was sent after it has come, so it has come too.
	w.happen(events.TypeConnected, member(2), 1)
	receive(t, later)
	release()
	w.settled("MX_EVENTS", "test")
	if len(notices) > 0 || len(j.come) > 0 {
		t.Errorf("noticed %+v", <-notices)
	}
}

func TestSubscriptionOutlastsAnOutageOfNATSEvenAtItsStart(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	notices := make(chan client.Notice, 1000)
	sub := w.subscribe(client.Subscription{Otherwise: j.handle, Notice: func(n client.Notice) { notices <- n }})
	w.srv.Shutdown()
	r := w.start(sub)
	if n := receive(t, notices); n.Kind != client.Fetching || n.Err == nil {
		t.Errorf("notice is %+v", n)
	}
	srv := embeddedtest.Restart(t, w.srv)
	j.await(t, 1)
	embeddedtest.Restart(t, srv)
	w.await(func() error {
		_, err := w.js.Stream(t.Context(), "MX_EVENTS")
		return err
	})
	w.happen(events.TypeConnected, member(1), 2)
	if diff := cmp.Diff([]string{"MBR-1/2"}, j.await(t, 1)); diff != "" {
		t.Errorf("handled after the outage (-want +got):\n%s", diff)
	}
	r.stop()
}
