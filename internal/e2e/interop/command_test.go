package interop

import (
	"encoding/json"
	"testing"

	cenats "github.com/cloudevents/sdk-go/protocol/nats/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// command is one with the form that it is to be sent in.
type command struct {
	Form string `json:"form"`
	events.Command
}

// service starts a worker with its embedded NATS and one member for each form.
func service(t *testing.T, forms []string) (s *stack.Processes, members []mxsim.Ref) {
	t.Helper()
	s = stack.NewProcesses(t, binaries)
	members = s.Sim().AddBulk(t, len(forms))
	stack.Ready(t, s.Start(t, "worker", stack.Env{"FOLLOW_UP_AFTER": "0"}))
	return s, members
}

// commandsOf are three for each form: the first read of its member, another, and one of
// a member that MX does not know.
func commandsOf(forms []string, members []mxsim.Ref) (commands []command, want []events.Outcome) {
	for i, form := range forms {
		m := members[i]
		for n, member := range []string{m.GUID, m.GUID, "MBR-nobody"} {
			id := form + "-" + string(rune('a'+n))
			commands = append(commands, command{form, events.Command{User: m.UserGUID, Member: member, CommandID: id}})
		}
		want = append(want, events.OutcomeChanged, events.OutcomeUnchanged, events.OutcomeNotFound)
	}
	return commands, want
}

func TestCommandsOfJavaScriptAreCarriedOut(t *testing.T) {
	t.Parallel()
	needNode(t)
	forms := []string{"structured", "binary", "plain", "subject"}
	s, members := service(t, forms)
	commands, want := commandsOf(forms, members)
	list, err := json.Marshal(commands)
	if err != nil {
		t.Fatal(err)
	}
	results := node[events.Result](t, "command.mjs", s.NATS(), absolute(t, schemaDir), string(list))
	if len(results) != len(want) {
		t.Fatalf("%d results came, want %d: %+v", len(results), len(want), results)
	}
	for i, r := range results {
		if r.Outcome != want[i] || r.CommandID != commands[i].CommandID {
			t.Errorf("command %s ended %s (%s), want %s", commands[i].CommandID, r.Outcome, r.Reason, want[i])
		}
	}
}

func TestCommandsOfTheSDKForGoAreCarriedOut(t *testing.T) {
	t.Parallel()
	forms := []string{"structured"} // the only one that this SDK writes to NATS
	s, members := service(t, forms)
	commands, want := commandsOf(forms, members)
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.NATS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	sender, err := cenats.NewSenderFromConn(nc, subjects.Refresh())
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range commands {
		results, err := nc.SubscribeSync(subjects.Result(c.CommandID))
		if err != nil {
			t.Fatal(err)
		}
		ce := event.New()
		ce.SetID("sdk-" + c.CommandID)
		ce.SetSource("/go")
		ce.SetType(events.CommandType)
		if err := ce.SetData(event.ApplicationJSON, c.Command); err != nil {
			t.Fatal(err)
		}
		if err := sender.Send(t.Context(), binding.ToMessage(&ce)); err != nil {
			t.Fatal(err)
		}
		m, err := results.NextMsg(stack.Patience)
		if err != nil {
			t.Fatalf("no result of command %s: %v", c.CommandID, err)
		}
		read, err := binding.ToEvent(t.Context(), cenats.NewMessage(m))
		if err != nil {
			t.Fatal(err)
		}
		var r events.Result
		if err := read.DataAs(&r); err != nil || r.Outcome != want[i] || read.Type() != events.ResultType {
			t.Errorf("command %s ended %+v, %v; want %s", c.CommandID, r, err, want[i])
		}
	}
}
