package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

func TestEventsOfAMemberAreHandledInOrder(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	types := []events.Type{events.TypeConnected, events.TypeDisconnected, events.TypeErrorRaised}
	for revision := range uint64(20) {
		for n := range 5 {
			w.happen(types[revision%3], member(n), revision+1)
		}
	}
	var busy [5]atomic.Int32
	w.run(client.Subscription{Otherwise: func(ctx context.Context, d client.Delivery) error {
		n := d.Key.Member()[4] - '0'
		if busy[n].Add(1) > 1 {
			t.Errorf("two events of %s are handled at once", d.Key)
		}
		defer busy[n].Add(-1)
		return j.handle(ctx, d)
	}})
	last := map[string]int{}
	for _, line := range j.await(t, 100) {
		who, revision, _ := strings.Cut(line, "/")
		last[who]++
		if want := jsonNumber(t, revision); last[who] != want {
			t.Errorf("%s came as number %d of its member", line, last[who])
		}
	}
	w.settled("MX_EVENTS", "test")
}

func jsonNumber(t *testing.T, s string) (n int) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMembersAreHandledAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := make(chan struct{})
	done := make(chan string, 2)
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(2), 1)
	w.run(client.Subscription{Otherwise: func(ctx context.Context, d client.Delivery) error {
		if d.Key == member(1) { // it ends only when the other has been handled
			select {
			case <-other:
			case <-ctx.Done():
			}
		}
		done <- d.Key.Member()
		if d.Key == member(2) {
			close(other)
		}
		return nil
	}})
	if got := []string{receive(t, done), receive(t, done)}; !slices.Equal(got, []string{"MBR-2", "MBR-1"}) {
		t.Errorf("handled %v", got)
	}
}

func TestFailingEventHoldsBackItsMemberAndNobodyElse(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	for revision := range uint64(3) {
		w.happen(events.TypeConnected, member(1), revision+1)
		w.happen(events.TypeConnected, member(2), revision+1)
	}
	healed := make(chan struct{})
	retries := make(chan client.Notice, 1000)
	w.run(client.Subscription{
		Attempts: -1,
		Otherwise: func(ctx context.Context, d client.Delivery) error {
			if d.Key == member(1) && d.Data.Revision == 1 {
				select {
				case <-healed:
				default:
					return errUnwell
				}
			}
			return j.handle(ctx, d)
		},
		Notice: func(n client.Notice) {
			if n.Kind != client.Retry {
				return
			}
			select {
			case retries <- n:
			default:
			}
		},
	})
	if diff := cmp.Diff([]string{"MBR-2/1", "MBR-2/2", "MBR-2/3"}, j.await(t, 3)); diff != "" {
		t.Errorf("beside a failing member (-want +got):\n%s", diff)
	}
	if n := receive(t, retries); n.Kind != client.Retry || !errors.Is(n.Err, errUnwell) || n.Delivery.Attempt < 1 || n.Delivery.Key != member(1) {
		t.Errorf("notice of the retry is %+v", n)
	}
	close(healed)
	if diff := cmp.Diff([]string{"MBR-1/1", "MBR-1/2", "MBR-1/3"}, j.await(t, 3)); diff != "" {
		t.Errorf("after it healed (-want +got):\n%s", diff)
	}
	w.settled("MX_EVENTS", "test")
}

func TestRetriesWaitLongerEachTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	var asked []int
	r := w.run(client.Subscription{
		Attempts:  4,
		Backoff:   func(failed int) time.Duration { asked = append(asked, failed); return time.Millisecond },
		Otherwise: func(context.Context, client.Delivery) error { return errUnwell },
	})
	if err := r.wait(); !errors.Is(err, client.ErrStopped) || !errors.Is(err, errUnwell) {
		t.Errorf("ended with %v", err)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, asked); diff != "" {
		t.Errorf("waits asked for (-want +got):\n%s", diff)
	}
}

func TestStopEndsTheSubscriptionAndKeepsTheEvent(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	bad := w.happen(events.TypeDisconnected, member(1), 2)
	w.happen(events.TypeConnected, member(1), 3)
	ill := true
	s := client.Subscription{Otherwise: func(ctx context.Context, d client.Delivery) error {
		if ill && d.ID == bad.ID {
			return client.Permanent(errUnwell)
		}
		return j.handle(ctx, d)
	}}
	err := w.run(s).wait()
	var e *client.EventError
	if !errors.As(err, &e) || !errors.Is(err, client.ErrStopped) || e.Delivery.ID != bad.ID || e.Delivery.Sequence != 2 || e.Attempts != 1 ||
		e.Subject != w.subjects.Event(bad.Type, bad.Key) || e.Stored.IsZero() {
		t.Fatalf("ended with %v (%+v)", err, e)
	}
	ill = false
	w.run(s)
	if diff := cmp.Diff([]string{"MBR-1/1", "MBR-1/2", "MBR-1/3"}, j.await(t, 3)); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

func TestHandlerThatEndsItsGoroutineHasFailedAndNoMore(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	for n := range 2 {
		for revision := range uint64(2) {
			w.happen(events.TypeConnected, member(n), revision+1)
		}
	}
	_, notices := w.watched(client.Subscription{
		Concurrency: 1,
		Otherwise: func(ctx context.Context, d client.Delivery) error {
			if d.Key == member(1) && d.Data.Revision == 1 && d.Attempt < 3 {
				runtime.Goexit()
			}
			return j.handle(ctx, d)
		},
	})
	got := j.await(t, 4)
	if first := slices.Index(got, "MBR-1/1"); first < 0 || first > slices.Index(got, "MBR-1/2") {
		t.Errorf("handled %v", got)
	}
	for attempt := range 2 {
		n := receive(t, notices)
		if n.Kind != client.Retry || n.Delivery.Attempt != attempt+1 || !strings.Contains(n.Err.Error(), "Goexit") {
			t.Errorf("notice is %+v, want attempt %d", n, attempt+1)
		}
	}
}

func TestHandlerThatAlwaysEndsItsGoroutineIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	err := w.run(client.Subscription{Attempts: 2, Otherwise: func(context.Context, client.Delivery) error {
		runtime.Goexit()
		return nil
	}}).wait()
	var e *client.EventError
	if !errors.As(err, &e) || !errors.Is(err, client.ErrStopped) || e.Attempts != 2 {
		t.Errorf("ended with %v", err)
	}
}

func TestEventGivenUpIsKeptAsADeadLetter(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	bad := w.happen(events.TypeDisconnected, member(1), 1)
	w.put(w.subjects.Event(events.TypeConnected, member(2)), "{broken")
	w.happen(events.TypeConnected, member(1), 2)
	dead := time.Date(2026, 3, 14, 12, 0, 0, 0, time.FixedZone("", 3600))
	given := make(chan client.Notice, 10)
	w.run(client.Subscription{
		Attempts: 3, GiveUp: w.client.DeadLetterTo("letters.notifier", func() time.Time { return dead }),
		Otherwise: func(ctx context.Context, d client.Delivery) error {
			if d.ID == bad.ID {
				panic("at the disco")
			}
			return j.handle(ctx, d)
		},
		Notice: func(n client.Notice) {
			if n.Kind == client.GivenUp {
				given <- n
			}
		},
	})
	j.await(t, 1)
	receive(t, given)
	receive(t, given)
	w.settled("MX_EVENTS", "test")
	letters := map[uint64]events.DeadLetter{}
	stream, err := w.js.Stream(t.Context(), "LETTERS")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var l events.DeadLetter
		if err := json.Unmarshal(m.Data, &l); err != nil || m.Subject != "letters.notifier" {
			t.Fatalf("letter %s: %v", m.Data, err)
		}
		letters[l.Sequence] = l
	}
	if len(letters) != 2 {
		t.Fatalf("there are %d letters, want 2: %v", len(letters), letters)
	}
	raw, _ := bad.Encode()
	l := letters[1]
	if l.Category != events.CategoryExhausted || l.Attempts != 3 || !strings.Contains(l.Reason, "at the disco") ||
		string(l.Body) != string(raw) || l.Stream != "MX_EVENTS" || l.Headers["Content-Type"][0] != events.ContentType || !l.DeadAt.Equal(dead) {
		t.Errorf("letter of what failed: %+v", l)
	}
	if l := letters[2]; l.Category != events.CategoryInvalid || string(l.Body) != "{broken" || l.Subject != "mx.events.member.connected.USR-1.MBR-2" {
		t.Errorf("letter of what could not be read: %+v", l)
	}
}

func TestEventIsNotAcknowledgedBeforeItsLetterIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	retried := make(chan error, 1000)
	r := w.run(client.Subscription{
		Attempts: 1, GiveUp: w.client.DeadLetterTo("nowhere", time.Now),
		Otherwise: func(context.Context, client.Delivery) error { return errUnwell },
		Notice: func(n client.Notice) {
			if n.Kind == client.Retry {
				retried <- n.Err
			}
		},
	})
	if err := receive(t, retried); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("giving up failed with %v, want ErrNoStream", err)
	}
	r.stop()
	c, err := w.js.Consumer(t.Context(), "MX_EVENTS", "test")
	if err != nil {
		t.Fatal(err)
	}
	if c.CachedInfo().AckFloor.Stream != 0 {
		t.Error("the event is acknowledged")
	}
}

func TestNoMoreEventsAreInHandThanTheWindow(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	for n := range 40 {
		w.happen(events.TypeConnected, member(n), 1)
	}
	leave, release := gate()
	defer release()
	var running, most atomic.Int32
	w.run(client.Subscription{
		Window: 4, Concurrency: 100,
		Otherwise: func(_ context.Context, d client.Delivery) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			j.note(d)
			<-leave
			return nil
		},
	})
	j.await(t, 4)
	for range 50 { // time enough for more to come, if more may
		if _, err := w.nc.Request("$JS.API.INFO", nil, patience); err != nil {
			t.Fatal(err)
		}
	}
	release()
	j.await(t, 36)
	if n := most.Load(); n > 4 {
		t.Errorf("%d events were in hand, want at most 4", n)
	}
}
