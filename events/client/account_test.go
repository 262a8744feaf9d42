package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

// accounts is the server of an installation, with accounts that import no more
// than the package's documentation says: bound its durable, reader what reading
// without a durable takes, publisher commands and their results.
const accounts = `
listen: "127.0.0.1:-1"
jetstream: { store_dir: "STORE" }
accounts: {
  MX: {
    jetstream: enabled
    users: [ { user: mx, password: x } ]
    exports: [
      { service: "$JS.API.CONSUMER.INFO.MX_EVENTS.test" }
      { service: "$JS.API.CONSUMER.MSG.NEXT.MX_EVENTS.*", response_type: stream }
      { service: "$JS.ACK.MX_EVENTS.test.>" }
      { service: "$JS.API.STREAM.INFO.MX_EVENTS" }
      { service: "$JS.API.STREAM.MSG.GET.MX_EVENTS" }
      { service: "$JS.API.CONSUMER.CREATE.MX_EVENTS.>" }
      { service: "$JS.API.CONSUMER.DELETE.MX_EVENTS.*" }
      { service: "mx.commands.member.refresh" }
      { stream: "mx.results.member.refresh.*" }
    ]
  }
  BOUND: {
    users: [ { user: bound, password: x } ]
    imports: [
      { service: { account: MX, subject: "$JS.API.CONSUMER.INFO.MX_EVENTS.test" }, to: "JS.MX.API.CONSUMER.INFO.MX_EVENTS.test" }
      { service: { account: MX, subject: "$JS.API.CONSUMER.MSG.NEXT.MX_EVENTS.test" }, to: "JS.MX.API.CONSUMER.MSG.NEXT.MX_EVENTS.test" }
      { service: { account: MX, subject: "$JS.ACK.MX_EVENTS.test.>" } }
    ]
  }
  READER: {
    users: [ { user: reader, password: x } ]
    imports: [
      { service: { account: MX, subject: "$JS.API.STREAM.INFO.MX_EVENTS" }, to: "JS.MX.API.STREAM.INFO.MX_EVENTS" }
      { service: { account: MX, subject: "$JS.API.STREAM.MSG.GET.MX_EVENTS" }, to: "JS.MX.API.STREAM.MSG.GET.MX_EVENTS" }
      { service: { account: MX, subject: "$JS.API.CONSUMER.CREATE.MX_EVENTS.>" }, to: "JS.MX.API.CONSUMER.CREATE.MX_EVENTS.>" }
      { service: { account: MX, subject: "$JS.API.CONSUMER.MSG.NEXT.MX_EVENTS.*" }, to: "JS.MX.API.CONSUMER.MSG.NEXT.MX_EVENTS.*" }
      { service: { account: MX, subject: "$JS.API.CONSUMER.DELETE.MX_EVENTS.*" }, to: "JS.MX.API.CONSUMER.DELETE.MX_EVENTS.*" }
    ]
  }
  PUBLISHER: {
    users: [ { user: publisher, password: x } ]
    imports: [
      { service: { account: MX, subject: "mx.commands.member.refresh" } }
      { stream: { account: MX, subject: "mx.results.member.refresh.*" } }
    ]
  }
}
`

// serve runs a server with a configuration until the test ends.
func serve(t *testing.T, config string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "STORE", t.TempDir())), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog = true, true
	srv, err := server.NewServer(o)
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
	return srv
}

// connectAs returns a connection of a user whose password is x.
func connectAs(t *testing.T, srv *server.Server, user string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(srv.ClientURL(), nats.UserInfo(user, "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func TestStreamsOfAnotherAccountAreReachedUnderTheirAPIPrefix(t *testing.T) {
	t.Parallel()
	srv := serve(t, accounts)
	w, err := build(t.Context(), connectAs(t, srv, "mx"))
	if err != nil {
		t.Fatal(err)
	}
	w.tb = t
	w.durable(jetstream.ConsumerConfig{})
	w.happen(events.TypeConnected, member(1), 1)
	w.happen(events.TypeClosed, member(1), 2)
	w.happen(events.TypeConnected, member(2), 1)
	as := func(user string) *client.Client {
		t.Helper()
		c, err := client.New(connectAs(t, srv, user), events.DefaultPrefix, client.WithAPIPrefix("JS.MX.API"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	j, bound := newJournal(), *w
	bound.client = as("bound")
	bound.run(client.Subscription{BindOnly: true, Otherwise: j.handle})
	got := map[string]bool{}
	for _, line := range j.await(t, 3) {
		got[line] = true
	}
	w.settled("MX_EVENTS", "test")
	want := map[string]bool{"MBR-1/1": true, "MBR-1/2": true, "MBR-2/1": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}

	reader := as("reader")
	clear(got)
	for d, err := range reader.Replay(t.Context(), client.Range{Member: member(1)}) {
		if err != nil {
			t.Fatal(err)
		}
		got[string(d.Type)] = true
	}
	if !got["member.connected"] || !got["member.closed"] || len(got) != 2 {
		t.Errorf("replayed %v", got)
	}
	if d, err := reader.Last(t.Context(), member(1)); err != nil || d.Type != events.TypeClosed {
		t.Errorf("Last is %s, %v", d.Type, err)
	}
	snapshot, err := reader.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]events.Type{}
	for d, err := range snapshot.Members(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		states[d.Key.Member()] = d.Type
	}
	if diff := cmp.Diff(map[string]events.Type{"MBR-1": events.TypeClosed, "MBR-2": events.TypeConnected}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}

	w.answer(events.OutcomeUnchanged)
	result, _, err := as("publisher").RefreshAndWait(t.Context(), events.Command{User: "USR-1", Member: "MBR-1"}, client.InBody)
	if err != nil || result.Outcome != events.OutcomeUnchanged {
		t.Errorf("refreshed: %+v, %v", result, err)
	}
}

func TestStreamsOfAnotherAccountAreNotFoundWithoutTheirAPIPrefix(t *testing.T) {
	t.Parallel()
	srv := serve(t, accounts)
	c, err := client.New(connectAs(t, srv, "bound"), events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Subscribe(t.Context(), client.Subscription{Durable: "test", BindOnly: true, Otherwise: ignore})
	if !errors.Is(err, client.ErrNoStream) {
		t.Errorf("subscribing: %v, want ErrNoStream", err)
	}
}

func TestStreamsOfAnotherDomainAreReached(t *testing.T) {
	t.Parallel()
	srv := serve(t, `
listen: "127.0.0.1:-1"
jetstream: { store_dir: "STORE", domain: hub }
authorization: { user: mx, password: x }
`)
	nc := connectAs(t, srv, "mx")
	w, err := build(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	w.tb = t
	w.happen(events.TypeConnected, member(1), 1)
	for domain, want := range map[string]error{"hub": nil, "elsewhere": client.ErrNoStream} {
		c, err := client.New(nc, events.DefaultPrefix, client.WithDomain(domain))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Last(t.Context(), member(1)); !errors.Is(err, want) {
			t.Errorf("in domain %s: %v, want %v", domain, err, want)
		}
	}
	if _, err := client.New(nc, events.DefaultPrefix, client.WithDomain("hub"), client.WithAPIPrefix("JS.MX.API")); err == nil {
		t.Error("a prefix beside a domain is accepted")
	}
}
