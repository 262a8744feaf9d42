package stack

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

// Processes is a stack of processes of this machine.
type Processes struct {
	tb       testing.TB
	binaries Binaries
	sim      *Sim
	simURL   string
	data     string // the store of the embedded NATS, or of the one of its own

	mu       sync.Mutex
	programs []*process
	nats     *NATSProcess // nil: the first worker has it embedded
	url      string       // of NATS, once known
}

// An Option changes how [NewProcesses] sets up.
type Option func(*Processes)

// OwnNATS gives the stack a nats-server process of its own, so that it can be
// killed apart from workers.
func OwnNATS() Option {
	return func(s *Processes) {
		n, err := startNATS(s.tb, s.data, "127.0.0.1:0")
		if err != nil {
			s.tb.Fatal(err)
		}
		s.file(n.process)
		s.nats, s.url = n, n.url
	}
}

// StoreIn has NATS keep its store in dir.
func StoreIn(dir string) Option {
	return func(s *Processes) { s.data = dir }
}

// NewProcesses returns a stack without workers; they, NATS and the simulator are
// gone when tb ends.
func NewProcesses(tb testing.TB, b Binaries, options ...Option) *Processes {
	tb.Helper()
	s := &Processes{tb: tb, binaries: b, data: tb.TempDir()}
	tb.Cleanup(s.end)
	sim := startProcess(tb, "mxsim", simSettings(Env{"MXSIM_ADDR": "127.0.0.1:0"}), b.MXSim)
	s.file(sim)
	if s.simURL = sim.wrote("mxsim listening on "); s.simURL == "" {
		tb.Fatalf("mxsim does not listen: %s", sim.Output())
	}
	s.sim = NewSim(s.simURL, nil)
	for _, o := range options {
		o(s)
	}
	return s
}

func (s *Processes) file(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.programs = append(s.programs, p)
}

// NATS implements Stack.
func (s *Processes) NATS() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Sim implements Stack.
func (s *Processes) Sim() *Sim { return s.sim }

// Start implements Stack.
func (s *Processes) Start(tb testing.TB, name string, env Env) Program {
	tb.Helper()
	if s.nats != nil {
		return s.Beside(tb, name, env)
	}
	own := Env{"DATA_DIR": s.data, "NATS_LISTEN": "127.0.0.1:0"}
	known := s.NATS()
	if known != "" {
		own["NATS_LISTEN"] = strings.TrimPrefix(known, "nats://")
	}
	p := s.worker(tb, name, own, env)
	if known == "" {
		url := p.said(tb, "embedded NATS server", "url")
		s.mu.Lock()
		s.url = url
		s.mu.Unlock()
	}
	return p
}

// Beside implements Stack.
func (s *Processes) Beside(tb testing.TB, name string, env Env) Program {
	tb.Helper()
	return s.worker(tb, name, Env{"NATS_URL": s.NATS()}, env)
}

// Use has workers that are started from now on run b.
func (s *Processes) Use(b Binaries) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.binaries = b
}

// SimURL is where workers find the simulated MX.
func (s *Processes) SimURL() string { return s.simURL }

func (s *Processes) worker(tb testing.TB, name string, own, env Env) *process {
	tb.Helper()
	all := settings(Env{"MX_BASE_URL": s.simURL, "HTTP_ADDR": "127.0.0.1:0", "WEBHOOK_ADDR": "127.0.0.1:0"}, own, env)
	p := startProcess(tb, name, all, s.binaries.Memberwatch, "serve")
	s.file(p)
	return p
}

// KillNATS kills the nats-server of a stack with [OwnNATS].
func (s *Processes) KillNATS(tb testing.TB) {
	tb.Helper()
	Kill(tb, s.nats)
}

// RestartNATS starts it again at the same address, on the same store.
func (s *Processes) RestartNATS(tb testing.TB) {
	tb.Helper()
	n, err := startNATS(tb, s.nats.store, strings.TrimPrefix(s.nats.url, "nats://"))
	if err != nil {
		tb.Fatal(err)
	}
	s.file(n.process)
	s.nats = n
}

// Outputs implements Stack.
func (s *Processes) Outputs() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string)
	for _, p := range s.programs {
		out[p.name] += p.Output()
	}
	return out
}

// end stops everything, the youngest first: workers before what they use.
func (s *Processes) end() {
	for _, p := range slices.Backward(s.programs) {
		p.halt()
	}
	CheckLogs(s.tb, s)
	if s.tb.Failed() {
		tell(s.tb, s.Outputs())
	}
}

// tell logs the end of what each program wrote.
func tell(tb testing.TB, outputs map[string]string) {
	tb.Helper()
	const enough = 32 << 10
	for name, text := range outputs {
		if len(text) > enough {
			text = "…" + text[len(text)-enough:]
		}
		tb.Logf("output of %s:\n%s", name, text)
	}
}
