package chaos

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// harm is a case: it breaks things in an installation under load.
type harm struct {
	name       string
	containers bool
	do         func(*scene)
}

func harms() []harm {
	return []harm{
		{"workers are killed", false, killWorkers},
		{"nats-server is killed", false, killNATS},
		{"a worker is frozen", false, freezeWorkers},
		{"the network to NATS is bad", false, badNATS},
		{"the network to MX is bad", false, badMX},
		{"the disk is full", false, fullDisk},
		{"every member is transient at once", false, storm},
		{"all members of a bank fail", false, bank},
		{"an upgrade and its way back", false, upgrade},
		{"a cluster of three", true, cluster},
	}
}

func TestChaos(t *testing.T) {
	length, ok := map[string]time.Duration{"full": 30 * time.Second, "short": 6 * time.Second}[os.Getenv("CHAOS")]
	if !ok {
		t.Skip("CHAOS is neither full nor short")
	}
	seed := seedOf(t)
	var mu sync.Mutex
	all := make(map[string]tally)
	t.Cleanup(func() { tell(t, seed, all) }) // when the last case has ended
	for _, h := range harms() {
		t.Run(h.name, func(t *testing.T) {
			if os.Getenv("CHAOS") == "short" {
				t.Parallel() // much of a short case is waiting for NATS to miss a worker; a long one wants its pauses measured
			}
			if h.containers {
				containersWanted(t)
			}
			again(t, seed)
			s := newScene(t, seed, length)
			h.do(s)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(all, s.tallies)
		})
	}
}

// TestKilledWorkersAndAKilledNATSLoseNothing is a little of everything at once,
// where what is logged is searched at the level that says most.
func TestKilledWorkersAndAKilledNATSLoseNothing(t *testing.T) {
	seed := seedOf(t)
	again(t, seed)
	n := newScene(t, seed, 0)
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 3)
	n.under("a little of everything", s, size{members: 200, backlog: 1000}, func(l *load) {
		crew.Freeze(t, 0)
		crew.Kill(t, 1)
		s.KillNATS(t)
		s.RestartNATS(t)
		crew.Replace(t, 1)
		l.flows(t)
		crew.Thaw(t, 0)
		l.flows(t)
		n.tally.kills, n.tally.freezes = 2, 1
	})
	n.leave(s, crew)
}

// seedOf is the seed that was asked for, or a new one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return rand.Uint64N(1_000_000)
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	return seed
}

// again has a failure of t tell how to run it again.
func again(t *testing.T, seed uint64) {
	t.Helper()
	t.Logf("seed %d", seed)
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		var env strings.Builder
		for _, name := range []string{"CHAOS", "SOAK", "REQUIRE_DOCKER", "MEMBERWATCH_IMAGE", "NATS_IMAGE", "TESTCONTAINERS_RYUK_DISABLED", "TESTCONTAINERS_HOST_OVERRIDE"} {
			if value := os.Getenv(name); value != "" {
				fmt.Fprintf(&env, "%s=%s ", name, value)
			}
		}
		t.Logf("to run it again: %sSEED=%d go test -count=1 -v -timeout 30m -run '^%s$' ./internal/e2e/chaos", env.String(), seed,
			strings.ReplaceAll(t.Name(), "/", "$/^"))
	})
}

// tally is what a case has done, and what was found.
type tally struct {
	transitions, kills, freezes, partitions, leaders, cuts int
	took, pause                                            time.Duration
}

func (a tally) String() string {
	return fmt.Sprintf("%3.0f s, %6d transitions checked, %3d kills, %2d freezes, %2d partitions, %2d leader changes, %3d connections spoiled; longest pause of events %s",
		a.took.Seconds(), a.transitions, a.kills, a.freezes, a.partitions, a.leaders, a.cuts, a.pause.Round(10*time.Millisecond))
}

func tell(t *testing.T, seed uint64, all map[string]tally) {
	t.Helper()
	var sum tally
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(all), cmp.Compare[string]) {
		a := all[name]
		fmt.Fprintf(&b, "\n%-32s %s", name, a)
		sum.transitions += a.transitions
		sum.kills += a.kills
		sum.freezes += a.freezes
		sum.partitions += a.partitions
		sum.leaders += a.leaders
		sum.cuts += a.cuts
		sum.took += a.took
		sum.pause = max(sum.pause, a.pause)
	}
	t.Logf("chaos with seed %d:%s\n%-32s %s", seed, b.String(), "in all", sum)
}

// scene is a case under way.
type scene struct {
	*testing.T
	rng      *rand.Rand
	schema   *validate.Validator
	length   time.Duration // of the harm
	tally    tally
	tallies  map[string]tally
	customer *stack.Customer
	judged   int // transitions that were judged before
}

func newScene(t *testing.T, seed uint64, length time.Duration) *scene {
	t.Helper()
	schema, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.Name()))
	return &scene{
		T: t, rng: rand.New(rand.NewPCG(seed, h.Sum64())), schema: schema, length: length, tallies: make(map[string]tally),
	}
}

// usual is a load that keeps a few workers busy.
func usual() size { return size{members: 500, backlog: 4000} }

// under does harm again and again, for the case's length and at least once,
// while the service is under load; then everything is judged.
func (t *scene) under(name string, s stack.Stack, n size, harm func(*load)) {
	t.Helper()
	if t.customer == nil {
		t.customer = stack.NewCustomer(t, s.NATS(), "bank", t.schema)
	}
	t.tally = tally{}
	began := time.Now()
	l := startLoad(t.T, s, t.rng, n)
	l.flows(t.T)
	for end := began.Add(t.length); ; {
		harm(l)
		if !time.Now().Before(end) {
			break
		}
	}
	l.flows(t.T)
	l.end(t.T)
	end := l.last(t.T)
	stack.JudgeAsIs(t, s, t.customer, t.schema.Event)
	report := stack.Judge(t, s, t.customer, t.schema.Event)
	t.tally.pause = l.pause(t.T, end)
	if n := t.customer.Residue(t); n > 0 {
		t.Logf("%s: nats-server keeps %d commands that were done, and gives them to nobody", name, n)
	}
	t.tally.transitions, t.judged = report.Transitions-t.judged, report.Transitions
	t.tally.took = time.Since(began)
	t.tallies[name] = t.tally
	t.Logf("%s: %s; %d commands, %d refused and sent again", name, t.tally, l.sent.Load(), l.refused.Load())
}

// leave ends the case: the workers stop well, and nothing is to complain of.
func (t *scene) leave(s stack.Stack, crew *stack.Crew) {
	t.Helper()
	for i, code := range crew.Dismiss(t) {
		if code != 0 {
			t.Errorf("worker %d ended with code %d", i, code)
		}
	}
	for _, complaint := range t.customer.Leave(t) {
		t.Error(complaint)
	}
	stack.CheckLogs(t, s)
}

// between waits for a time between least and most.
func (t *scene) between(least, most time.Duration) {
	t.Helper()
	select {
	case <-time.After(least + time.Duration(t.rng.Int64N(int64(most-least)+1))):
	case <-t.Context().Done():
		t.FailNow()
	}
}

// containersWanted skips the test where containers were not asked for.
func containersWanted(t *testing.T) {
	t.Helper()
	if os.Getenv("REQUIRE_DOCKER") == "1" {
		return
	}
	if os.Getenv("MEMBERWATCH_IMAGE") == "" {
		t.Skip("CONTAINER CHAOS SKIPPED: make chaos builds the image and runs it, or set MEMBERWATCH_IMAGE")
	}
	if err := stack.DockerAnswers(t.Context()); err != nil {
		t.Skipf("CONTAINER CHAOS SKIPPED: no Docker engine answers: %v", err)
	}
}
