package e2e

import (
	"slices"
	"testing"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

func TestFrozenAndKilledWorkersAndAKilledNATSLoseNothing(t *testing.T) {
	t.Parallel()
	schema, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 3)
	n := &scene{t, &town{Stack: s, bank: stack.NewCustomer(t, s.NATS(), "bank", schema)}}

	n.load("chaos", 600, 300)
	crew.Freeze(t, 0)
	n.bank.Results(t, n.owed[0].commands, 120)
	s.KillNATS(t)
	s.RestartNATS(t)
	crew.Kill(t, 1)
	crew.Thaw(t, 0)
	crew.Replace(t, 1)

	n.bank.Known(t, n.owed[0].members)
	t.Log(stack.Judge(t, s, n.bank, schema.Event))
	if codes := crew.Dismiss(t); !slices.Equal(codes, []int{0, 0, 0}) {
		t.Errorf("the workers ended with codes %v", codes)
	}
	for _, complaint := range n.bank.Leave() {
		t.Error(complaint)
	}
	stack.CheckLogs(t, s)
}
