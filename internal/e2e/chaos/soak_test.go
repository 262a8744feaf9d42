package chaos

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// usage is what a worker takes.
type usage struct {
	resident   float64 // bytes
	goroutines float64
}

// usageOf asks a worker.
func usageOf(t *scene, p stack.Program) usage {
	t.Helper()
	var u usage
	for line := range strings.Lines(stack.Metrics(t, p)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "process_resident_memory_bytes":
			u.resident = v
		case name == "go_goroutines":
			u.goroutines = v
		}
	}
	return u
}

// TestSoak keeps an installation under load by every door, and in trouble, for
// SOAK. Worker 0 is never killed: its memory and goroutines are what is watched,
// and it takes the webhooks.
func TestSoak(t *testing.T) {
	text := os.Getenv("SOAK")
	if text == "" {
		t.Skip("SOAK SKIPPED: make soak DURATION=10m runs it")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	seed := seedOf(t)
	again(t, seed)
	n := newScene(t, seed, length)
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	p := stack.NewProxy(t, stack.To(strings.TrimPrefix(s.NATS(), "nats://")))
	settings := func(more ...string) stack.Env {
		return laden(append(more, "REFRESH_EVERY", "1m")...) // each member once in it
	}
	crew := stack.NewCrew(t, s, 3, settings(), settings("NATS_URL", "nats://"+p.Addr()), settings())
	n.customer = stack.NewCustomer(t, s.NATS(), "bank", n.schema)

	const rows = 20
	began := time.Now()
	var seen []usage
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "time\tcommands\tresident MiB\tgoroutines\t")
	d := &doors{seed: seed, nats: s.NATS(), hooks: crew.Worker(0).Hooks(t)}
	n.under("soak", s, size{members: 300, backlog: 3000, beside: d.use}, func(l *load) {
		n.trouble(s, crew, p)
		if time.Since(began) < length*time.Duration(len(seen))/rows {
			return
		}
		u := usageOf(n, crew.Worker(0))
		seen = append(seen, u)
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.0f\t\n", time.Since(began).Round(time.Second), l.sent.Load(), u.resident/(1<<20), u.goroutines)
	})
	quiet := usageOf(n, crew.Worker(0))
	fmt.Fprintf(w, "at rest\t\t%.1f\t%.0f\t\n", quiet.resident/(1<<20), quiet.goroutines)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("worker 0:\n%s", table.String())
	n.flat(seen)
	d.everyDoorUsed(n)
	n.leave(s, crew)
}

// trouble is one fault out of all that a single machine has, and its end.
func (t *scene) trouble(s *stack.Processes, crew *stack.Crew, p *stack.Proxy) {
	t.Helper()
	switch t.rng.IntN(8) {
	case 0:
		crew.Kill(t, 2)
		t.tally.kills++
		crew.Replace(t, 2)
	case 1:
		s.KillNATS(t)
		t.tally.kills++
		s.RestartNATS(t)
	case 2:
		crew.Freeze(t, 1)
		t.tally.freezes++
		t.between(time.Second, 4*time.Second)
		crew.Thaw(t, 1)
	case 3:
		s.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 503, For: 2 * time.Second})
	case 4:
		s.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultCutHead, Count: 1 + t.rng.IntN(20)})
	case 5:
		s.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 200 * time.Millisecond, For: 3 * time.Second})
	default:
		t.spoil(p)
	}
	t.between(500*time.Millisecond, 3*time.Second)
}

// flat fails the test when the median of the last third of what was seen is
// well above that of the second: what leaks goes on growing.
func (t *scene) flat(seen []usage) {
	t.Helper()
	const few = 9
	if len(seen) < few {
		t.Logf("%d looks are too few to tell whether memory grows", len(seen))
		return
	}
	median := func(of []usage, what func(usage) float64) float64 {
		var all []float64
		for _, u := range of {
			all = append(all, what(u))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	third := len(seen) / 3
	const cycles = 128 // goroutines that come and go with the load: two for each call that may be in flight
	for name, what := range map[string]func(usage) float64{
		"resident memory": func(u usage) float64 { return u.resident },
		"goroutines":      func(u usage) float64 { return u.goroutines + cycles },
	} {
		before, after := median(seen[third:2*third], what), median(seen[2*third:], what)
		const growth = 1.5
		if after > growth*before {
			t.Errorf("%s grows: median %.0f in the second third, %.0f in the last", name, before, after)
		}
	}
}
