package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

func TestEventLostWithItsConnectionComesBeforeTheNextOfItsMember(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.durable(jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond})
	far, p := w.through()
	far.run(client.Subscription{Otherwise: func(ctx context.Context, d client.Delivery) error {
		if d.Stale {
			t.Errorf("revision %d is stale", d.Data.Revision)
		}
		return j.handle(ctx, d)
	}})
	w.happen(events.TypeConnected, member(1), 1)
	j.await(t, 1)
	lost := w.event(events.TypeDisconnected, member(1), 2)
	p.swallow(lost.ID)
	w.happen(events.TypeDisconnected, member(1), 2)
	receive(t, p.broken)
	w.happen(events.TypeConnected, member(1), 3)
	if diff := cmp.Diff([]string{"MBR-1/2", "MBR-1/3"}, j.await(t, 2)); diff != "" {
		t.Errorf("handled after the connection broke (-want +got):\n%s", diff)
	}
	w.settled("MX_EVENTS", "test")
}

func TestWhatIsInHandWhenTheConnectionBreaksStaysThereAndHoldsNothingBack(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.durable(jetstream.ConsumerConfig{AckWait: time.Hour}) // what is waited for does not come
	far, p := w.through()
	leave, release := gate()
	defer release()
	far.run(client.Subscription{Otherwise: func(_ context.Context, d client.Delivery) error {
		j.note(d)
		if d.Key == member(1) {
			<-leave
		}
		return nil
	}})
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(1), 2)
	w.happen(events.TypeConnected, member(2), 1)
	j.await(t, 2)
	w.durableIs("test", func(i *jetstream.ConsumerInfo) bool { return i.NumAckPending == 2 }) // no answer is on its way
	w.reconnects(p)
	w.happen(events.TypeConnected, member(2), 2)
	if diff := cmp.Diff([]string{"MBR-2/2"}, j.await(t, 1)); diff != "" {
		t.Errorf("handled after the connection broke (-want +got):\n%s", diff)
	}
	release()
	if diff := cmp.Diff([]string{"MBR-1/2"}, j.await(t, 1)); diff != "" {
		t.Errorf("handled of what was in hand (-want +got):\n%s", diff)
	}
	w.settled("MX_EVENTS", "test")
}

// Two processes on one durable: one hands back an event of a member of which the
// other has handled a later one.
func TestEventOvertakenInAnotherProcessIsHandledAndMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.durable(jetstream.ConsumerConfig{})
	type call struct {
		process int
		d       client.Delivery
	}
	calls, notices := make(chan call, 1000), make(chan client.Notice, 1000)
	leave, release := gate()
	defer release()
	var processes [2]*running
	var failing sync.Map // process: nothing; what fails there
	for i := range processes {
		processes[i] = w.run(client.Subscription{
			Window: 1, Attempts: -1,
			Otherwise: func(_ context.Context, d client.Delivery) error {
				switch {
				case d.Key == member(9):
					calls <- call{i, d}
					<-leave
					return nil
				case d.Data.Revision == 1:
					if who, _ := failing.LoadOrStore("who", i); who == i {
						if d.Attempt == 1 {
							calls <- call{i, d}
						}
						return errUnwell
					}
				}
				calls <- call{i, d}
				return nil
			},
			Notice: func(n client.Notice) {
				if n.Kind == client.Stale {
					notices <- n
				}
			},
		})
	}
	w.durableIs("test", func(i *jetstream.ConsumerInfo) bool { return i.NumWaiting == 2 }) // both ask for events
	w.happen(events.TypeClosed, member(9), 1)
	well := receive(t, calls).process
	w.happen(events.TypeConnected, member(1), 1)
	ill := receive(t, calls).process
	release()
	w.happen(events.TypeDisconnected, member(1), 2)
	if c := receive(t, calls); c.process != well || ill == well || c.d.Data.Revision != 2 {
		t.Fatalf("process %d handles revision %d, want %d, 2", c.process, c.d.Data.Revision, well)
	}
	processes[ill].stop()
	if c := receive(t, calls); c.d.Data.Revision != 1 || !c.d.Stale {
		t.Errorf("handled revision %d, stale %v; want 1, stale", c.d.Data.Revision, c.d.Stale)
	}
	if n := receive(t, notices); n.Delivery.Data.Revision != 1 {
		t.Errorf("noticed revision %d, want 1", n.Delivery.Data.Revision)
	}

	// What is handled late does not make what was handled before it new.
	w.happen(events.TypeDenied, member(1), 2)
	w.happen(events.TypeConnected, member(1), 3)
	if c := receive(t, calls); c.d.Data.Revision != 3 || c.d.Stale {
		t.Errorf("handled revision %d, stale %v; want 3 in its turn", c.d.Data.Revision, c.d.Stale)
	}
	if n := receive(t, notices); n.Delivery.Type != events.TypeDenied {
		t.Errorf("noticed %s, want %s", n.Delivery.Type, events.TypeDenied)
	}
	w.settled("MX_EVENTS", "test")
}

func TestStandbyThatTakesOverPutsInOrderWhatTheOtherLeft(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	other := w.durable(jetstream.ConsumerConfig{
		AckWait:        300 * time.Millisecond,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"one"}, PinnedTTL: time.Hour,
	})
	take := func() jetstream.Msg {
		t.Helper()
		batch, err := other.Fetch(1, jetstream.FetchPriorityGroup("one"))
		if err != nil {
			t.Fatal(err)
		}
		return receive(t, batch.Messages())
	}
	w.happen(events.TypeConnected, member(1), 1)
	if err := take().DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.run(client.Subscription{Otherwise: j.handle})
	w.durableIs("test", func(i *jetstream.ConsumerInfo) bool { return i.NumWaiting == 1 }) // it asks for events
	w.happen(events.TypeConnected, member(1), 2)
	take() // and die
	w.unpin()
	w.happen(events.TypeConnected, member(1), 3)
	if diff := cmp.Diff([]string{"MBR-1/2", "MBR-1/3"}, j.await(t, 2)); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

func TestWhatIsLeftOverFindsRoomHoweverMuchCameSince(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	cons := w.durable(jetstream.ConsumerConfig{AckWait: 300 * time.Millisecond})
	var want []string
	for revision := range uint64(6) {
		w.happen(events.TypeConnected, member(1), revision+1)
		want = append(want, fmt.Sprintf("MBR-1/%d", revision+1))
	}
	batch, err := cons.Fetch(2)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, batch.Messages())
	receive(t, batch.Messages())
	w.run(client.Subscription{Window: 2, Otherwise: j.handle})
	if diff := cmp.Diff(want, j.await(t, len(want))); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

func TestNewerIsWhatAHigherRevisionOrANewLifeSays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		revision, known uint64
		observed        time.Time // of the event; what is known was observed when the tests began
		want            bool
	}{
		"the next revision":          {3, 2, began.Add(time.Hour), true},
		"the next, by a slow clock":  {3, 2, began.Add(-time.Second), true},
		"after a gap":                {9, 2, began.Add(time.Hour), true},
		"the same":                   {2, 2, began, false},
		"an earlier one":             {2, 3, began.Add(-time.Hour), false},
		"a later look, nothing new":  {2, 2, began.Add(time.Hour), false},
		"a new life":                 {1, 7, began.Add(time.Hour), true},
		"the beginning of that life": {1, 7, began.Add(-time.Hour), false},
		"the first, told twice":      {1, 1, began, false},
	} {
		d := client.Delivery{Event: events.Event{Data: events.Data{Revision: tc.revision, ObservedAt: tc.observed}}}
		if got := d.Newer(tc.known, began); got != tc.want {
			t.Errorf("%s: newer is %v, want %v", name, got, tc.want)
		}
		if !d.Newer(0, time.Time{}) {
			t.Errorf("%s is no news to who knows nothing", name)
		}
	}
}
