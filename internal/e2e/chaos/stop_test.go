package chaos

import (
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// stopping is a worker with more in hand than it can have in work, each read of
// MX taking its time.
type stopping struct {
	*testing.T
	*stack.Processes
	worker   stack.Program
	customer *stack.Customer
	commands []string
	js       jetstream.JetStream
}

const inWork = 64 // MX_MAX_IN_FLIGHT

func newStopping(t *testing.T, latency time.Duration, env stack.Env) *stopping {
	t.Helper()
	schema, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	s := &stopping{T: t, Processes: stack.NewProcesses(t, binaries, stack.OwnNATS())}
	s.worker = stack.Ready(t, s.Start(t, "worker", env))
	s.customer = stack.NewCustomer(t, s.NATS(), "bank", schema)
	nc, err := nats.Connect(s.NATS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	s.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultLatency, Delay: latency, Scope: "read"})
	members := s.Sim().AddBulk(t, 4*inWork)
	for i := range members {
		s.commands = append(s.commands, s.customer.Refresh(t, of(members)(i)))
	}
	stack.Eventually(t, "the worker has its hands full", func() bool { return s.Sim().InFlight(t) > 0 && s.inHand() > inWork })
	return s
}

func (s *stopping) consumer() jetstream.Consumer {
	s.Helper()
	c, err := s.js.Consumer(s.Context(), commandStream, "memberwatch")
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// inHand is how many commands somebody has taken and not settled.
func (s *stopping) inHand() int {
	s.Helper()
	return s.consumer().CachedInfo().NumAckPending
}

// left takes every command that nobody has in hand, until all are there but
// those that are done and so many in work, and hands them back.
func (s *stopping) left(working int) {
	s.Helper()
	c := s.consumer()
	got := make(map[uint64]jetstream.Msg)
	stack.Eventually(s.T, fmt.Sprintf("all commands are free but those that are done and %d in work", working), func() bool {
		batch, err := c.FetchNoWait(len(s.commands))
		if err != nil {
			s.Fatal(err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				s.Fatal(err)
			}
			got[meta.Sequence.Stream] = m
		}
		// What ends meanwhile may have let another begin, until the worker knew that it had to stop.
		return len(got)+len(s.customer.Results(s.T, s.commands, 0))+working >= len(s.commands)
	})
	for _, m := range got {
		if err := m.Nak(); err != nil {
			s.Fatal(err)
		}
	}
}

// finish has another worker do the rest, and checks that nothing was done twice.
func (s *stopping) finish() {
	s.Helper()
	s.left(0)
	done := len(s.customer.Results(s.T, s.commands, 0))
	s.Logf("%d of %d commands were done before the end", done, len(s.commands))
	s.Sim().Clear(s.T)
	next := stack.Ready(s.T, s.Start(s.T, "next worker", nil))
	for id, n := range s.customer.Results(s.T, s.commands, len(s.commands)) {
		if n != 1 {
			s.Errorf("command %s has %d results: it was done again after it was done", id, n)
		}
	}
	s.Log(stack.Judge(s.T, s, s.customer, nil))
	if code := stack.Stop(s.T, next); code != 0 {
		s.Errorf("the next worker, idle, ended with code %d", code)
	}
}

func (s *stopping) ready() bool {
	s.Helper()
	return stack.HealthOf(s.T, s.worker).Status == http.StatusOK
}

func TestStopFinishesWhatIsInWorkAndHandsBackTheRestAtOnce(t *testing.T) {
	t.Parallel()
	const latency = 3 * time.Second // within MX_TIMEOUT, and long to look around in
	s := newStopping(t, latency, nil)
	stack.Eventually(t, "all that may be in work is", func() bool { return s.Sim().InFlight(t) >= inWork })
	s.worker.Signal(t, syscall.SIGTERM)
	stack.Eventually(t, "the worker is not ready, and its port still tells", func() bool {
		return stack.HealthOf(t, s.worker).Status == http.StatusServiceUnavailable
	})
	// While what is in work goes on, the rest is free.
	s.left(inWork)
	working := s.Sim().InFlight(t)
	if working == 0 {
		t.Error("nothing was in work any more when the rest was handed back: it was not at once")
	}
	if code := s.worker.Wait(t); code != 0 {
		t.Errorf("stopped, it ended with code %d", code)
	}
	s.customer.Results(t, s.commands, int(working))
	s.finish()
}

func TestStopCutsOffWhatTakesLongerThanShutdownTimeout(t *testing.T) {
	t.Parallel()
	const limit = 2 * time.Second
	s := newStopping(t, 25*time.Second, stack.Env{"MX_TIMEOUT": "30s", "SHUTDOWN_TIMEOUT": limit.String()})
	s.worker.Signal(t, syscall.SIGTERM)
	if code := s.worker.Wait(t); code != 0 {
		t.Errorf("cut off, it ended with code %d", code)
	}
	if n := len(s.customer.Results(t, s.commands, 0)); n != 0 {
		t.Errorf("%d commands have results: they were done before MX answered, or the worker did not end in time", n)
	}
	s.finish()
}

func TestASecondSignalEndsTheWorkerAtOnce(t *testing.T) {
	t.Parallel()
	s := newStopping(t, 25*time.Second, stack.Env{"MX_TIMEOUT": "30s", "SHUTDOWN_TIMEOUT": "1m"})
	s.worker.Signal(t, syscall.SIGTERM)
	stack.Eventually(t, "the worker is stopping", func() bool { return !s.ready() })
	s.worker.Signal(t, syscall.SIGTERM)
	if code, want := s.worker.Wait(t), 128+int(syscall.SIGTERM); code != want {
		t.Errorf("after the second signal it ended with code %d, want %s", code, strconv.Itoa(want))
	}
	if n := len(s.customer.Results(t, s.commands, 0)); n != 0 {
		t.Errorf("%d commands have results: the worker went on until MX answered", n)
	}
}
