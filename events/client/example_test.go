package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

// installation starts a NATS server with the streams of the service, on which
// each function publishes what the service would. end ends it.
func installation(happened ...func(*world) []events.Event) (nc *nats.Conn, end func()) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	store, err := os.MkdirTemp("", "memberwatch-example-")
	check(err)
	srv, err := embedded.Start(embedded.Config{Addr: "127.0.0.1:0", StoreDir: store})
	check(err)
	nc, err = nats.Connect(srv.URL())
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := build(ctx, nc)
	check(err)
	for _, f := range happened {
		for _, e := range f(w) {
			_, err := w.publish(ctx, e)
			check(err)
		}
	}
	return nc, func() {
		nc.Close()
		srv.Shutdown()
		check(os.RemoveAll(store))
	}
}

// A user has to authorize at the bank again: send them where they can.
func ExampleClient_Subscribe_notifyUser() {
	nc, end := installation(func(w *world) []events.Event {
		e := w.event(events.TypePending, member(17), 2)
		e.Data.OAuthRequired = true
		return []events.Event{e, e.Announcement("https://mxbank.example/authorize?state=d745bd4e")}
	})
	defer end()

	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := c.Subscribe(ctx, client.Subscription{
		Durable: "notifier",
		On: map[events.Type]client.Handler{
			events.TypeOAuthRequired: func(_ context.Context, d client.Delivery) error {
				fmt.Println("tell", d.Key.User(), "to authorize at", d.Data.OAuthWindowURI)
				stop() // a notifier would go on
				return nil
			},
		},
	})
	if err != nil {
		panic(err)
	}
	if err := s.Run(ctx); err != nil {
		panic(err)
	}
	// Output: tell USR-1 to authorize at https://mxbank.example/authorize?state=d745bd4e
}

// A table of present states: filled once, then kept. The snapshot and the
// subscription may tell the same twice, so what is not newer is left out. The row
// of a deleted member stays, and says so: without it, what is told twice would
// bring the member back.
func ExampleClient_Snapshot_table() {
	nc, end := installation(func(w *world) []events.Event {
		return []events.Event{
			w.event(events.TypeConnected, member(1), 1), w.event(events.TypeConnected, member(2), 1),
			w.event(events.TypeDisconnected, member(2), 2),
		}
	})
	defer end()

	type row struct {
		status   *events.Status // nil: not known yet
		deleted  bool
		revision uint64
		observed time.Time
	}
	table := map[string]row{} // of a database, in real life
	upsert := func(d client.Delivery) {
		id := d.Key.Member()
		if have := table[id]; d.Newer(have.revision, have.observed) {
			table[id] = row{d.Data.Member.ConnectionStatus, d.Data.Deleted, d.Data.Revision, d.Data.ObservedAt}
		}
	}

	show := func(id string) {
		switch now := table[id]; {
		case now.deleted:
			fmt.Println(id, "is deleted")
		case now.status != nil:
			fmt.Println(id, *now.status)
		}
	}

	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	snapshot, err := c.Snapshot(ctx)
	if err != nil {
		panic(err)
	}
	for d, err := range snapshot.Members(ctx) {
		if err != nil {
			panic(err)
		}
		upsert(d)
	}
	show("MBR-1")
	show("MBR-2")

	s, err := c.Subscribe(ctx, client.Subscription{
		Durable: "table", Start: client.After(snapshot.Sequence), Concurrency: 1,
		Otherwise: func(_ context.Context, d client.Delivery) error {
			upsert(d)
			show(d.Key.Member())
			if d.Data.Deleted {
				stop() // a table would be kept
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	happened(nc, events.TypeReconnected, 3)
	happened(nc, events.TypeDeleted, 4)
	if err := s.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// MBR-1 CONNECTED
	// MBR-2 DISCONNECTED
	// MBR-2 RECONNECTED
	// MBR-2 is deleted
}

// happened publishes an event of the second member.
func happened(nc *nats.Conn, t events.Type, revision uint64) {
	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	w := &world{subjects: c.Subjects()}
	e := w.event(t, member(2), revision)
	e.Data.Deleted = t == events.TypeDeleted
	b, err := e.Encode()
	if err != nil {
		panic(err)
	}
	if err := nc.Publish(w.subjects.Event(e.Type, e.Key), b); err != nil {
		panic(err)
	}
}

// An audit log wants everything, in the order in which it happened, what came out
// of order included; and what it cannot read it keeps for people to see.
func ExampleClient_Subscribe_auditLog() {
	nc, end := installation(func(w *world) []events.Event {
		asked := w.event(events.TypeDisconnected, member(3), 2)
		asked.CorrelationID, asked.Reason = "cmd-7f3a", "nightly check"
		return []events.Event{w.event(events.TypeConnected, member(3), 1), asked}
	})
	defer end()

	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := c.Subscribe(ctx, client.Subscription{
		Durable: "audit", Concurrency: 1, DeliverStale: true,
		GiveUp: c.DeadLetterTo("letters.audit", time.Now),
		Otherwise: func(_ context.Context, d client.Delivery) error {
			was, _, err := client.Former[events.Status](d.Data, "connection_status")
			if err != nil {
				return client.Permanent(err)
			}
			line, err := json.Marshal(map[string]any{
				"at": d.Time, "member": d.Key.Member(), "what": d.Type, "was": was, "command": d.CorrelationID, "why": d.Reason,
			})
			if err != nil {
				return client.Permanent(err)
			}
			fmt.Println(string(line))
			if d.Data.Revision == 2 {
				stop() // a log would go on
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	if err := s.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// {"at":"2026-03-14T09:01:00Z","command":"","member":"MBR-3","was":"","what":"member.connected","why":""}
	// {"at":"2026-03-14T09:02:00Z","command":"cmd-7f3a","member":"MBR-3","was":"CONNECTED","what":"member.disconnected","why":"nightly check"}
}
