package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

const refreshSubject = "mx.commands.member.refresh"

// structured is a CloudEvent around a command.
func structured(command string) []byte {
	return []byte(`{"specversion":"1.0","id":"1","source":"/partner","type":"member.refresh","data":` + command + `}`)
}

func commandForms(t *scene) {
	c, _ := t.newcomer(nil)
	names := func(id string) string {
		body, err := json.Marshal(events.Command{User: c.User, Member: c.Member, CommandID: id})
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	binary := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/partner%20one"}, "ce-type": {"member.refresh"},
		"Content-Type": {"application/json"},
	}
	for _, form := range []struct {
		name, id string
		message  nats.Msg
	}{
		{"a JSON body", "form-body", nats.Msg{Data: []byte(names("form-body"))}},
		{"a JSON body without an id of its own", "", nats.Msg{Data: []byte(names(""))}},
		{"a subject alone", "", nats.Msg{Subject: refreshSubject + "." + c.User + "." + c.Member}},
		{"a subject with a body for the rest", "form-both", nats.Msg{Subject: refreshSubject + "." + c.User + "." + c.Member, Data: []byte(`{"command_id":"form-both"}`)}},
		{"a structured CloudEvent", "form-structured", nats.Msg{Header: nats.Header{"Content-Type": {events.ContentType}}, Data: structured(names("form-structured"))}},
		{"a structured CloudEvent without content type", "form-bare", nats.Msg{Data: structured(names("form-bare"))}},
		{"a binary CloudEvent", "form-binary", nats.Msg{Header: binary, Data: []byte(names("form-binary"))}},
	} {
		if form.message.Subject == "" {
			form.message.Subject = refreshSubject
		}
		sequence := t.bank.Publish(t, &form.message)
		if form.id == "" {
			form.id = strconv.FormatUint(sequence, 10)
		}
		if r := t.bank.Result(t, form.id); r.Outcome != events.OutcomeUnchanged || r.MemberGUID != c.Member {
			t.Errorf("%s: result %s of member %q: %s", form.name, r.Outcome, r.MemberGUID, r.Reason)
		}
	}
}

func badInput(t *scene) {
	long := strings.Repeat("x", 300<<10)
	for _, bad := range []struct {
		name, subject, body string
		category            events.Category
		field               string
	}{
		{"no JSON", "", `{"user":`, events.CategoryInvalid, "body"},
		{"nothing at all", "", ``, events.CategoryInvalid, "body"},
		{"no member", "", `{"user":"USR-1"}`, events.CategoryInvalid, "member"},
		{"a path for an id", "", `{"user":"USR-1","member":".."}`, events.CategoryInvalid, "member"},
		{"a number for an id", "", `{"user":7,"member":"MBR-1"}`, events.CategoryInvalid, "user"},
		{"a command id with dots", "", `{"user":"USR-1","member":"MBR-1","command_id":"a.b"}`, events.CategoryInvalid, "command_id"},
		{"an overlong reason", "", `{"user":"USR-1","member":"MBR-1","reason":"` + strings.Repeat("r", 257) + `"}`, events.CategoryInvalid, "reason"},
		{"another type of CloudEvent", "", `{"specversion":"1.0","id":"1","source":"/p","type":"member.delete","data":{}}`, events.CategoryInvalid, "type"},
		{"subject and body at odds", refreshSubject + ".USR-1.MBR-1", `{"member":"MBR-2"}`, events.CategoryInvalid, "member"},
		{"another command", "mx.commands.member.explode", `{}`, events.CategoryMisdirected, "subject"},
		{"a huge body", "", long, events.CategoryInvalid, "body"},
	} {
		if bad.subject == "" {
			bad.subject = refreshSubject
		}
		sequence := t.bank.Publish(t, &nats.Msg{Subject: bad.subject, Data: []byte(bad.body), Header: nats.Header{"Nats-Rollup-Of-Mine": {"kept as data"}}})
		letter := t.bank.DeadLetter(t, sequence)
		if letter.Category != bad.category || !strings.Contains(letter.Reason, bad.field+":") {
			t.Errorf("%s: %s, reason %q; want %s, a reason that names %s", bad.name, letter.Category, letter.Reason, bad.category, bad.field)
		}
		if kept := bad.body[:min(len(bad.body), events.MaxDeadLetterBody)]; string(letter.Body) != kept || letter.BodySize != len(bad.body) {
			t.Errorf("%s: the dead letter keeps %d of %d bytes", bad.name, len(letter.Body), letter.BodySize)
		}
		if letter.Subject != bad.subject || letter.Headers["Nats-Rollup-Of-Mine"][0] != "kept as data" {
			t.Errorf("%s: the dead letter says subject %q, headers %v", bad.name, letter.Subject, letter.Headers)
		}
		if r := t.bank.Result(t, strconv.FormatUint(sequence, 10)); r.Outcome != events.OutcomeFailed || r.Reason != letter.Reason {
			t.Errorf("%s: result %s, reason %q", bad.name, r.Outcome, r.Reason)
		}
	}
	t.newcomer(nil) // the service goes on
}

func outcomes(t *scene) {
	user := t.Sim().AddUser(t, "")
	m := t.Sim().AddMember(t, user, nil)
	known := events.Command{User: user, Member: m.GUID, Reason: "asked by a test"}
	changed := t.bank.Result(t, t.bank.Refresh(t, known))
	first := t.bank.Event(t, m.GUID, events.TypeConnected, 0)
	if changed.Outcome != events.OutcomeChanged || changed.EventID != first.ID || changed.EventType != first.Type || changed.Revision != 1 || changed.Reason != known.Reason {
		t.Errorf("changed: %+v, want the event %s", changed, first.ID)
	}
	same := t.bank.Result(t, t.bank.Refresh(t, known))
	if same.Outcome != events.OutcomeUnchanged || same.EventID != "" || same.Revision != 1 {
		t.Errorf("unchanged: %+v", same)
	}
	for _, unknown := range []events.Command{
		{User: user, Member: "MBR-00000000-0000-4000-8000-000000000000"},
		{User: "nobody", Member: "nothing"},
	} {
		if r := t.bank.Result(t, t.bank.Refresh(t, unknown)); r.Outcome != events.OutcomeNotFound || r.Revision != 0 {
			t.Errorf("%s/%s: %+v", unknown.User, unknown.Member, r)
		}
	}
}

func burst(t *scene) {
	const commands = 200
	c, _ := t.newcomer(nil)
	t.followedUp(c.Member)
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Member: c.Member, Delay: 300 * time.Millisecond})
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "DEGRADED"})
	before := t.Sim().ReadsOf(t, c.Member)
	ids := t.bank.RefreshAll(t, "burst", commands, func(int) events.Command { return c })
	t.bank.Results(t, ids, commands)
	if reads := t.Sim().ReadsOf(t, c.Member) - before; reads > commands/10 {
		t.Errorf("%d refreshes made %d reads", commands, reads)
	}
	if h := t.bank.History(c.Member); len(h) != 2 {
		t.Errorf("events %v, want two", h)
	}
}

func poorMember(t *scene) {
	c, _ := t.newcomer(nil)
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Member: c.Member, Count: 2})
	id := t.bank.Refresh(t, c)
	t.newcomer(nil) // others are answered meanwhile
	if r := t.bank.Result(t, id); r.Outcome != events.OutcomeUnchanged {
		t.Errorf("the poor member's result, once MX answers: %s", r.Outcome)
	}
}
