// Command memberwatch watches the connections of people to their banks that MX
// holds, and publishes what happens to them as CloudEvents on NATS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sethvargo/go-envconfig"
)

// version is set by the linker.
var version = "dev" //nolint:gochecknoglobals // The linker can set nothing else.

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(exitCode(run(ctx, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr), os.Stderr))
}

// exitCode reports err, if any, and chooses how to end.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "memberwatch:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}
