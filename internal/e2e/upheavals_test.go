package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// crowd adds n members of whom the service does not know.
func (t *scene) crowd(size int) (refs []mxsim.Ref, guids []string) {
	t.Helper()
	refs = t.Sim().AddBulk(t, size)
	for _, r := range refs {
		guids = append(guids, r.GUID)
	}
	return refs, guids
}

// of makes commands for refs, again from the first after the last.
func of(refs []mxsim.Ref) func(int) events.Command {
	return func(i int) events.Command {
		r := refs[i%len(refs)]
		return events.Command{User: r.UserGUID, Member: r.GUID}
	}
}

// checkOnce checks that no command had two results.
func checkOnce(t *scene, counts map[string]int) {
	t.Helper()
	for id, n := range counts {
		if n > 1 {
			t.Errorf("command %s has %d results: it was done again after it was done", id, n)
		}
	}
}

func outage(t *scene) {
	refs, guids := t.crowd(100)
	t.bank.Quiet(t) // what is in flight when MX goes down would fail too, up to MX_MAX_IN_FLIGHT
	t.Sim().NewPhase(t, "outage")
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable, For: 3 * time.Second})
	ids := t.bank.RefreshAll(t, "outage", len(refs), of(refs))
	counts := t.bank.Results(t, ids, len(ids))
	checkOnce(t, counts)
	t.bank.Known(t, guids)
	reads := t.Sim().Phase(t).ByEndpoint["read"]
	// From idle fewer than twenty reach MX in three seconds; a service that was busy just now has its window open, and
	// may send that once: MX_MAX_IN_FLIGHT, and the probes.
	const peace = 64 + 30
	failed := reads[strconv.Itoa(http.StatusServiceUnavailable)]
	t.Logf("MX was asked %d times while it was down", failed)
	if failed == 0 || failed > peace {
		t.Errorf("MX was asked %d times while it was down, want 1 to %d", failed, peace)
	}
}

func wrongKey(t *scene) {
	refs, guids := t.crowd(20)
	letters := t.bank.DeadLetters()
	t.Sim().SetKey(t, "rotated")
	restore := func() { t.Sim().SetKey(t, stack.APIKey) }
	defer restore()
	ids := t.bank.RefreshAll(t, "key", len(refs), of(refs))
	var h stack.Health
	stack.Eventually(t, "the service is not ready", func() bool {
		h = stack.HealthOf(t, t.worker)
		return h.Status == http.StatusServiceUnavailable
	})
	if h.Bad("mx_credentials") == "" {
		t.Errorf("readiness is %+v; want it to blame the credentials", h)
	}
	restore()
	stack.Ready(t, t.worker)
	t.bank.Results(t, ids, len(ids))
	t.bank.Known(t, guids)
	if now := t.bank.DeadLetters(); now != letters {
		t.Errorf("%d commands were given up for our fault", now-letters)
	}
}

func twoWorkers(t *scene) {
	refs, guids := t.crowd(200)
	second := stack.Ready(t, t.Beside(t, "second worker", nil))
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 30 * time.Millisecond})
	started := func(p stack.Program) int { return metric(t, p, `memberwatch_jobs_total{source="command"}`) }
	before := started(t.worker)
	const commands = 600
	ids := t.bank.RefreshAll(t, "share", commands, of(refs))
	t.bank.Results(t, ids, commands)
	t.bank.Known(t, guids)
	first, other := started(t.worker)-before, started(second)
	t.Logf("the first worker took %d of %d commands, the second %d", first, commands, other)
	if min(first, other) < commands/10 {
		t.Errorf("of %d commands one worker took %d, the other %d", commands, first, other)
	}
	if code := stack.Stop(t, second); code != 0 {
		t.Errorf("the second worker ended with code %d", code)
	}
}

// metric reads a counter of p.
func metric(t *scene, p stack.Program, name string) int {
	t.Helper()
	for line := range strings.Lines(stack.Metrics(t, p)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(f)
		}
	}
	return 0
}

// debt is commands of which some were in hand when a worker ended.
type debt struct {
	commands, members []string
	killed            bool // together with what knew which acknowledgements had come, where the worker has its NATS in itself
}

// load has the service begin with commands for a crowd of their own, and
// returns when a tenth of them is done.
func (t *scene) load(name string, commands, members int) {
	t.Helper()
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 250 * time.Millisecond})
	refs, guids := t.crowd(members)
	ids := t.bank.RefreshAll(t, name, commands, of(refs))
	t.bank.Results(t, ids, commands/10)
	t.owed = append(t.owed, debt{commands: ids, members: guids})
}

func stopUnderLoad(t *scene) {
	t.load("stop", 300, 300)
	if code := stack.Stop(t, t.worker); code != 0 {
		t.Errorf("stopped under load it ended with code %d, want 0", code)
	}
	t.worker = stack.Ready(t, t.Start(t, "worker after stop", nil))
}

func killInBurst(t *scene) {
	t.load("kill", 400, 200)
	t.owed[len(t.owed)-1].killed = true
	// A crawling MX, so that nothing more gets done however long it takes to kill.
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 4 * time.Second})
	t.worker.Signal(t, syscall.SIGKILL)
	if code := t.worker.Wait(t); code != 128+int(syscall.SIGKILL) {
		t.Errorf("killed it ended with code %d", code)
	}
	ids := t.owed[len(t.owed)-1].commands
	if done := len(t.bank.Results(t, ids, 0)); done == len(ids) {
		t.Error("the worker had done everything before it was killed")
	}
	t.worker = stack.Ready(t, t.Start(t, "worker after kill", nil))
}

// debtsPaid waits for what was in hand at a kill: NATS gives it to somebody else
// when it has heard nothing for half a minute.
func debtsPaid(t *scene) {
	for _, d := range t.owed {
		t.bank.Known(t, d.members)
	}
	t.bank.Quiet(t)
	for _, d := range t.owed {
		counts := t.bank.Results(t, d.commands, 0)
		if !d.killed {
			checkOnce(t, counts)
		}
		// Results are sent once, to whoever listens then: not while this NATS is away.
		t.Logf("%d of %d results were heard", len(counts), len(d.commands))
		for _, g := range d.members {
			if h := t.bank.History(g); len(h) != 1 {
				t.Errorf("member %s has events %v, want one", g, h)
			}
		}
	}
}

func wrongSettings(t *scene) {
	p := t.Beside(t, "wrong settings", stack.Env{
		"MX_CLIENT_ID": "", "MX_API_KEY": stack.APIKey + "\x01", "MX_BASE_URL": "http://api.example.com",
		"STREAM_REPLICAS": "2", "TOPOLOGY": "perhaps", "OAUTH_URI_TTL": "soon", "LOG_LEVEL": "loud",
	})
	if code := p.Wait(t); code != 2 {
		t.Errorf("ended with code %d, want 2", code)
	}
	for _, name := range []string{"MX_CLIENT_ID", "MX_API_KEY", "MX_BASE_URL", "STREAM_REPLICAS", "TOPOLOGY", "OAUTH_URI_TTL", "LOG_LEVEL"} {
		if !strings.Contains(p.Output(), name) {
			t.Errorf("%s is not named in: %s", name, p.Output())
		}
	}
}
