// Command mxsim serves a simulated MX Platform API, with a control API under
// /_sim/ beside it. It prints one line when it listens and runs until SIGINT
// or SIGTERM. See `mxsim --help`, and package mxsim for what it simulates.
package main

import (
	"context"
	"crypto/tls"
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

Example:
  MXSIM_MEMBERS=1 mxsim &
  curl -u sim-client:sim-key -H 'Accept-Version: v20250224' \
    http://127.0.0.1:8085/users/user-1/members/member-1
  curl -X POST http://127.0.0.1:8085/_sim/flip -d '{"to":"DISCONNECTED"}'

A status name as member names one that has it: /users/user-1/members/CHALLENGED
`

// membersPerUser is how many of MXSIM_MEMBERS share a user.
const membersPerUser = 10

type config struct {
	Addr        string        `env:"MXSIM_ADDR,default=127.0.0.1:8085"`
	TLSCert     string        `env:"MXSIM_TLS_CERT"`
	TLSKey      string        `env:"MXSIM_TLS_KEY"`
	ClientID    string        `env:"MXSIM_CLIENT_ID,default=sim-client"`
	APIKey      string        `env:"MXSIM_API_KEY,default=sim-key"`
	Latency     time.Duration `env:"MXSIM_LATENCY,default=0s"`
	Nasty       bool          `env:"MXSIM_NASTY,default=false"`
	Seed        uint64        `env:"MXSIM_SEED,default=1"`
	Log         mxsim.LogMode `env:"MXSIM_LOG,default=off"`
	Members     int           `env:"MXSIM_MEMBERS,default=0"`
	SettleAfter time.Duration `env:"MXSIM_SETTLE_AFTER,default=2s"`
	SettleReads int           `env:"MXSIM_SETTLE_READS,default=0"`
}

func main() {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(400) // a quarter less time per answer, for a few MB
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mxsim:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, getenv func(string) (string, bool), stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mxsim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = io.WriteString(stdout, usage) }
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg, err := load(ctx, getenv)
	if err != nil {
		return err
	}
	secure, err := cfg.tls()
	if err != nil {
		return err
	}

	sim, err := mxsim.StartTLS(ctx, cfg.Addr, mxsim.Config{
		ClientID: cfg.ClientID, APIKey: cfg.APIKey, Latency: cfg.Latency, Nasty: cfg.Nasty, Seed: cfg.Seed,
		Log: cfg.Log, SettleAfter: cfg.SettleAfter, SettleReads: cfg.SettleReads, Now: time.Now,
	}, secure)
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

// lookuper is an environment that is a function.
type lookuper func(string) (string, bool)

func (l lookuper) Lookup(key string) (string, bool) { return l(key) }

func load(ctx context.Context, getenv func(string) (string, bool)) (config, error) {
	var cfg config
	err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: &cfg, Lookuper: lookuper(getenv)})
	if err != nil {
		return cfg, fmt.Errorf("reading configuration: %w", err)
	}
	var problems []error
	switch cfg.Log {
	case mxsim.LogOff, mxsim.LogLast, mxsim.LogAll:
	default:
		problems = append(problems, fmt.Errorf("MXSIM_LOG is %q, not off, last or all", cfg.Log))
	}
	if (cfg.TLSCert == "") != (cfg.TLSKey == "") {
		problems = append(problems, errors.New("MXSIM_TLS_CERT and MXSIM_TLS_KEY: give both or neither"))
	}
	for _, number := range []struct {
		name     string
		negative bool
	}{
		{"MXSIM_LATENCY", cfg.Latency < 0},
		{"MXSIM_MEMBERS", cfg.Members < 0},
		{"MXSIM_SETTLE_AFTER", cfg.SettleAfter < 0},
		{"MXSIM_SETTLE_READS", cfg.SettleReads < 0},
	} {
		if number.negative {
			problems = append(problems, fmt.Errorf("%s is negative", number.name))
		}
	}
	return cfg, errors.Join(problems...)
}

// tls returns how to serve https, or nil for http.
func (c *config) tls() (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("loading MXSIM_TLS_CERT and MXSIM_TLS_KEY: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
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
