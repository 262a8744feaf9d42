package chaos

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// bank has MX fail for the members of one bank, each time in another way, and
// for nobody else. What they ask for waits until it is well again; every command
// of the others is done meanwhile, though those who fail are more than may be
// asked about at a time.
func bank(t *scene) {
	const others, ill, longest = 100, 200, 20 * time.Second // longer, and the next tries are too late for the test's patience
	ways := []mxsim.Fault{
		{Kind: mxsim.FaultStatus, Status: http.StatusInternalServerError},
		{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable},
		{Kind: mxsim.FaultHang},
		{Kind: mxsim.FaultCutHead},
		{Kind: mxsim.FaultTruncate},
		{Kind: mxsim.FaultNonJSON},
		{Kind: mxsim.FaultWrongGUID},
	}
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 1, laden("MX_TIMEOUT", "1s"))
	t.customer = stack.NewCustomer(t, s.NATS(), "bank", t.schema)
	well, failing := s.Sim().AddBulk(t, others), s.Sim().AddBulk(t, ill)
	all := slices.Concat(failing, well)
	began := time.Now()
	t.customer.Results(t, t.customer.RefreshAll(t, "first", len(all), of(all)), len(all))

	before := "" // the fault in force
	fail := func(f mxsim.Fault) {
		var now struct{ ID string }
		err := s.Sim().Ask(t.Context(), http.MethodPost, "faults", f, &now)
		if err == nil && before != "" { // only then, so that they fail all the time
			err = s.Sim().Ask(t.Context(), http.MethodDelete, "faults/"+before, nil, nil)
		}
		if before = now.ID; err != nil {
			t.Fatal(err)
		}
	}

	var waiting []string
	pause := time.Duration(0)
	t.rng.Shuffle(len(ways), func(i, j int) { ways[i], ways[j] = ways[j], ways[i] })
	for round, end := 0, time.Now().Add(min(t.length, longest)); round == 0 || time.Now().Before(end); round++ {
		fault := ways[round%len(ways)]
		fault.User = failing[0].UserGUID
		fail(fault)
		for half := range uint(2) {
			if err := s.Sim().Ask(t.Context(), http.MethodPost, "flip", mxsim.Flip{To: "DEGRADED", Half: half}, nil); err != nil {
				t.Fatal(err)
			}
		}
		asked := time.Now()
		name := fmt.Sprintf("%s %d, round %d", fault.Kind, fault.Status, round)
		waiting = append(waiting, t.customer.RefreshAll(t, fmt.Sprintf("ill-%d", round), ill, of(failing))...)
		t.customer.Results(t, t.customer.RefreshAll(t, fmt.Sprintf("well-%d", round), others, of(well)), others)
		took := time.Since(asked)
		t.Logf("%s: the others were done after %s", name, took.Round(time.Millisecond))
		pause = max(pause, took)
		t.between(0, time.Second)
	}
	if done := t.customer.Results(t, waiting, 0); len(done) > 0 {
		t.Errorf("%d of %d commands have a result though their members cannot be read", len(done), len(waiting))
	}
	s.Sim().Clear(t)
	t.customer.Results(t, waiting, len(waiting))

	report := stack.Judge(t, s, t.customer, t.schema.Event)
	t.tally = tally{transitions: report.Transitions, took: time.Since(began), pause: pause}
	t.tallies["one bank fails"] = t.tally
	t.leave(s, crew)
}
