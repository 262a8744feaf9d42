package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output takes what a program writes.
type output struct {
	bell

	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	n, err := o.text.Write(p)
	o.mu.Unlock()
	o.raise()
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a Program of this machine.
type process struct {
	name string
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when the process is gone
	code int

	served sync.Once
	http   string // see HTTP
	hooked sync.Once
	hooks  string // see Hooks
}

// startProcess starts a program with nothing in its environment but env.
func startProcess(tb testing.TB, name string, env Env, path string, args ...string) *process {
	tb.Helper()
	p := &process{name: name, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:gosec,noctx // Binaries we built; ended by halt, in order.
	p.cmd.Env = []string{}
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		p.code = exitCode(p.cmd.Wait())
	}()
	return p
}

// exitCode is a shell's reading of how a process ended.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return -1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// Name implements Program.
func (p *process) Name() string { return p.name }

// Output implements Program.
func (p *process) Output() string { return p.out.String() }

// Signal implements Program.
func (p *process) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.cmd.Process.Signal(s); errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("%s to %s: it ended before with code %d", s, p.name, p.Wait(tb))
	} else if err != nil {
		tb.Fatalf("sending %s to %s: %v", s, p.name, err)
	}
}

// Wait implements Program.
func (p *process) Wait(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(Patience):
		tb.Fatalf("%s has not ended after %s", p.name, Patience)
		return -1
	}
}

// HTTP implements Program.
func (p *process) HTTP(tb testing.TB) string {
	tb.Helper()
	p.served.Do(func() { p.http = "http://" + p.said(tb, "serving", "http") })
	return p.http
}

// Hooks implements Program.
func (p *process) Hooks(tb testing.TB) string {
	tb.Helper()
	p.hooked.Do(func() { p.hooks = "http://" + p.said(tb, "taking webhooks", "addr") })
	return p.hooks
}

// said waits for a log line with message msg and returns the value of key in it.
func (p *process) said(tb testing.TB, msg, key string) (value string) {
	tb.Helper()
	found := p.out.await(p.done, func() bool {
		for line := range strings.Lines(p.Output()) {
			var record map[string]any
			if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == msg {
				value, _ = record[key].(string)
				return value != ""
			}
		}
		return false
	})
	if !found {
		tb.Fatalf("%s never said %q", p.name, msg)
	}
	return value
}

// halt ends p whatever state it is in.
func (p *process) halt() {
	const grace = 20 * time.Second
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a stopped process hears no other signal
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
