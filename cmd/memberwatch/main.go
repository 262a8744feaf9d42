// Command memberwatch watches the connections of people to their banks that MX
// holds, and publishes what happens to them as CloudEvents on NATS.
//
//   - run.go: the command line. Each command has the file of its name; beside them are
//   - config.go: the environment, read so that every problem is named at once (package
//     settings). strangers.go: names in it that are nearly settings.
//   - worker.go: what serve runs. metrics.go: what it measures of MX. pages_*.go: memory
//     that only the start needs.
//   - session.go: the service from outside, for refresh, events, member, verify,
//     oauth-uri. webhook.go: as MX sees it.
//   - veil.go keeps secrets out of what operators are shown, confirm.go asks before
//     something is removed, progress.go: how far a sweep has come.
//   - line.go: commands and events for people. output.go: what could not be printed.
//   - stage.go, audience.go, story.go: what demo shows. launch.go: the same parts for
//     dev, and commands to paste.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/sethvargo/go-envconfig"
)

// version is set by the linker.
var version = "dev"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	runtime.MemProfileRate = 0 // Nobody reads that profile, whose table costs half a megabyte.
	// Not SIGPIPE: once it is subscribed to, every broken network connection raises it too.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		// A second signal ends the process at once, from before anybody can see that
		// the first was heard.
		signal.Stop(signals)
		cancel()
	}()
	os.Exit(exitCode(run(ctx, os.Args[1:], system{envconfig.OsLookuper()}, os.Stdout, os.Stderr), os.Stderr))
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
