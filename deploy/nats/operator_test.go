package nats_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestOperatorLooksAfterDeadLettersAndForgetsWithHisRights(t *testing.T) {
	log := &trace{}
	o := load(t, "single.conf")
	o.Trace = true
	s := start(t, o, log)
	sim := simulate(t)
	operator, publisher := connect(t, s, "operator"), connect(t, s, "publisher")
	env := settings(sim, "NATS_URL="+serverURL(s, "operator"))
	prepare(t, operator, env)
	anna, err := sim.AddUser(mxsim.User{})
	if err != nil {
		t.Fatal(err)
	}
	bank, err := sim.AddMember(anna.GUID, mxsim.Patch{"is_oauth": true})
	if err != nil {
		t.Fatal(err)
	}
	workerEnv := settings(sim, "NATS_URL="+serverURL(s, "worker"), "TOPOLOGY=verify")
	w := serve(t, workerEnv)
	refresh(t, publisher, "first", anna.GUID, bank.GUID)
	letters := func(n uint64) {
		t.Helper()
		eventually(t, fmt.Sprintf("there are %d dead letters", n), func() bool { return messages(t, operator, "MX_DEADLETTERS") == n })
	}
	for n, body := range []string{"{", `{"user":"` + anna.GUID + `"}`} { // one after the other: letters are numbered as they die
		if _, err := publisher.js.Publish(t.Context(), "mx.commands.member.refresh", []byte(body)); err != nil {
			t.Fatal(err)
		}
		letters(uint64(n + 1))
	}

	if out := operate(t, env, "deadletters", "ls", "--category", "invalid"); strings.Count(out, "\n") != 3 {
		t.Errorf("listed:\n%s", out)
	}
	operate(t, env, "deadletters", "show", "1")
	operate(t, env, "deadletters", "retry", "1") // as invalid as it was
	eventually(t, "it is a dead letter again", func() bool { return strings.Contains(operate(t, env, "deadletters", "ls"), "\n3 ") })
	operate(t, env, "deadletters", "drop", "3", "--yes")
	letters(1)

	out := operate(t, env, "forget", anna.GUID, "--yes", "--wait", "500ms")
	for _, stream := range []string{"MX_EVENTS", "MX_OAUTH", "MX_DEADLETTERS"} {
		if messages(t, operator, stream) != 0 {
			t.Errorf("%s is not empty:\n%s", stream, out)
		}
	}
	if r := refresh(t, publisher, "second", anna.GUID, bank.GUID); r.Outcome != events.OutcomeChanged || r.Revision != 1 {
		t.Errorf("discovered again with %+v", r)
	}
	// Each with his own credentials, and the server refuses nothing.
	operate(t, env, "doctor", "--as", "operator")
	w.stop(t)
	for _, line := range log.violations {
		// The limits of the account are nobody's but the operator's business.
		if !strings.Contains(line, `"$JS.API.INFO"`) {
			t.Errorf("server refused: %s", line)
		}
	}
	if out := operate(t, workerEnv, "doctor"); strings.Contains(out, "✗") {
		t.Errorf("as worker:\n%s", out)
	}
	for _, subject := range []string{"mx.deadletters.invalid", "mx.events.member.connected.USR-1.MBR-1", "$KV.MX_IDS.key"} {
		if err := operator.PublishMsg(&nats.Msg{Subject: subject}); err != nil {
			t.Fatal(err)
		}
		if err := operator.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
		if err := operator.LastError(); err == nil || !strings.Contains(err.Error(), subject) {
			t.Errorf("the operator may publish %s", subject)
		}
	}
}
