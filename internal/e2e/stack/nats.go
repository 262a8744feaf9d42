package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

// Names of the environment that makes a test binary a nats-server.
const (
	natsStore = "MEMBERWATCH_E2E_NATS_STORE"
	natsAddr  = "MEMBERWATCH_E2E_NATS_ADDR"
)

const natsListens = "nats listens on "

// ServeNATS runs a nats-server and reports true if this process was started to
// be one by [Processes] with [OwnNATS]: TestMain must call it first.
func ServeNATS() (served bool, err error) {
	store, ok := os.LookupEnv(natsStore)
	if !ok {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	srv, err := embedded.Start(embedded.Config{Addr: os.Getenv(natsAddr), StoreDir: store})
	if err != nil {
		return true, fmt.Errorf("serving NATS: %w", err)
	}
	defer srv.Shutdown()
	if _, err := io.WriteString(os.Stdout, natsListens+srv.URL()+"\n"); err != nil {
		return true, fmt.Errorf("telling address: %w", err)
	}
	<-ctx.Done()
	return true, nil
}

// NATSProcess is a nats-server that can be killed apart from the workers.
type NATSProcess struct {
	*process
	store, url string
}

// startNATS starts a nats-server on store; addr may have port 0.
func startNATS(tb testing.TB, store, addr string) (*NATSProcess, error) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding test binary: %w", err)
	}
	n := &NATSProcess{store: store}
	n.process = startProcess(tb, "nats", Env{natsStore: store, natsAddr: addr}, self)
	if n.url = n.wrote(natsListens); n.url == "" {
		return nil, errors.New("nats-server does not listen: " + n.Output())
	}
	return n, nil
}

// wrote waits for a line that begins with start and returns what follows.
func (p *process) wrote(start string) (rest string) {
	p.out.await(p.done, func() bool {
		for line := range strings.Lines(p.Output()) {
			if after, ok := strings.CutPrefix(line, start); ok && strings.HasSuffix(after, "\n") {
				rest = strings.TrimSpace(after)
				return true
			}
		}
		return false
	})
	return rest
}
