package e2e

import (
	"os"
	"testing"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// town is where journeys take place: an installation with a worker, and two
// customers who follow everything.
type town struct {
	stack.Stack
	worker stack.Program
	bank   *stack.Customer // commands, and follows
	other  *stack.Customer // follows only
	schema *validate.Validator
	owed   []debt
}

// scene is the test of one journey, in its town.
type scene struct {
	*testing.T
	*town
}

// journey is a story that can be played in any town.
type journey struct {
	name string
	play func(*scene)
}

// stories are each about a member or command of their own, so that they can be
// played at the same time.
var stories = []journey{
	{"a new OAuth member appears, is announced, and authorizes", newOAuthMember},
	{"a question is asked, expires unanswered, is asked again and answered", challenge},
	{"a member disconnects and comes back", disconnection},
	{"a deleted member is told once it is confirmed, and its return too", deletion},
	{"a 404 that was a mistake deletes nobody", falseDeletion},
	{"the partner's own ids and MX's guids name the same member", partnerIDs},
	{"every form of a command is understood", commandForms},
	{"bad input becomes a dead letter that names the field", badInput},
	{"each outcome has its result", outcomes},
	{"a burst of refreshes of one member becomes a handful of reads", burst},
	{"one member that MX cannot answer for holds up nobody else", poorMember},
	{"MX's webhook has the member read that it is about", webhookDoor},
	{"a request is answered when it is done", requestDoor},
	{"a member on its way is read until it has settled", settling},
	{"an aggregation is started once and followed to its end", aggregation},
	{"wrong settings end the start with every problem named and no secret", wrongSettings},
}

// upheavals are about the whole town, so that they are played one by one.
var upheavals = []journey{
	{"while MX is down nothing is lost and it is left in peace", outage},
	{"a worker told to stop under load ends well", stopUnderLoad},
	{"a worker killed in a burst has a successor", killInBurst},
	{"a wrong key makes the service unready until it is right again", wrongKey},
	{"two workers share the work", twoWorkers},
	{"what was in hand at the stop and the kill is done, and makes no event twice", debtsPaid},
}

// visit plays every journey on s, and then has everything judged.
func visit(t *testing.T, s stack.Stack) {
	t.Helper()
	schema, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	n := &town{Stack: s, schema: schema}
	n.worker = stack.Ready(t, s.Start(t, "worker", nil))
	n.bank = stack.NewCustomer(t, s.NATS(), "bank", schema)
	n.other = stack.NewCustomer(t, s.NATS(), "other", schema)
	t.Run("stories", func(t *testing.T) {
		for _, j := range stories {
			t.Run(j.name, func(t *testing.T) {
				t.Parallel()
				j.play(&scene{t, n})
			})
		}
	})
	for _, j := range upheavals {
		t.Run(j.name, func(t *testing.T) { j.play(&scene{t, n}) })
	}
	t.Run("in the end every promise was kept", func(t *testing.T) {
		t.Log(stack.Judge(t, s, n.bank, schema.Event))
		sameEvents(t, n)
		if code := stack.Stop(t, n.worker); code != 0 {
			t.Errorf("the worker ended with code %d, want 0", code)
		}
		stack.CheckLogs(t, s)
	})
}

// sameEvents checks that both customers saw the same, and nothing wrong.
func sameEvents(t *testing.T, n *town) {
	t.Helper()
	for _, r := range n.Sim().Members(t) {
		last := len(n.bank.History(r.GUID))
		stack.Eventually(t, "both customers have every event", func() bool { return len(n.other.History(r.GUID)) >= last })
	}
	for name, c := range map[string]*stack.Customer{"bank": n.bank, "other": n.other} {
		for _, complaint := range c.Leave(t) {
			t.Errorf("customer %s: %s", name, complaint)
		}
	}
}

func TestJourneysWithProcesses(t *testing.T) {
	t.Parallel()
	visit(t, stack.NewProcesses(t, binaries))
}

// containersWanted skips the test where containers were not asked for: an image
// that lies around was built from some other code.
func containersWanted(t *testing.T) {
	t.Helper()
	if os.Getenv("REQUIRE_DOCKER") == "1" {
		return
	}
	if os.Getenv("MEMBERWATCH_IMAGE") == "" {
		t.Skip("CONTAINER STACK SKIPPED: make e2e builds the image and runs it, or set MEMBERWATCH_IMAGE")
	}
	if err := stack.DockerAnswers(t.Context()); err != nil {
		t.Skipf("CONTAINER STACK SKIPPED: no Docker engine answers: %v", err)
	}
}

func TestJourneysWithContainers(t *testing.T) {
	containersWanted(t)
	t.Run("and one NATS node", func(t *testing.T) { visit(t, stack.NewContainers(t, 1)) })
	t.Run("and three NATS nodes", func(t *testing.T) { visit(t, stack.NewContainers(t, 3)) })
}
