package stack

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	api "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"golang.org/x/sys/unix"
)

// container is a Program in a container.
type container struct {
	name string
	ctr  *testcontainers.DockerContainer

	mu    sync.Mutex
	final string // its output, once it is removed
}

// DockerAnswers returns an error when no Docker engine can be reached.
func DockerAnswers(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil { // how testcontainers says that it finds no engine
			err = fmt.Errorf("looking for an engine: %v", p)
		}
	}()
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return fmt.Errorf("connecting to an engine: %w", err)
	}
	defer c.Close()
	if _, err := c.Ping(ctx, client.PingOptions{}); err != nil {
		return fmt.Errorf("asking an engine: %w", err)
	}
	return nil
}

// RunImage runs the image with args, in a container whose own files cannot be
// written to, until it has ended. It returns the exit code and what was written.
func RunImage(tb testing.TB, args ...string) (code int, output string) {
	tb.Helper()
	ctr, err := testcontainers.Run(tb.Context(), image("MEMBERWATCH_IMAGE", memberwatchImage),
		testcontainers.WithCmd(args...), testcontainers.WithLogger(quiet{}),
		testcontainers.WithHostConfigModifier(func(c *api.HostConfig) { c.ReadonlyRootfs = true }))
	testcontainers.CleanupContainer(tb, ctr)
	if err != nil {
		tb.Fatalf("running the image with %q: %v", args, err)
	}
	c := &container{name: strings.Join(args, " "), ctr: ctr}
	return c.Wait(tb), c.Output()
}

// Name implements Program.
func (c *container) Name() string { return c.name }

// HTTP implements Program.
func (c *container) HTTP(tb testing.TB) string {
	tb.Helper()
	return c.endpoint(tb, "http", healthPort)
}

// Hooks implements Program.
func (c *container) Hooks(tb testing.TB) string {
	tb.Helper()
	return c.endpoint(tb, "http", hookPort)
}

// endpoint is where a port of the container is found from here.
func (c *container) endpoint(tb testing.TB, scheme, port string) string {
	tb.Helper()
	at, err := c.ctr.PortEndpoint(tb.Context(), port, scheme)
	if err != nil {
		tb.Fatalf("port %s of %s: %v", port, c.name, err)
	}
	return at
}

// Signal implements Program.
func (c *container) Signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	docker, err := testcontainers.NewDockerClientWithOpts(tb.Context())
	if err == nil {
		defer docker.Close()
		_, err = docker.ContainerKill(tb.Context(), c.ctr.GetContainerID(), client.ContainerKillOptions{Signal: unix.SignalName(s)})
	}
	if err != nil {
		tb.Fatalf("sending %s to %s: %v", s, c.name, err)
	}
}

// Wait implements Program.
func (c *container) Wait(tb testing.TB) int {
	tb.Helper()
	code := -1
	Eventually(tb, c.name+" has ended", func() bool {
		state, err := c.ctr.State(tb.Context())
		if err != nil {
			tb.Fatalf("looking at %s: %v", c.name, err)
		}
		code = state.ExitCode
		return !state.Running
	})
	return code
}

// Output implements Program.
func (c *container) Output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final != "" {
		return c.final
	}
	return c.read()
}

func (c *container) read() string {
	logs, err := c.ctr.Logs(context.Background())
	if err != nil {
		return fmt.Sprintf("(no output: %v)", err)
	}
	defer logs.Close()
	text, err := io.ReadAll(logs)
	if err != nil {
		return fmt.Sprintf("(output cut: %v)\n%s", err, text)
	}
	return string(text)
}

// remove ends and removes the container; its output is kept.
func (c *container) remove() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final == "" {
		c.final = c.read() + "\n"
	}
	return testcontainers.TerminateContainer(c.ctr, testcontainers.StopTimeout(0))
}
