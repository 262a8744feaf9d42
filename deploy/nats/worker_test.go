package nats_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe/observetest"
)

// binary is the service, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "memberwatch")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "memberwatch")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "../../cmd/memberwatch").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building memberwatch: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// simulate starts a simulated MX.
func simulate(t *testing.T) *mxsim.Server {
	t.Helper()
	sim, err := mxsim.Start(t.Context(), "", mxsim.Config{Seed: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

// settings are those of a worker and of the operator's commands: what both must
// agree on.
func settings(sim *mxsim.Server, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "MX_BASE_URL=" + sim.URL,
		"MX_CLIENT_ID=" + mxsim.DefaultClientID, "MX_API_KEY=" + mxsim.DefaultAPIKey,
	}, more...)
}

// operate runs one of the operator's commands.
func operate(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("memberwatch %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// process is a running worker.
type process struct {
	http string // URL
	cmd  *exec.Cmd
	log  *journal
}

// journal is what a process has written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// freeAddr is an address of this machine that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serve runs a worker that verifies the topology and changes none, and returns
// when it is ready.
func serve(t *testing.T, env []string) *process {
	t.Helper()
	addr := freeAddr(t)
	p := &process{http: "http://" + addr, log: &journal{}}
	p.cmd = exec.Command(binary, "serve")
	p.cmd.Env = append(env, "TOPOLOGY=verify", "HTTP_ADDR="+addr, "LOG_LEVEL=debug")
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.stop(t)
		if what := observetest.FindSecret([]byte(p.log.String())); what != "" {
			t.Errorf("the worker wrote the %s", what)
		}
		if t.Failed() {
			t.Logf("the worker said:\n%s", p.log)
		}
	})
	eventually(t, "worker is ready", func() bool {
		resp, err := p.get(t.Context(), "/readyz")
		return err == nil && resp != ""
	})
	return p
}

// stop ends the worker as an orchestrator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("worker ended with %v", err)
	}
}

var errStatus = errors.New("unexpected status")

func (p *process) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.http+path, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w %d: %s", errStatus, resp.StatusCode, body)
	}
	return string(body), err
}

// counts reports whether a metric, with its labels, stands above zero.
func (p *process) counts(ctx context.Context, series string) bool {
	body, err := p.get(ctx, "/metrics")
	if err != nil {
		return false
	}
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			return value != "0"
		}
	}
	return false
}
