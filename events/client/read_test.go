package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

func TestReplayYieldsWhatItsRangeSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(2), 1)
	w.happen(events.TypeClosed, member(1), 2)
	e := w.event(events.TypePending, member(2), 2)
	for _, e := range []events.Event{e, e.Announcement("https://mxbank.example/a")} {
		if _, err := w.publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := w.js.Stream(t.Context(), "MX_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	third, err := stream.GetMsg(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		r    client.Range
		want []string
	}{
		"all":                       {client.Range{}, []string{"MBR-1/1", "MBR-2/1", "MBR-1/2", "MBR-2/2"}},
		"a member":                  {client.Range{Member: member(1)}, []string{"MBR-1/1", "MBR-1/2"}},
		"a time":                    {client.Range{Since: third.Time}, []string{"MBR-1/2", "MBR-2/2"}},
		"a member since a time":     {client.Range{Since: third.Time, Member: member(1)}, []string{"MBR-1/2"}},
		"nobody":                    {client.Range{Member: member(9)}, nil},
		"the future":                {client.Range{Since: third.Time.Add(time.Hour)}, nil},
		"announcements":             {client.Range{Announcements: true}, []string{"MBR-2/2"}},
		"announcements of a member": {client.Range{Announcements: true, Member: member(1)}, nil},
	} {
		var got []string
		for d, err := range w.client.Replay(t.Context(), tc.r) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, fmt.Sprintf("%s/%d", d.Key.Member(), d.Data.Revision))
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestReplayGoesOnAfterWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put(w.subjects.Event(events.TypeConnected, member(1)), "{")
	w.happen(events.TypeConnected, member(2), 1)
	var bad, good int
	for d, err := range w.client.Replay(t.Context(), client.Range{}) {
		var e *client.EventError
		switch {
		case errors.As(err, &e) && d.Sequence == 1 && e.Subject == "mx.events.member.connected.USR-1.MBR-1":
			bad++
		case err == nil && d.Key == member(2):
			good++
		default:
			t.Errorf("%+v, %v", d, err)
		}
	}
	if bad != 1 || good != 1 {
		t.Errorf("%d bad and %d good events, want 1 of each", bad, good)
	}
}

func TestReadingTellsThatThereIsNoStreamOrThatItWasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere, err := client.New(w.nc, "other")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range elsewhere.Replay(t.Context(), client.Range{}) {
		if !errors.Is(err, client.ErrNoStream) {
			t.Errorf("Replay: %v", err)
		}
	}
	if _, err := elsewhere.Snapshot(t.Context()); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("Snapshot: %v", err)
	}
	if _, err := elsewhere.Last(t.Context(), member(1)); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("Last: %v", err)
	}
	if _, err := elsewhere.Refresh(t.Context(), events.Command{User: "a", Member: "b"}, client.InBody); !errors.Is(err, client.ErrNoStream) {
		t.Errorf("Refresh: %v", err)
	}
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(2), 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	for _, err := range w.client.Replay(ctx, client.Range{}) {
		if seen++; seen == 2 && !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
		cancel()
	}
	if seen != 2 {
		t.Errorf("%d steps, want an event and an error", seen)
	}
	for _, err := range w.client.Replay(t.Context(), client.Range{}) {
		if err != nil {
			t.Error(err)
		}
		break // It can be left early; goleak sees what stays.
	}
}

func TestReadingLeavesNoConsumerBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeConnected, member(2), 1)
	stream, err := w.js.Stream(t.Context(), "MX_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	consumers := func() (all []*jetstream.ConsumerInfo) {
		t.Helper()
		list := stream.ListConsumers(t.Context())
		for c := range list.Info() {
			all = append(all, c)
		}
		if list.Err() != nil {
			t.Fatal(list.Err())
		}
		return all
	}
	snapshot, err := w.client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(context.Context) iter.Seq2[client.Delivery, error]{
		"snapshot": snapshot.Members,
		"replay": func(ctx context.Context) iter.Seq2[client.Delivery, error] {
			return w.client.Replay(ctx, client.Range{})
		},
		"replay of nothing": func(ctx context.Context) iter.Seq2[client.Delivery, error] {
			return w.client.Replay(ctx, client.Range{Member: member(9)})
		},
	} {
		for how, leave := range map[string]func(context.CancelFunc) (more bool){
			"to the end":     func(context.CancelFunc) bool { return true },
			"broken off":     func(context.CancelFunc) bool { return false },
			"with its ctx's": func(end context.CancelFunc) bool { end(); return true },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for _, err := range read(ctx) {
				if err != nil && ctx.Err() == nil {
					t.Fatal(err)
				}
				if err == nil && len(consumers()) == 1 && consumers()[0].Config.InactiveThreshold > time.Minute {
					t.Errorf("%s: it is kept for %s when nobody deletes it", name, consumers()[0].Config.InactiveThreshold)
				}
				if !leave(cancel) {
					break
				}
			}
			if left := consumers(); len(left) > 0 {
				t.Errorf("%s, %s: %d consumers are left", name, how, len(left))
			}
		}
	}
}

func TestReplayEndsWithItsContextEvenWhileItsConsumerCannotBeMadeAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(600) // more than are fetched ahead
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tried, err := w.nc.SubscribeSync("$JS.API.CONSUMER.CREATE.MX_EVENTS.>")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func(ctx context.Context) {
		var last error
		for d, err := range w.client.Replay(ctx, client.Range{}) {
			if last = err; d.Sequence == 1 {
				last = w.js.DeleteStream(ctx, "MX_EVENTS")
			}
		}
		ended <- last
	}(ctx)
	for range 2 { // the first of them was answered
		if _, err := tried.NextMsg(patience); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := receive(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestLastIsThePresentState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.client.Last(t.Context(), member(1)); !errors.Is(err, client.ErrNoEvent) {
		t.Errorf("of a member without events: %v", err)
	}
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeClosed, member(1), 2)
	d, err := w.client.Last(t.Context(), member(1))
	if err != nil || d.Data.Revision != 2 || d.Type != events.TypeClosed || d.Sequence != 2 {
		t.Errorf("Last is %+v, %v", d, err)
	}
	w.put(w.subjects.Event(events.TypeConnected, member(1)), "{")
	d, err = w.client.Last(t.Context(), member(1))
	var e *client.EventError
	if !errors.As(err, &e) || d.Sequence != 3 {
		t.Errorf("an unreadable last event gives %+v, %v", d, err)
	}
}

func TestSnapshotHasTheLastEventOfEachMemberWhateverFitsInAPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := map[string]uint64{}
	types := []events.Type{events.TypeConnected, events.TypeClosed, events.TypeDenied, events.TypeConnected}
	for n := range 50 {
		for revision := range uint64(n%4 + 1) {
			w.happen(types[revision], member(n), revision+1)
			want[member(n).Member()] = revision + 1
		}
	}
	snapshot, err := w.client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []int{1000, 50, 7, 1} {
		snapshot.SetRoom(room)
		got := map[string]uint64{}
		for d, err := range snapshot.Members(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if got[d.Key.Member()] != 0 {
				t.Errorf("with room for %d: %s came twice", room, d.Key)
			}
			got[d.Key.Member()] = d.Data.Revision
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with room for %d (-want +got):\n%s", room, diff)
		}
	}
	for _, err := range snapshot.Members(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break
	}
}

func TestSubscriptionAfterASnapshotMissesNothing(t *testing.T) {
	t.Parallel()
	w, j := newWorld(t), newJournal()
	w.happen(events.TypeConnected, member(1), 1)
	snapshot, err := w.client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Between the two passes and behind the snapshot's back, members change.
	w.happen(events.TypeConnected, member(1), 2)
	w.happen(events.TypeConnected, member(2), 1)
	states := map[string]uint64{}
	for d, err := range snapshot.Members(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		states[d.Key.Member()] = d.Data.Revision
	}
	if !maps.Equal(states, map[string]uint64{"MBR-1": 2, "MBR-2": 1}) {
		t.Errorf("states are %v", states)
	}
	w.run(client.Subscription{Start: client.After(snapshot.Sequence), Otherwise: j.handle})
	got := j.await(t, 2)
	if slices.Sort(got); !slices.Equal(got, []string{"MBR-1/2", "MBR-2/1"}) {
		t.Errorf("subscribed to %v", got)
	}
}

// answer carries out commands as the service does, at least to the publisher.
func (w *world) answer(outcome events.Outcome) <-chan jetstream.Msg {
	w.tb.Helper()
	cons, err := w.js.CreateConsumer(w.tb.Context(), w.subjects.CommandStream(), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		w.tb.Fatal(err)
	}
	seen := make(chan jetstream.Msg, 10)
	consuming, err := cons.Consume(func(m jetstream.Msg) {
		seen <- m
		var c events.Command
		if err := json.Unmarshal(m.Data(), &c); err != nil {
			w.tb.Error(err)
		}
		b, err := events.Result{CommandID: c.CommandID, Outcome: outcome, FinishedAt: began}.Encode(w.subjects)
		if err != nil {
			w.tb.Error(err)
		}
		if outcome != "" {
			if err := w.nc.PublishMsg(&nats.Msg{Subject: w.subjects.Result(c.CommandID), Data: b}); err != nil {
				w.tb.Error(err)
			}
		}
		_ = m.Ack()
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() {
		consuming.Stop()
		<-consuming.Closed()
	})
	return seen
}

func TestRefreshReturnsWhereTheCommandIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := w.answer("")
	for i, tc := range []struct {
		form    client.Form
		id      string
		subject string
	}{
		{client.InBody, "cmd-1", "mx.commands.member.refresh"},
		{client.InSubject, "", "mx.commands.member.refresh.USR-1.MBR-1"},
	} {
		r, err := w.client.Refresh(t.Context(), events.Command{User: "USR-1", Member: "MBR-1", CommandID: tc.id, Reason: "why"}, tc.form)
		if err != nil {
			t.Fatal(err)
		}
		m := receive(t, seen)
		var c events.Command
		if err := json.Unmarshal(m.Data(), &c); err != nil {
			t.Fatal(err)
		}
		if r.Sequence != uint64(i+1) || m.Subject() != tc.subject || c.CommandID != r.CommandID || c.Validate() != nil ||
			c.User != "USR-1" || c.Member != "MBR-1" || c.Reason != "why" {
			t.Errorf("receipt %+v, on %s: %s", r, m.Subject(), m.Data())
		}
		if tc.id != "" && r.CommandID != tc.id || len(r.CommandID) == 0 {
			t.Errorf("id is %q, want %q", r.CommandID, tc.id)
		}
	}
}

func TestRefreshRefusesACommandThatTheServiceWould(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		cmd  events.Command
		form client.Form
	}{
		"no member":               {events.Command{User: "USR-1"}, client.InBody},
		"a wildcard as id":        {events.Command{User: "USR-1", Member: "MBR-1", CommandID: "*"}, client.InBody},
		"a user that is no token": {events.Command{User: "anna@example.com", Member: "MBR-1"}, client.InSubject},
	} {
		if r, err := w.client.Refresh(t.Context(), tc.cmd, tc.form); err == nil {
			t.Errorf("%s: Refresh gives %+v", name, r)
		}
		if r, _, err := w.client.RefreshAndWait(t.Context(), tc.cmd, tc.form); err == nil {
			t.Errorf("%s: RefreshAndWait gives %+v", name, r)
		}
	}
	s, err := w.js.Stream(t.Context(), w.subjects.CommandStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.LastSeq; n != 0 {
		t.Errorf("%d commands were published", n)
	}
}

func TestRefreshAndWaitReturnsTheResult(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer(events.OutcomeUnchanged)
	result, receipt, err := w.client.RefreshAndWait(t.Context(), events.Command{User: "USR-1", Member: "MBR-1"}, client.InBody)
	if err != nil || result.Outcome != events.OutcomeUnchanged || result.CommandID != receipt.CommandID || receipt.Sequence != 1 {
		t.Errorf("%+v, %+v, %v", result, receipt, err)
	}
}

func TestRefreshAndWaitTellsWhenNoResultCame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cmd := events.Command{User: "USR-1", Member: "MBR-1"}
	if _, err := w.client.Refresh(t.Context(), cmd, client.InBody); err != nil {
		t.Fatal(err)
	}
	before := w.nc.NumSubscriptions()                              // those of JetStream's own
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // time enough to publish
	defer cancel()
	_, receipt, err := w.client.RefreshAndWait(ctx, cmd, client.InBody)
	if !errors.Is(err, client.ErrNoResult) || receipt.Sequence != 2 {
		t.Errorf("%+v, %v", receipt, err)
	}
	if n := w.nc.NumSubscriptions(); n != before {
		t.Errorf("there are %d subscriptions, before there were %d", n, before)
	}
}
