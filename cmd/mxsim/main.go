// Command mxsim serves a simulated MX Platform API, with a control API under
// /_sim/ beside it. It prints one line when it listens and runs until SIGINT
// or SIGTERM. See `mxsim --help`, and package mxsim for what it simulates.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

const usage = `mxsim serves a simulated MX Platform API.

Usage: mxsim [--help]

Environment:
  MXSIM_ADDR           where to listen (127.0.0.1:8085; port 0: a free one)
  MXSIM_TLS_CERT       file with the certificate chain, for https (none: http)
  MXSIM_TLS_KEY        file with its key
  MXSIM_CLIENT_ID      accepted client id (sim-client)
  MXSIM_API_KEY        accepted API key (sim-key)
  MXSIM_LATENCY        delay of every answer, such as 20ms (0s)
  MXSIM_NASTY          vary the form of answers wherever MX is undocumented (false)
  MXSIM_SEED           decides guids, URIs and nasty forms (1)
  MXSIM_LOG            what /_sim/log remembers: off, last answer per member, all (off)
  MXSIM_MEMBERS        members at the start, ten to a user (0)
  MXSIM_SETTLE_AFTER   how long an aggregation or authorization takes (2s; 0s: until told)
  MXSIM_SETTLE_READS   reads that show one before it ends (0: any number)

Exit codes: 0 fine, 1 failed, 2 wrong usage or settings.

Example:
  MXSIM_MEMBERS=1 mxsim &
  curl -u sim-client:sim-key -H 'Accept-Version: v20250224' \
    http://127.0.0.1:8085/users/user-1/members/member-1
  curl -X POST http://127.0.0.1:8085/_sim/flip -d '{"to":"DISCONNECTED"}'

A status name as member names one that has it: /users/user-1/members/CHALLENGED
`

// membersPerUser is how many of MXSIM_MEMBERS share a user.
const membersPerUser = 10

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks what the caller got wrong: exit code 2.
var errUsage = errors.New("usage")

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(400) // a quarter less time per answer, for a few MB
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], envconfig.OsLookuper(), os.Stdout)
	stop()
	os.Exit(exitCode(err, os.Stderr))
}

// exitCode reports err, if any, and chooses how to end.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "mxsim:", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// run serves until ctx ends. Its errors are for [exitCode].
func run(ctx context.Context, args []string, env envconfig.Lookuper, stdout io.Writer) error {
	flags := flag.NewFlagSet("mxsim", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // Errors are told once, by exitCode.
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		if _, err := io.WriteString(stdout, usage); err != nil {
			return fmt.Errorf("printing help: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w; see mxsim --help", errUsage, err)
	case flags.NArg() > 0:
		return fmt.Errorf("%w: unexpected argument %q; see mxsim --help", errUsage, flags.Arg(0))
	}
	cfg, err := load(ctx, env)
	if err != nil {
		return err
	}
	sim, err := mxsim.StartTLS(ctx, cfg.Addr, mxsim.Config{
		ClientID: cfg.ClientID, APIKey: cfg.APIKey, Latency: cfg.Latency, Nasty: cfg.Nasty, Seed: cfg.Seed,
		Log: cfg.Log, SettleAfter: cfg.SettleAfter, SettleReads: cfg.SettleReads, Now: time.Now,
	}, cfg.tls)
	if err != nil {
		return err
	}
	if err := populate(sim, cfg.Members); err != nil {
		return errors.Join(err, sim.Close())
	}
	if _, err := fmt.Fprintf(stdout, "mxsim listening on %s\n", sim.URL); err != nil {
		return errors.Join(fmt.Errorf("announcing the address: %w", err), sim.Close())
	}
	<-ctx.Done()
	return sim.Close()
}

// populate adds n members.
func populate(sim *mxsim.Server, n int) error {
	if _, err := sim.AddBulk(mxsim.Bulk{Users: n / membersPerUser, MembersPerUser: membersPerUser}); err != nil {
		return fmt.Errorf("adding members: %w", err)
	}
	if rest := n % membersPerUser; rest > 0 {
		if _, err := sim.AddBulk(mxsim.Bulk{Users: 1, MembersPerUser: rest}); err != nil {
			return fmt.Errorf("adding members: %w", err)
		}
	}
	return nil
}
