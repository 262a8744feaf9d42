package faults

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// stage is an installation on which many schedules are played, each with a
// member of its own.
type stage struct {
	rig    *refreshtest.Rig
	mx     *mx.Client
	played map[string]string // how to play a schedule again, by member
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{rig: refreshtest.New(t, refreshtest.Options{Workers: 2}), played: make(map[string]string)}
	var err error
	if s.mx, err = mx.New(mx.Config{
		BaseURL: s.rig.Sim.URL, ClientID: mxsim.DefaultClientID, APIKey: mxsim.DefaultAPIKey,
		AcceptVersion: "v20250224", Timeout: 10 * time.Second, MaxInFlight: 8,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.mx.Close)
	return s
}

// play plays one schedule to its end. again says, then, how to play it alone.
func (s *stage) play(t *testing.T, st story, c chooser, again func() string) {
	t.Helper()
	w := newWorld(t, s, st, c)
	defer w.close()
	defer func() {
		s.played[w.k.String()] = again()
		if t.Failed() {
			t.Log("play it again: " + again())
		}
	}()
	w.run()
	if os.Getenv("TRACE") != "" {
		t.Logf("%s\n%s", again(), w.account())
	}
}

// judge has the oracle look at all schedules at once, and tells how to play
// again those that it finds fault with.
func (s *stage) judge(t *testing.T) oracle.Report {
	t.Helper()
	report := judge(t, s.rig, events.Key{})
	told := make(map[string]bool)
	for _, o := range report.Offenses {
		if again := s.played[o.Member]; again != "" && !told[again] {
			told[again] = true
			t.Logf("%s: play it again: %s", o.Member, again)
		}
	}
	return report
}

// smallStories are those of which every order is played, as far as the bound allows.
func smallStories() []story {
	small := []story{
		{name: "one command that two workers get", told: "DEGRADED", waiting: 1, redelivers: 1},
		{name: "one command that two workers get while MX moves on", told: "DEGRADED", waiting: 1, redelivers: 1, status: []string{"CONNECTED"}},
		{name: "a remembered state that another has overtaken", told: "DEGRADED", waiting: 2},
		{name: "a read older than what another has concluded", waiting: 2, status: []string{"DEGRADED"}, lateReads: true},
		{name: "a worker that knows nothing beside one that remembers", told: "DEGRADED", waiting: 2, cold: true},
		{name: "stopped across a takeover that stores and dies", told: "PENDING", waiting: 1, redelivers: 1, crashes: 1},
		{name: "a publish that lands after its time-out", told: "DEGRADED", waiting: 1, strays: 1, status: []string{"CONNECTED"}},
		{name: "a publish that lands after its time-out and a takeover", told: "DEGRADED", waiting: 1, redelivers: 1, strays: 1},
		{name: "a need of which one step fails", told: "PENDING", waiting: 1, redelivers: 1, failures: 1},
	}
	for i := range small {
		small[i].followLate, small[i].steps = true, 40
	}
	return append(small, story{
		name: "a follow-up at a worker whose state its event has overtaken",
		told: "DEGRADED", waiting: 1, status: []string{"CONNECTED"}, steps: 40,
	})
}

// branches bounds how many orders of a small story are played one after the
// other. Of a story that has more, as many again are chosen at random.
const branches = 100

// TestEveryOrderOfTwoWorkersSteps plays small stories in all orders of the steps
// of two workers that serve one member, MX's changes and redeliveries. BRANCHES
// sets the bound.
func TestEveryOrderOfTwoWorkersSteps(t *testing.T) {
	bound, seed := int(fromEnv("BRANCHES", branches)), seed(t)
	for _, st := range smallStories() {
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			play := func(b *branch) {
				s.play(t, st, b, func() string { return fmt.Sprintf("BRANCH=%s go test -run '%s' %s", pathOf(b.taken), pattern(t), here) })
			}
			if only := os.Getenv("BRANCH"); only != "" {
				play(&branch{path: parsePath(t, only)})
				s.judge(t)
				return
			}
			n, all := 0, false
			for path := []int{}; !all && n < bound && !t.Failed(); n++ {
				b := &branch{path: path}
				play(b)
				path = b.next()
				all = path == nil
			}
			for i := 0; !all && i < bound && !t.Failed(); i++ {
				play(&branch{beyond: roll(seed, uint64(i))})
				n++
			}
			t.Logf("%d orders, all of them: %t; %s", n, all, s.judge(t))
		})
	}
}

// longStory is what random schedules are made of.
func longStory() story {
	return story{
		name: "long", status: []string{"DEGRADED", "PENDING", "CONNECTED", "DENIED", "DISCONNECTED"},
		commands: 4, redelivers: 4, failures: 2, strays: 2, crashes: 2, lateReads: true, steps: 80,
	}
}

// schedules is how many random schedules are played, and perStage how many of
// them on one stage.
const (
	schedules = 500
	perStage  = 100
)

// TestRandomSchedulesOfTwoWorkers plays long stories in random order. SEED and
// SCHEDULES choose which and how many.
func TestRandomSchedulesOfTwoWorkers(t *testing.T) {
	seed, first, count := seed(t), uint64(0), fromEnv("SCHEDULES", schedules)
	if os.Getenv("SCHEDULE") != "" {
		first, count = fromEnv("SCHEDULE", 0), 1
	}
	for from := first; from < first+count; from += perStage {
		t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			for n := from; n < min(from+perStage, first+count) && !t.Failed(); n++ {
				s.play(t, longStory(), roll(seed, n), func() string {
					return fmt.Sprintf("SEED=%d SCHEDULE=%d go test -run '^TestRandomSchedulesOfTwoWorkers$' %s", seed, n, here)
				})
			}
			t.Log(s.judge(t))
		})
	}
}

// seed is SEED, or one that nobody has chosen. It is printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := fromEnv("SEED", uint64(time.Now().UnixNano()))
	t.Logf("SEED=%d", n)
	return n
}

// here is this package, for those who run a case again.
const here = "./internal/refresh/faults"

// pattern is what -run takes to run t alone.
func pattern(t *testing.T) string {
	t.Helper()
	return "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
}

func pathOf(path []int) string {
	if len(path) == 0 {
		return "0"
	}
	var b strings.Builder
	for i, way := range path {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(decimal(way))
	}
	return b.String()
}

func parsePath(t *testing.T, s string) []int {
	t.Helper()
	var path []int
	for f := range strings.SplitSeq(s, ",") {
		var way int
		if _, err := fmt.Sscan(f, &way); err != nil {
			t.Fatalf("BRANCH: %v", err)
		}
		path = append(path, way)
	}
	return path
}
