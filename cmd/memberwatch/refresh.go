package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
)

// errOutcome: the command was carried out, and not as one would wish.
var errOutcome = errors.New("command not served")

// noResult is what may be so when a command has no result yet, and where to look.
const noResult = "is a worker running? If so, the command may still be being tried: memberwatch doctor finds what is in its way, " +
	"memberwatch deadletters ls tells whether it was given up"

func (p *program) refreshCommand() *cobra.Command {
	var cmd events.Command
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "refresh USER MEMBER",
		Short: "Ask for a refresh of a member",
		Long: `refresh publishes the command to read a member from MX and to publish what changed.
USER and MEMBER are MX's guids or your own ids.

With --wait it waits for the result and fails when the member is not found, when
the command was given up, or when no result came in time; the command then is
still carried out.`,
		Example: `  memberwatch refresh USR-9f1 MBR-7c2
  memberwatch refresh anna checking --wait --reason "user opened the app"`,
		Args: exactly("USER", "MEMBER"),
		RunE: func(c *cobra.Command, args []string) error {
			cmd.User, cmd.Member = args[0], args[1]
			if err := cmd.Validate(); err != nil {
				return usagef("%w", err)
			}
			if timeout <= 0 {
				return usagef("--timeout: %s is no time to wait", timeout)
			}
			return p.refresh(c.Context(), cmd, wait, timeout)
		},
	}
	f := c.Flags()
	f.BoolVar(&wait, "wait", false, "wait for the result")
	f.BoolVar(&cmd.Aggregate, "aggregate", false, "have MX aggregate at the bank first")
	f.StringVar(&cmd.Reason, "reason", "", "why, for people; the event and the result carry it")
	f.StringVar(&cmd.CommandID, "id", "", "id of the command (default: its sequence in the stream, with --wait a new one)")
	f.DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait")
	return c
}

func (p *program) refresh(ctx context.Context, cmd events.Command, wait bool, timeout time.Duration) error {
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var results *nats.Subscription
	if wait {
		// A result is sent once and kept nowhere: listen first, and know the id before.
		if cmd.CommandID == "" {
			cmd.CommandID = "cli-" + nuid.Next()
		}
		if results, err = c.nc.SubscribeSync(c.subjects.Result(cmd.CommandID)); err != nil {
			return fmt.Errorf("listening for the result: %w", err)
		}
		if err := c.nc.FlushTimeout(reachTimeout); err != nil {
			return fmt.Errorf("listening for the result: %w", err)
		}
	}
	seq, err := c.send(ctx, cmd)
	if err != nil {
		return err
	}
	if cmd.CommandID == "" {
		cmd.CommandID = strconv.FormatUint(seq, 10)
	}
	fmt.Fprintf(p.stdout, "sent       %s #%d, command %s\n", c.subjects.CommandStream(), seq, cmd.CommandID)
	if !wait {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := results.NextMsgWithContext(waiting)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no result within %s; %s", errOutcome, timeout, noResult)
	case err != nil:
		return fmt.Errorf("waiting for the result: %w", err)
	}
	r, err := events.DecodeResult(m.Data)
	if err != nil {
		return err
	}
	return p.report(r)
}

// report prints a result; its error tells whether it is one to be content with.
func (p *program) report(r events.Result) error {
	fmt.Fprintf(p.stdout, "%-10s", r.Outcome)
	if r.EventType != "" {
		fmt.Fprintf(p.stdout, " %s, event %s", r.EventType, r.EventID)
	}
	if r.MemberGUID != "" {
		fmt.Fprintf(p.stdout, " member %s of %s", r.MemberGUID, r.UserGUID)
	}
	if r.Revision != 0 { // None is known of a member whose state cannot be read, or that never had one.
		fmt.Fprintf(p.stdout, ", revision %d", r.Revision)
	}
	if r.Reason != "" {
		fmt.Fprintf(p.stdout, " (%s)", r.Reason)
	}
	fmt.Fprintln(p.stdout)
	switch r.Outcome {
	case events.OutcomeChanged, events.OutcomeUnchanged:
		return nil
	case events.OutcomeNotFound, events.OutcomeFailed:
	}
	return fmt.Errorf("%w: %s", errOutcome, r.Outcome)
}
