package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"
)

// errUsage marks what the caller got wrong: exit code 2.
var errUsage = errors.New("usage")

// usagef makes an error that ends the program with exit code 2.
func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errUsage, fmt.Errorf(format, args...))
}

// program is what every command works with: its surroundings, none of which
// it reads by itself.
type program struct {
	env    envconfig.Lookuper
	stdout io.Writer // what was asked for
	stderr io.Writer // logs, and what is said beside it
	stdin  io.Reader // where a person answers; nil: there is nobody to ask
}

// run carries out one command line. Its errors are for [exitCode].
func run(ctx context.Context, args []string, env envconfig.Lookuper, stdout, stderr io.Writer) error {
	out := &output{w: stdout}
	p := &program{env: env, stdout: out, stderr: stderr}
	if isTerminal(os.Stdin) {
		p.stdin = os.Stdin
	}
	root := p.root() //nolint:contextcheck // Cobra hands ctx to the command it runs.
	addHelpers(root)
	begun := false
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		// Cobra looks at these as well, but last, just before the command.
		if err := cmp.Or(c.ValidateRequiredFlags(), c.ValidateFlagGroups()); err != nil {
			return err
		}
		begun = true
		return nil
	}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !begun && !errors.Is(err, errUsage) { // What is wrong before a command begins is the command line.
		err = usagef("%w; see %s --help", err, c.CommandPath())
	}
	return out.verdict(c.CommandPath(), err)
}

// addHelpers adds the commands that cobra would add by itself, and has them refuse
// what they do not know.
func addHelpers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(c *cobra.Command, args []string) error {
				if named, rest, _ := c.Root().Find(args); len(rest) > 0 { // Root has Args, so there is no error.
					return usagef("unknown command %q; see %s --help", rest[0], named.CommandPath())
				}
				return nil
			}
		case "completion":
			wantCommand(c)
		}
	}
}

// root is the command that has all others.
func (p *program) root() *cobra.Command {
	root := group("memberwatch", "Watch the connections of people to their banks that MX holds",
		`memberwatch takes commands to refresh a member from NATS, reads the member from
MX, and publishes what changed as CloudEvents.

Settings come from the environment alone; "memberwatch catalog --config" lists
them. Exit codes: 0 fine, 1 failed, 2 wrong usage or settings.`,
		`  memberwatch demo                                  # see it work, nothing needed
  memberwatch dev                                   # play with it
  MX_CLIENT_ID=… MX_API_KEY_FILE=… memberwatch serve
  memberwatch refresh USR-1 MBR-1 --wait`,
		p.warning(p.serveCommand()), p.demoCommand(), p.warning(p.devCommand()), p.refreshCommand(), p.eventsCommand(), p.memberCommand(),
		p.oauthURICommand(), p.webhookCommand(), p.sweepCommand(), p.catalogCommand(), p.topologyCommand(), p.verifyCommand(), p.deadLettersCommand(), p.forgetCommand(),
		p.doctorCommand(), p.healthcheckCommand(), p.versionCommand(),
	)
	root.SilenceErrors, root.SilenceUsage = true, true // exitCode reports, once
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// group is a command that only has others.
func group(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example}
	wantCommand(c)
	c.AddCommand(commands...)
	return c
}

// wantCommand has c refuse to be called without one of its commands.
func wantCommand(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("unknown command %q; did you mean %s?", args[0], strings.Join(near, " or "))
		}
		return usagef("unknown command %q; see %s --help", args[0], c.CommandPath())
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		c.SetOut(c.ErrOrStderr())
		_ = c.Help() // What cannot be written there can be told nowhere.
		return usagef("give a command")
	}
	c.SuggestionsMinimumDistance = 2
}

// exactly wants one argument for each of names.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			return nil
		case len(names) == 0:
			return usagef("unexpected argument %q; see %s --help", args[0], c.CommandPath())
		}
		return usagef("want %s, got %d arguments; see %s --help", strings.Join(names, " "), len(args), c.CommandPath())
	}
}
