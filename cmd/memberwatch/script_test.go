package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sethvargo/go-envconfig"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"memberwatch": main,
		"refused":     refused,
	})
}

// refused runs memberwatch and succeeds when that ends with exit code 2.
func refused() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := exitCode(run(ctx, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr), os.Stderr)
	if code != exitUsage {
		fmt.Fprintf(os.Stderr, "exit code %d, want %d\n", code, exitUsage)
		os.Exit(1)
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"NATS", "MX", "HTTP", "HOOKS", "OTHER_NATS", "OTHER_HTTP"} {
				addr, err := freeAddr()
				if err != nil {
					return err
				}
				env.Setenv(name, addr)
			}
			env.Setenv("NOBODY", "127.0.0.1:1") // a free port would be somebody's in a moment
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready, "terminate": terminate},
	})
}

// freeAddr finds an address that was free a moment ago.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ready waits until the service whose HTTP_ADDR is the argument is ready.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready host:port")
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	for {
		resp, err := http.Get("http://" + args[0] + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-end.C:
			ts.Fatalf("%s is not ready in time: %v", args[0], err)
		}
	}
}

// terminate sends SIGTERM to the background commands that have the argument:
// testscript's own kill knows only SIGINT and SIGKILL.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: terminate subcommand")
	}
	for _, c := range ts.BackgroundCmds() {
		if len(c.Args) < 2 || c.Args[1] != args[0] {
			continue
		}
		if err := c.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			ts.Check(err)
		}
	}
}
