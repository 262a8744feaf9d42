package nats_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// serverURL is where a user of users-password.conf connects.
func serverURL(s *server.Server, name string) string {
	return strings.Replace(s.ClientURL(), "nats://", "nats://"+name+":"+passwords[name]+"@", 1)
}

// prepare makes the topology, and the durables that subscribers are bound to, as
// an operator does.
func prepare(t *testing.T, operator *user, env []string) {
	t.Helper()
	operate(t, env, "topology", "apply")
	for stream, durable := range map[string]string{"MX_EVENTS": "subscriber", "MX_OAUTH": "oauth"} {
		if _, err := operator.js.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{
			Durable: durable, AckPolicy: jetstream.AckExplicitPolicy,
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// refresh sends a command as the publisher and returns its result.
func refresh(t *testing.T, publisher *user, id, who, member string) events.Result {
	t.Helper()
	results, err := publisher.SubscribeSync("mx.results.member.refresh." + id)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(events.Command{User: who, Member: member, CommandID: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publisher.js.Publish(t.Context(), "mx.commands.member.refresh", body); err != nil {
		t.Fatalf("publishing command %s: %v", id, err)
	}
	m, err := results.NextMsg(patience)
	if err != nil {
		t.Fatalf("waiting for result of %s: %v", id, err)
	}
	r, err := events.DecodeResult(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// next takes the next event from a durable, as somebody who is bound to it.
func next(t *testing.T, u *user, stream, durable string) events.Event {
	t.Helper()
	js, err := jetstream.NewWithAPIPrefix(u.Conn, "JS.MX.API")
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.Consumer(t.Context(), stream, durable)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatalf("waiting for an event of %s: %v", stream, err)
	}
	if err := m.Ack(); err != nil {
		t.Fatal(err)
	}
	e, err := events.Decode(m.Data())
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func messages(t *testing.T, u *user, stream string) uint64 {
	t.Helper()
	s, err := u.js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// waiting is how many messages of the background stream match a filter.
func waiting(t *testing.T, u *user, filter string) (n uint64) {
	t.Helper()
	s, err := u.js.Stream(t.Context(), "MX_BACKGROUND")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		t.Fatal(err)
	}
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n
}

func TestEverybodyDoesHisWorkWithTheRightsOfSingleConf(t *testing.T) {
	log := &trace{}
	o := load(t, "single.conf")
	o.Trace = true
	s := start(t, o, log)
	sim := simulate(t)
	operator, publisher := connect(t, s, "operator"), connect(t, s, "publisher")
	operatorEnv := settings(sim, "NATS_URL="+serverURL(s, "operator"))
	prepare(t, operator, operatorEnv)

	id := "anna"
	anna, err := sim.AddUser(mxsim.User{ID: &id})
	if err != nil {
		t.Fatal(err)
	}
	checking, err := sim.AddMember(anna.GUID, mxsim.Patch{"id": "checking"})
	if err != nil {
		t.Fatal(err)
	}
	bank, err := sim.AddMember(anna.GUID, mxsim.Patch{"is_oauth": true})
	if err != nil {
		t.Fatal(err)
	}
	hooks := []string{"WEBHOOK_ADDR=" + freeAddr(t), "WEBHOOK_TOKEN=a-token-long-enough-to-be-one-of-a-kind"}
	w := serve(t, settings(sim, append(hooks, "NATS_URL="+serverURL(s, "worker"), "FOLLOW_UP_AFTER=100ms", "DELETE_CONFIRM_AFTER=100ms", "REFRESH_EVERY=1m")...))
	cid := connectionOf(t, s, "worker")

	// A command by one's own ids, its result, its event, the read after it.
	if r := refresh(t, publisher, "first", "anna", "checking"); r.Outcome != events.OutcomeChanged {
		t.Fatalf("result is %+v", r)
	}
	subscriber := connect(t, s, "subscriber")
	if e := next(t, subscriber, "MX_EVENTS", "subscriber"); e.Type != events.TypeConnected || e.Key.Member() != checking.GUID {
		t.Errorf("subscriber got %s of %s", e.Type, e.Key)
	}
	eventually(t, "the event is followed up", func() bool {
		return w.counts(t.Context(), `memberwatch_outcomes_total{outcome="unchanged",source="follow_up"}`)
	})

	// A need to authorize, and its announcement.
	refresh(t, publisher, "second", anna.GUID, bank.GUID)
	if e := next(t, connect(t, s, "oauth"), "MX_OAUTH", "oauth"); e.Type != events.TypeOAuthRequired || e.Data.OAuthWindowURI == "" {
		t.Errorf("oauth got %s with URI %q", e.Type, e.Data.OAuthWindowURI)
	}
	if e := next(t, subscriber, "MX_EVENTS", "subscriber"); e.Type != events.TypePending {
		t.Errorf("subscriber got %s", e.Type)
	}

	// A deletion, scheduled and confirmed.
	if err := sim.Delete(checking.GUID); err != nil {
		t.Fatal(err)
	}
	refresh(t, publisher, "third", anna.GUID, checking.GUID)
	if e := next(t, subscriber, "MX_EVENTS", "subscriber"); e.Type != events.TypeDeleted {
		t.Errorf("subscriber got %s", e.Type)
	}

	// One that is held back, as MX answers 404 for all others as well, who are too many to
	// have gone with it; and taken back when MX answers.
	gone := []string{bank.GUID}
	for n := range 4 {
		other, err := sim.AddMember(anna.GUID, mxsim.Patch{})
		if err != nil {
			t.Fatal(err)
		}
		refresh(t, publisher, fmt.Sprintf("other-%d", n), anna.GUID, other.GUID)
		if e := next(t, subscriber, "MX_EVENTS", "subscriber"); e.Key.Member() != other.GUID {
			t.Errorf("subscriber got %s of %s", e.Type, e.Key)
		}
		gone = append(gone, other.GUID)
	}
	for _, guid := range gone {
		if err := sim.Delete(guid); err != nil {
			t.Fatal(err)
		}
	}
	refresh(t, publisher, "fourth", anna.GUID, bank.GUID)
	eventually(t, "the deletion is held back", func() bool { return w.counts(t.Context(), "memberwatch_deletions_held_total") })
	eventually(t, "the worker sees how long it waits", func() bool {
		return w.counts(t.Context(), `memberwatch_backlog_oldest_seconds{lane="background"}`)
	})
	if !w.counts(t.Context(), "memberwatch_members_at_most") || w.counts(t.Context(), "memberwatch_lag_errors_total") {
		t.Error("the worker may not look at all of its streams")
	}
	for _, guid := range gone {
		if err := sim.Restore(guid); err != nil {
			t.Fatal(err)
		}
	}
	if r := refresh(t, publisher, "fifth", anna.GUID, bank.GUID); r.Outcome != events.OutcomeUnchanged {
		t.Errorf("result is %+v", r)
	}
	eventually(t, "no confirmation is left", func() bool {
		return waiting(t, operator, "mx.background.at.confirm_deletion.*.*") == 0 && waiting(t, operator, "mx.background.due."+anna.GUID+".*") == 0
	})

	// A sweep that the operator asks for and the worker makes, beside the periodic refresh.
	operate(t, operatorEnv, "sweep")
	eventually(t, "the periodic refresh takes its time", func() bool { return waiting(t, operator, "mx.background.at.chain._.periodic") == 1 })

	// A command that nobody can read.
	if _, err := publisher.js.Publish(t.Context(), "mx.commands.member.refresh", []byte("{")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dead letter is kept", func() bool { return messages(t, operator, "MX_DEADLETTERS") == 1 })

	// A webhook of MX, and requests: everybody's own, and no more.
	operate(t, append(hooks, "PATH="), "webhook", "send", anna.GUID, bank.GUID)
	eventually(t, "the webhook's command is done", func() bool {
		return w.counts(t.Context(), `memberwatch_outcomes_total{outcome="unchanged",source="webhook"}`)
	})
	body := fmt.Appendf(nil, `{"user":%q,"member":%q}`, anna.GUID, bank.GUID)
	oauth := connect(t, s, "oauth")
	for _, request := range []struct {
		by       *user
		endpoint string
		serves   bool
	}{
		{publisher, "refresh", true},
		{publisher, "get", true},
		{publisher, "oauth_uri", false},
		{oauth, "refresh", false},
		{oauth, "get", false},
		{oauth, "oauth_uri", true},
		{subscriber, "refresh", false},
		{subscriber, "get", false},
		{subscriber, "oauth_uri", false},
		{operator, "refresh", true},
		{operator, "get", true},
		{operator, "oauth_uri", true},
	} {
		m, err := request.by.Request("mx.api.member."+request.endpoint, body, patience)
		if served := err == nil && m.Header.Get("Nats-Service-Error-Code") == ""; served != request.serves {
			t.Errorf("request to %s: served %t, want %t (%v)", request.endpoint, served, request.serves, err)
		}
		if err == nil && strings.Contains(string(m.Data), "oauth_window_uri") != (request.endpoint == "oauth_uri") {
			t.Errorf("request to %s is answered with %s", request.endpoint, m.Data)
		}
	}

	// People, with the commands of the program.
	operate(t, operatorEnv, "topology", "plan")
	operate(t, operatorEnv, "verify")
	operate(t, operatorEnv, "member", "anna", "checking")
	if out := operate(t, operatorEnv, "events", "--oauth", "--json"); !strings.Contains(out, "oauth_window_uri") {
		t.Errorf("the operator sees no announcement:\n%s", out)
	}
	operate(t, settings(sim, "NATS_URL="+serverURL(s, "publisher")), "refresh", anna.GUID, bank.GUID, "--wait")

	w.stop(t)
	for _, line := range log.violations {
		t.Errorf("server refused: %s", line)
	}
	may := o.Users[slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == "worker" })].Permissions
	for verb, list := range map[string][]string{"PUB": may.Publish.Allow, "SUB": may.Subscribe.Allow} {
		sent := log.sent(verb, cid)
		for _, pattern := range list {
			if !slices.ContainsFunc(sent, func(s string) bool { return server.SubjectsCollide(pattern, s) }) {
				t.Errorf("the worker may %s %s and never did", verb, pattern)
			}
		}
	}
}

// connectionOf returns the id of a user's one connection.
func connectionOf(t *testing.T, s *server.Server, name string) uint64 {
	t.Helper()
	z, err := s.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range z.Conns {
		if c.AuthorizedUser == name {
			return c.Cid
		}
	}
	t.Fatalf("%s is not connected", name)
	return 0
}
