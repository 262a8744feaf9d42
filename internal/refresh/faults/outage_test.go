package faults

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// diary is a slog.Handler that keeps the messages of the service.
type diary struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

// Handle implements slog.Handler.
func (d *diary) Handle(_ context.Context, r slog.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, r.Message)
	return nil
}

// Enabled implements slog.Handler.
func (*diary) Enabled(context.Context, slog.Level) bool { return true }

func (d *diary) count(line string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.lines {
		if l == line {
			n++
		}
	}
	return n
}

// What the service says when its breaker opens.
const (
	failing = "MX is failing; commands are kept, probing"
	refuses = "MX refuses this service; commands are kept, probing slowly"
)

// clinic is an installation without workers, on which MX is to fall ill. Its
// commands have no patience: the first failure of their own would use them up.
type clinic struct {
	*refreshtest.Rig
	t       *testing.T
	diary   *diary
	members []events.Key
}

func newClinic(t *testing.T, members int, change func(*refresh.Config)) *clinic {
	t.Helper()
	c := &clinic{t: t, diary: &diary{Handler: slog.DiscardHandler}}
	c.Rig = refreshtest.New(t, refreshtest.Options{
		Workers: -1,
		Sim:     func(c *mxsim.Config) { c.Latency = 2 * time.Millisecond },
		Bus:     func(c *bus.Config) { c.FollowUpAfter = time.Second },
		Refresh: func(c *refresh.Config) {
			c.CommandBudget = time.Nanosecond
			if change != nil {
				change(c)
			}
		},
		Wrap: func(_ int, d *refresh.Deps) { d.Log = slog.New(c.diary) },
	})
	for range members {
		c.members = append(c.members, c.AddMember(mxsim.Patch{"connection_status": "CONNECTED"}))
	}
	return c
}

// ask publishes a command for every member.
func (c *clinic) ask() {
	c.t.Helper()
	for _, k := range c.members {
		c.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
}

// answers is how often MX has answered reads with a status.
func (c *clinic) answers(status int) uint64 {
	return c.Sim.Stats().Total.ByEndpoint["read"][strconv.Itoa(status)]
}

// drained waits until no command is left, and returns when that was.
func (c *clinic) drained() time.Time {
	c.t.Helper()
	if !eventually(func() bool { return c.Messages(c.Subjects.CommandStream()) == 0 }) {
		c.t.Fatalf("%d commands are still there", c.Messages(c.Subjects.CommandStream()))
	}
	return time.Now()
}

// recovered checks that nothing was lost or used up.
func (c *clinic) recovered() {
	c.t.Helper()
	quiet(c.t, c.Rig)
	if n := len(c.DeadLetters()); n != 0 {
		c.t.Errorf("%d dead letters", n)
	}
	if report := judge(c.t, c.Rig, events.Key{}); report.Members != len(c.members) {
		c.t.Errorf("%d members were published, want %d", report.Members, len(c.members))
	}
}

func TestTwoThousandCommandsWaitOutThreeSecondsOf503(t *testing.T) {
	t.Parallel()
	const outage = 3 * time.Second
	c := newClinic(t, 2000, nil)
	c.ask()
	c.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 503, For: outage})
	end := time.Now().Add(outage)
	w := c.StartWorker()
	if !eventually(func() bool { return w.Service.Flow().Suspended }) {
		t.Fatal("the breaker never opened")
	}
	t.Logf("drained %s after the outage, %d requests reached MX in it", c.drained().Sub(end).Round(10*time.Millisecond), c.answers(503))
	if n := c.answers(503); n > 20 {
		t.Errorf("%d requests reached MX during the outage, want at most 20", n)
	}
	c.recovered()
}

func TestA429IsHeededWithAndWithoutRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		retryAfter string
		most       uint64 // 8 calls may be under way when the first is refused
	}{
		"with":    {"2", 8 + 2},
		"without": {"", 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClinic(t, 200, nil)
			c.ask()
			c.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 429, RetryAfter: tc.retryAfter, For: 2 * time.Second})
			c.StartWorker()
			c.drained()
			if n := c.answers(429); n == 0 || n > tc.most {
				t.Errorf("%d requests were refused, want 1 to %d", n, tc.most)
			}
			c.recovered()
		})
	}
}

func TestTheRateLimitIsKept(t *testing.T) {
	t.Parallel()
	const limit, asked = 100, 400
	c := newClinic(t, asked, func(c *refresh.Config) { c.RateLimit = limit })
	c.ask()
	c.StartWorker()
	c.drained()
	c.recovered()
	var first, last time.Time
	n := 0
	for e := range c.Sim.LogAll(0) {
		if first.IsZero() || e.At.Before(first) {
			first = e.At
		}
		if e.At.After(last) {
			last = e.At
		}
		n++
	}
	const burst = limit / 20
	if least := time.Duration(float64(n-burst) / limit * 0.95 * float64(time.Second)); last.Sub(first) < least {
		t.Errorf("%d requests in %s, want them to take %s at least", n, last.Sub(first), least)
	}
}

func TestOnePoisonedMemberHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]mxsim.Fault{
		"always 500":     {Kind: mxsim.FaultStatus, Status: 500},
		"always garbage": {Kind: mxsim.FaultNonJSON},
		"never whole":    {Kind: mxsim.FaultTruncate},
	} {
		for _, busy := range []bool{true, false} {
			t.Run(name+"/busy="+strconv.FormatBool(busy), func(t *testing.T) {
				t.Parallel()
				c := newClinic(t, 300, func(c *refresh.Config) { c.CommandBudget = time.Hour })
				poisoned := c.AddMember(mxsim.Patch{"connection_status": "CONNECTED"})
				fault := fault
				fault.Member = poisoned.Member()
				id := c.Inject(fault)
				c.StartWorker()
				if busy {
					c.ask()
				}
				for tries := range 10 { // twice what would open the breaker, were they different members
					c.Publish(events.Command{User: poisoned.User(), Member: poisoned.Member()})
					if !eventually(func() bool { return c.Reads(poisoned) > tries }) {
						t.Fatal("the member is not asked for any more")
					}
				}
				if !busy {
					c.ask()
				}
				if !eventually(func() bool { return c.Messages(c.Subjects.EventStream()) == uint64(len(c.members)) }) {
					t.Error("the others are kept waiting")
				}
				if n := c.diary.count(failing); n != 0 {
					t.Errorf("the breaker opened %d times", n)
				}
				c.Sim.ClearFaults(id)
				c.members = append(c.members, poisoned)
				c.recovered()
			})
		}
	}
}

func TestA404ForEverybodyDeletesNobodyOfMany(t *testing.T) {
	t.Parallel()
	c := newClinic(t, 100, nil)
	w := c.StartWorker()
	c.StartWorker()
	c.ask()
	c.drained()
	id := c.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404})
	c.ask()
	c.drained()
	if !eventually(func() bool {
		return w.Health.Get(refresh.CheckDeletions) != nil || c.Workers[1].Health.Get(refresh.CheckDeletions) != nil
	}) {
		t.Error("nobody was told that deletions are held back")
	}
	c.Sim.ClearFaults(id)
	c.ask()
	c.recovered()
	if n := c.Messages(c.Subjects.EventStream()); n != uint64(len(c.members)) {
		t.Errorf("%d events of %d members, want one each", n, len(c.members))
	}
}

func TestARefusalOfOurKeyUsesUpNoCommand(t *testing.T) {
	t.Parallel()
	c := newClinic(t, 200, nil)
	id := c.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 401})
	c.ask()
	w := c.StartWorker()
	if !eventually(func() bool { return w.Health.Get(refresh.CheckCredentials) != nil && c.diary.count(refuses) == 1 }) {
		t.Fatal("the worker stays ready while its key is refused")
	}
	refused := c.answers(401)
	if !eventually(func() bool { return c.answers(401) > refused }) {
		t.Fatal("MX is not probed")
	}
	c.Sim.ClearFaults(id)
	c.drained()
	c.recovered()
	if err := w.Health.Get(refresh.CheckCredentials); err != nil {
		t.Errorf("still not ready: %v", err)
	}
	if n := c.answers(401); n > 20 {
		t.Errorf("%d requests while MX refused the key", n)
	}
}
