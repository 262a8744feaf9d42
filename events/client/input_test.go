package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

// watched runs a subscription to everything that journals what is handled and
// sends on what is noticed about events.
func (w *world) watched(s client.Subscription) (*journal, <-chan client.Notice) {
	w.tb.Helper()
	j, notices := newJournal(), make(chan client.Notice, 1000)
	if s.Otherwise == nil && s.On == nil {
		s.Otherwise = j.handle
	}
	s.Notice = func(n client.Notice) {
		if n.Kind != client.Fetching { // a busy machine's own affair
			notices <- n
		}
	}
	w.run(s)
	return j, notices
}

func TestUnknownTypeGoesToOtherwise(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got := make(chan string, 10)
	to := func(name string) client.Handler {
		return func(_ context.Context, d client.Delivery) error {
			got <- name + " " + string(d.Type)
			return nil
		}
	}
	w.run(client.Subscription{On: map[events.Type]client.Handler{events.TypeConnected: to("on")}, Otherwise: to("otherwise")})
	w.happen("member.quarantined", member(1), 1)
	w.happen(events.TypeConnected, member(1), 2)
	w.happen(events.TypeClosed, member(1), 3)
	for _, want := range []string{"otherwise member.quarantined", "on member.connected", "otherwise member.closed"} {
		if line := receive(t, got); line != want {
			t.Errorf("handled %q, want %q", line, want)
		}
	}
}

func TestTypesWithoutAHandlerAreNotSent(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen("member.quarantined", member(1), 1)
	w.happen(events.TypeClosed, member(1), 2)
	w.happen(events.TypeConnected, member(1), 3)
	w.run(client.Subscription{On: map[events.Type]client.Handler{events.TypeConnected: j.handle}})
	if got := j.await(t, 1); got[0] != "MBR-1/3" {
		t.Errorf("handled %v", got)
	}
	w.settled("MX_EVENTS", "test")
	c, err := w.js.Consumer(t.Context(), "MX_EVENTS", "test")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CachedInfo().Delivered.Consumer; n != 1 {
		t.Errorf("%d events were sent, want 1", n)
	}
}

func TestTypesWithoutAHandlerOnAnOperatorsDurableAreAcknowledged(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeClosed, member(1), 1)
	w.happen(events.TypeConnected, member(1), 2)
	w.run(client.Subscription{On: map[events.Type]client.Handler{events.TypeConnected: j.handle}})
	j.await(t, 1)
	w.settled("MX_EVENTS", "test")
}

func TestAnnouncementsComeOnlyToAHandlerOfTheirOwn(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	e := w.event(events.TypePending, member(1), 1)
	a := e.Announcement("https://mxbank.example/authorize")
	if _, err := w.publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	uris := make(chan string, 1)
	w.run(client.Subscription{
		On: map[events.Type]client.Handler{events.TypeOAuthRequired: func(_ context.Context, d client.Delivery) error {
			uris <- d.Stream + " " + d.Data.OAuthWindowURI
			return nil
		}},
		Otherwise: j.handle,
	})
	if got := receive(t, uris); got != "MX_OAUTH https://mxbank.example/authorize" {
		t.Errorf("announced %q", got)
	}
	w.happen(events.TypePending, member(1), 1)
	j.await(t, 1)
	if _, err := w.js.Consumer(t.Context(), "MX_OAUTH", "test"); err != nil {
		t.Error(err)
	}
	if _, err := w.client.Subscribe(t.Context(), client.Subscription{Durable: "blind", Otherwise: j.handle}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.Consumer(t.Context(), "MX_OAUTH", "blind"); err == nil {
		t.Error("a subscription without a handler for announcements reads their stream")
	}
}

func TestFieldsNewerThanThePackageReachTheHandlerThatAsksForThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw, err := w.event(events.TypeConnected, member(1), 1).Encode()
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(raw), `"data":{`, `"severity":3,"data":{"risk":{"score":0.7},`, 1)
	w.put(w.subjects.Event(events.TypeConnected, member(1)), newer)
	type scored struct {
		Risk   struct{ Score float64 } `json:"risk"`
		Member struct{ GUID string }   `json:"member"`
	}
	got := make(chan scored, 1)
	w.run(client.Subscription{Otherwise: client.As(func(_ context.Context, d client.Delivery, s scored) error {
		if d.Data.Revision != 1 {
			t.Errorf("revision is %d", d.Data.Revision)
		}
		got <- s
		return nil
	})})
	if s := receive(t, got); s.Risk.Score != 0.7 || s.Member.GUID != "MBR-1" {
		t.Errorf("data are %+v", s)
	}
}

func TestDataThatDoNotFitAreGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	type odd struct {
		Revision string `json:"revision"`
	}
	err := w.run(client.Subscription{Otherwise: client.As(func(context.Context, client.Delivery, odd) error {
		t.Error("the handler was called")
		return nil
	})}).wait()
	var e *client.EventError
	if !errors.As(err, &e) || e.Attempts != 1 || !strings.Contains(err.Error(), "revision") {
		t.Errorf("ended with %v", err)
	}
}

func TestBrokenPayloadIsGivenUpAtOnce(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no JSON":      "{",
		"empty":        "",
		"no member":    `{"specversion":"1.0","id":"1","source":"/mx","type":"member.connected","data":{"revision":1}}`,
		"no revision":  `{"specversion":"1.0","id":"1","source":"/mx","type":"member.connected","data":{"member":{"guid":"MBR-1","user_guid":"USR-1"}}}`,
		"next version": `{"specversion":"2.0","id":"1","source":"/mx","type":"member.connected","data":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.put(w.subjects.Event(events.TypeConnected, member(1)), text)
			err := w.run(client.Subscription{Otherwise: func(context.Context, client.Delivery) error {
				t.Error("a handler was called")
				return nil
			}}).wait()
			var e *client.EventError
			if !errors.As(err, &e) || !errors.Is(err, client.ErrStopped) || e.Attempts != 0 || string(e.Delivery.Raw) != text {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestCloudEventOfAnotherKindIsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.subjects.Event(events.TypeConnected, member(1)),
		`{"specversion":"1.0","id":"1","source":"/shop","type":"com.example.order","data":{"revision":[]}}`)
	w.happen(events.TypeConnected, member(1), 1)
	j, notices := w.watched(client.Subscription{})
	if n := receive(t, notices); n.Kind != client.Foreign || !errors.Is(n.Err, events.ErrNotMemberEvent) || n.Delivery.Sequence != 1 {
		t.Errorf("notice is %+v", n)
	}
	j.await(t, 1)
	w.settled("MX_EVENTS", "test")
}

func TestDuplicateIsHandledOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		w.happen(events.TypeConnected, member(1), 1)
	}
	w.happen(events.TypeClosed, member(1), 2)
	j, notices := w.watched(client.Subscription{})
	if diff := cmp.Diff([]string{"MBR-1/1", "MBR-1/2"}, j.await(t, 2)); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
	for _, want := range []uint64{2, 3} {
		if n := receive(t, notices); n.Kind != client.Duplicate || n.Delivery.Sequence != want {
			t.Errorf("notice is %+v, want a duplicate at %d", n, want)
		}
	}
	w.settled("MX_EVENTS", "test")
}

func TestMemoryOfDuplicatesIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.happen(events.TypeConnected, member(1), 1)
	for n := range 3 {
		w.happen(events.TypeConnected, member(n+2), 1)
	}
	w.happen(first.Type, first.Key, 1)
	j, _ := w.watched(client.Subscription{Memory: 2, Concurrency: 1, Window: 1})
	if got := j.await(t, 5)[4]; got != "MBR-1/1" {
		t.Errorf("handled %s last, want the forgotten duplicate", got)
	}
}

func TestStaleEventIsPassedOverOrMarked(t *testing.T) {
	t.Parallel()
	for _, deliver := range []bool{false, true} {
		w := newWorld(t)
		w.happen(events.TypeConnected, member(1), 2)
		w.happen(events.TypeClosed, member(1), 1)
		w.happen(events.TypeDenied, member(1), 2) // the same revision, another event
		w.happen(events.TypeDenied, member(1), 3)
		handled := make(chan client.Delivery, 10)
		_, notices := w.watched(client.Subscription{DeliverStale: deliver, Otherwise: func(_ context.Context, d client.Delivery) error {
			handled <- d
			return nil
		}})
		for _, want := range []events.Type{events.TypeClosed, events.TypeDenied} {
			if n := receive(t, notices); n.Kind != client.Stale || n.Delivery.Type != want {
				t.Errorf("notice is %+v, want %s to be stale", n, want)
			}
		}
		want := map[uint64]bool{1: false, 4: false} // by sequence: stale
		if deliver {
			want[2], want[3] = true, true
		}
		for range len(want) {
			d := receive(t, handled)
			if stale, ok := want[d.Sequence]; !ok || d.Stale != stale {
				t.Errorf("with DeliverStale %v: handled %d, stale %v", deliver, d.Sequence, d.Stale)
			}
		}
		w.settled("MX_EVENTS", "test")
	}
}

func TestNewLifeOfAMemberIsNotStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 7)
	d := w.event(events.TypeCreated, member(1), 1).Data
	d.ObservedAt = began.Add(24 * time.Hour)
	if _, err := w.publish(t.Context(), events.New(w.subjects, events.TypeCreated, member(1), d)); err != nil {
		t.Fatal(err)
	}
	j, _ := w.watched(client.Subscription{})
	if diff := cmp.Diff([]string{"MBR-1/7", "MBR-1/1"}, j.await(t, 2)); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

func TestFormerValueIsReadAsItsType(t *testing.T) {
	t.Parallel()
	d := newData(`{"connection_status":"CONNECTED","name":null,"is_oauth":3}`, "connection_status", "name", "is_oauth", "use_cases")
	if was, changed, err := client.Former[events.Status](d, "connection_status"); was != events.StatusConnected || !changed || err != nil {
		t.Errorf("status was %q, %v, %v", was, changed, err)
	}
	if was, changed, err := client.Former[string](d, "name"); was != "" || !changed || err != nil {
		t.Errorf("name was %q, %v, %v", was, changed, err)
	}
	if was, changed, err := client.Former[[]string](d, "use_cases"); was != nil || !changed || err != nil {
		t.Errorf("use cases were %q, %v, %v", was, changed, err)
	}
	if _, changed, err := client.Former[string](d, "id"); changed || err != nil {
		t.Errorf("id: %v, %v", changed, err)
	}
	if _, changed, err := client.Former[bool](d, "is_oauth"); !changed || err == nil {
		t.Errorf("is_oauth: %v, %v", changed, err)
	}
}
