//go:build linux

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// limit bounds the whole run.
const limit = 20 * time.Minute

// envProfile tells a worker built to be profiled where the profile goes.
const envProfile = "BENCH_CPUPROFILE"

// profiler is added to the worker's build for -cpuprofile.
//
//go:embed testdata/profile.go.txt
var profiler []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if role := os.Getenv(envRole); role != "" {
		err = play(ctx, role, os.Stdin, os.Stdout, os.Stderr)
	} else {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// size is how much is done.
type size struct {
	members, inFlight int           // A
	wideCommands      int           // B, the burst
	paced             time.Duration // B, how long at pacedRate
	hotCommands       int           // C
	walkMembers       int           // E
	rounds            map[string]int
}

// fullSize takes some five minutes on two cores.
func fullSize() size {
	return size{
		members: 10_000, inFlight: 64, wideCommands: 12_800, paced: 6 * time.Second, hotCommands: 4_000, walkMembers: 100_000,
		rounds: map[string]int{"A": 3, "B": 2, "C": 3, "E": 1},
	}
}

// quickSize takes half a minute, most of it for building.
func quickSize() size {
	return size{
		members: 1_000, inFlight: 64, wideCommands: 2_560, paced: 2 * time.Second, hotCommands: 1_000, walkMembers: 10_000,
		rounds: map[string]int{"A": 1, "B": 1, "C": 1, "E": 1},
	}
}

// bench is one invocation.
type bench struct {
	size     size
	settings []string // more of memberwatch's environment
	profile  string   // where its CPU profile goes; empty: none
	progress io.Writer
	report   *report
	untraced time.Duration // see tracingOff; 0: not measured yet

	dir                      string // holds everything; removed at the end
	self, mxsim, memberwatch string // binaries
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	b := &bench{size: fullSize(), progress: stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	scenarios := flags.String("scenarios", "ABC", "which to run: A (with D), B, C, E")
	only := flags.String("only", "", "run one contender alone: memberwatch or loop")
	quick := flags.Bool("quick", false, "small sizes and one round: does it work at all?")
	rounds := flags.Int("rounds", 0, "rounds of each scenario (default 3 of A, 2 of B, 3 of C, 1 of E)")
	sizes := flags.String("scale", "", "measure what `members` known members cost instead, several parted by commas: 10000,100000,1000000")
	jsonFile := flags.String("json", "", "also write the report to this `file`, as JSON")
	flags.StringVar(&b.profile, "cpuprofile", "", "write a CPU profile of memberwatch in the warm pass of A to this `file`")
	flags.StringVar(&b.memberwatch, "memberwatch", "", "use this `binary` instead of building one")
	flags.Func("set", "a `KEY=value` more in memberwatch's environment; may be repeated", func(s string) error {
		if !strings.Contains(s, "=") {
			return errors.New("want KEY=value")
		}
		b.settings = append(b.settings, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // flag has printed it.
	}
	if flags.NArg() > 0 || strings.Trim(*scenarios, "ABCDE") != "" {
		return errors.New("unexpected argument; see -h")
	}
	var members []int
	if *sizes != "" {
		if members, err = parseSizes(*sizes); err != nil {
			return err
		}
	}
	if *quick {
		b.size = quickSize()
	}
	if *rounds > 0 {
		b.size.rounds = map[string]int{"A": *rounds, "B": *rounds, "C": *rounds, "E": *rounds}
	}
	b.report = newReport()

	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w: the whole took more than %s", errBroken, limit))
	defer cancel()
	if b.dir, err = os.MkdirTemp("", "memberwatch-bench-*"); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	if members != nil {
		return b.runScale(ctx, members, stdout, *jsonFile)
	}
	failed := b.rounds(ctx, *scenarios, *only)
	b.report.conclude() // of what was measured before it failed, too
	if len(b.report.Rows) > 0 {
		b.report.write(stdout, b.size.titles())
	}
	if failed != nil || *jsonFile == "" {
		return failed
	}
	text, err := b.report.encode()
	if err != nil {
		return err
	}
	if err := os.WriteFile(*jsonFile, text, 0o644); err != nil { //nolint:gosec // Meant to be read.
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// build makes the binaries.
func (b *bench) build(ctx context.Context) (err error) {
	if b.self, err = os.Executable(); err != nil {
		return fmt.Errorf("finding this binary: %w", err)
	}
	b.mxsim = filepath.Join(b.dir, "mxsim")
	if err := goBuild(ctx, b.mxsim, "github.com/memberwatch/memberwatch/cmd/mxsim"); err != nil {
		return err
	}
	if b.profile != "" {
		if b.profile, err = filepath.Abs(b.profile); err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
	}
	if b.memberwatch != "" {
		b.memberwatch, err = filepath.Abs(b.memberwatch)
		return err //nolint:wrapcheck // It names the path.
	}
	var flags []string
	if b.profile != "" {
		overlay, err := b.overlay()
		if err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		flags = []string{"-overlay", overlay}
	}
	b.memberwatch = filepath.Join(b.dir, "memberwatch")
	return goBuild(ctx, b.memberwatch, "github.com/memberwatch/memberwatch/cmd/memberwatch", flags...)
}

// overlay writes what adds the profiler to memberwatch's build, so that its
// sources need no switch for it.
func (b *bench) overlay() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	code, overlay := filepath.Join(b.dir, "profile.go"), filepath.Join(b.dir, "overlay.json")
	if err := os.WriteFile(code, profiler, 0o600); err != nil {
		return "", err //nolint:wrapcheck // It names the file.
	}
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "cmd", "memberwatch", "bench_profile.go"): code,
	}})
	if err != nil {
		return "", err //nolint:wrapcheck // Cannot happen.
	}
	return overlay, os.WriteFile(overlay, text, 0o600) //nolint:wrapcheck // It names the file.
}

// rounds runs the scenarios, the contenders in alternating order.
func (b *bench) rounds(ctx context.Context, scenarios, only string) error {
	for _, s := range []struct {
		name string
		run  func(context.Context, *contender) error
	}{{"A", b.throughput}, {"B", b.latency}, {"C", b.hot}, {"E", b.walk}} {
		if !strings.Contains(scenarios, s.name) && (s.name != "A" || !strings.Contains(scenarios, "D")) {
			continue
		}
		rounds := b.size.rounds[s.name]
		for i := range rounds {
			pair := []*contender{memberwatch(), bareLoop()}
			if i%2 == 1 {
				pair[0], pair[1] = pair[1], pair[0]
			}
			for _, c := range pair {
				if only != "" && only != c.name || s.name == "E" && !c.isProduct() { // the loop has no sweep
					continue
				}
				begun := time.Now()
				if err := s.run(ctx, c); err != nil {
					return fmt.Errorf("scenario %s, %s: %w", s.name, c.name, err)
				}
				fmt.Fprintf(b.progress, "%s %d/%d %s: %.1f s\n", s.name, i+1, rounds, c.name, time.Since(begun).Seconds())
			}
		}
	}
	return nil
}
