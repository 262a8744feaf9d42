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
// subscription may tell the same twice, so what is not newer is left out.
func ExampleClient_Snapshot_table() {
	nc, end := installation(func(w *world) []events.Event {
		return []events.Event{
			w.event(events.TypeConnected, member(1), 1), w.event(events.TypeConnected, member(2), 1),
			w.event(events.TypeDisconnected, member(2), 2),
		}
	})
	defer end()

	type row struct {
		status   events.Status
		revision uint64
	}
	table := map[string]row{} // of a database, in real life
	upsert := func(d client.Delivery) {
		if id := d.Key.Member(); d.Data.Revision > table[id].revision && d.Data.Member.ConnectionStatus != nil {
			table[id] = row{*d.Data.Member.ConnectionStatus, d.Data.Revision}
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
	fmt.Println("MBR-1", table["MBR-1"].status, "MBR-2", table["MBR-2"].status)

	s, err := c.Subscribe(ctx, client.Subscription{
		Durable: "table", Start: client.After(snapshot.Sequence), Concurrency: 1,
		Otherwise: func(_ context.Context, d client.Delivery) error {
			upsert(d)
			fmt.Println(d.Key.Member(), table[d.Key.Member()].status)
			stop() // a table would be kept
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	reconnected(nc)
	if err := s.Run(ctx); err != nil {
		panic(err)
	}
	// Output:
	// MBR-1 CONNECTED MBR-2 DISCONNECTED
	// MBR-2 RECONNECTED
}

// reconnected publishes that a member is connected again.
func reconnected(nc *nats.Conn) {
	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	w := &world{subjects: c.Subjects()}
	e := w.event(events.TypeReconnected, member(2), 3)
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
