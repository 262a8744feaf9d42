package chaos

import (
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// storm makes every member transient at once, and has all of them settle when
// each is being followed. However many reads are due, the workers together stay
// within their rate limits.
func storm(t *scene) {
	members, workers, limit := 10_000, 2, 500 // the limit is reads a second of each worker
	if os.Getenv("CHAOS") == "short" {
		members, limit = 1_000, 100
	}
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, workers, laden("MX_RATE_LIMIT", strconv.Itoa(limit)))
	t.customer = stack.NewCustomer(t, s.NATS(), "bank", t.schema)
	all := s.Sim().AddBulk(t, members)
	began := time.Now()
	t.customer.Results(t, t.customer.RefreshAll(t, "first", members, of(all)), members)
	t.customer.Quiet(t)

	become := func(status string) {
		for half := range uint(2) {
			if err := s.Sim().Ask(t.Context(), http.MethodPost, "flip", mxsim.Flip{From: status, To: status, Half: half}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	become("UPDATED")
	s.Sim().NewPhase(t, "storm")
	storming := time.Now()
	window, seen, most := storming, uint64(0), 0.0
	within := func(reads uint64, took time.Duration) {
		rate := float64(reads) / took.Seconds()
		if most = max(most, rate); rate > 1.05*float64(workers*limit) {
			t.Errorf("%.0f reads a second, %d are allowed", rate, workers*limit)
		}
	}
	watch := func() uint64 {
		asked := time.Now()
		reads := s.Sim().Phase(t).Requests
		took := time.Since(window)
		if took < 5*time.Second { // short enough to see a burst, long enough for it to count
			return reads
		}
		if err := s.Sim().Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(reads-seen, took)
		window, seen = asked, reads
		return reads
	}
	t.customer.RefreshAll(t, "storm", members, of(all))
	// The command's read, the event's follow-up, and one that was scheduled when that found nothing new.
	stack.Eventually(t, "each member was read three times", func() bool { return watch() >= uint64(3*members) })
	within(uint64(3*members), time.Since(storming)) // who keeps no limit may be done before the first window ends
	become("CONNECTED")
	stack.Eventually(t, "each member has settled", func() bool { watch(); return t.customer.Stored(t) == uint64(3*members) })

	report := stack.JudgeAsIs(t, s, t.customer, t.schema.Event)
	t.tally = tally{transitions: report.Transitions, took: time.Since(began)}
	t.tallies["storm"] = t.tally
	t.Logf("storm: %s; at most %.0f reads a second of %d", t.tally, most, workers*limit)
	t.leave(s, crew)
}
