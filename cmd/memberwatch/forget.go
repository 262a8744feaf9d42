package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// natsAnswers is how long a read in hand may spend with NATS at most, beside its
// call to MX: to recall the state, to store the event, to announce it; 5 s each.
const natsAnswers = 15 * time.Second

func (p *program) forgetCommand() *cobra.Command {
	var yes bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "forget USER [MEMBER]",
		Short: "Remove what is kept about a member, or about a user and all their members",
		Long: `forget removes a member's events, announcements, dead letters, ids, and the commands
and background reads that wait. USER and MEMBER are MX's guids, or your own ids once
the service has seen them; USER alone is the guid, and means all members.

Workers go on meanwhile. So it first waits until nothing about the member is in
hand, removes, waits again for as long as a read may take (--wait), and looks
whether anything was written; if so, it begins again. It says what will be removed
and asks, or wants --yes where there is no terminal.

A member that is still at MX is discovered again by the next command, webhook or
sweep: delete it at MX first. What others have copied (subscribers, mirrors,
backups, logs) is theirs to remove.`,
		Example: `  memberwatch forget USR-9f1 MBR-7c2
  memberwatch forget anna checking
  memberwatch forget USR-9f1 --yes`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("want USER or USER MEMBER, got %d arguments; see %s --help", len(args), c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return p.forget(c.Context(), args, wait, yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().DurationVar(&wait, "wait", 0, "how long a read in hand may take (default: MX_TIMEOUT, FOLLOW_UP_AFTER and 15s)")
	return c
}

func (p *program) forget(ctx context.Context, args []string, wait time.Duration, yes bool) error {
	who := events.Command{User: args[0], Member: "MBR-any"}
	if len(args) == 2 {
		who.Member = args[1]
	}
	switch err := who.Validate(); {
	case err != nil:
		return usagef("%w", err)
	case len(args) == 1 && !events.IsUserGUID(who.User):
		return usagef("user: %.80q is not a guid (USR-…); your own ids mean something only with both USER and MEMBER", who.User)
	case wait < 0:
		return usagef("--wait: %s is no time to wait", wait)
	}
	if wait == 0 {
		var err error
		if wait, err = p.readTime(ctx); err != nil {
			return err
		}
	}
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	person := bus.Person{User: who.User}
	if len(args) == 2 {
		k, err := c.key(ctx, who.User, who.Member)
		if err != nil {
			return err
		}
		person = bus.Person{User: k.User(), Member: k.Member(), UserIDs: args[:1], MemberIDs: args[1:]}
	}
	f := bus.NewForgetter(c.js, c.subjects, wait)
	there, err := f.Count(ctx, person)
	if err != nil {
		return c.explain(c.subjects.EventStream(), err)
	}
	if err := p.confirm(fmt.Sprintf("%d messages about %s will be removed for good.", there.Total(), describePerson(person)), yes); err != nil {
		return err
	}
	fmt.Fprintf(p.stderr, "waiting for work in hand; this takes %s or more\n", wait)
	removed, err := f.Forget(ctx, person)
	p.printRemoved(c.subjects, &removed)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "\nA member that is still at MX will be discovered again by the next command.")
	return nil
}

// readTime is how long a read may take that a worker with these settings has in hand.
func (p *program) readTime(ctx context.Context) (time.Duration, error) {
	var m mx.Config
	var b bus.Config
	err := wrongSettings(append(settings.Read(ctx, p.env, &m, &b), b.Problems()...))
	return m.Timeout + b.FollowUpAfter + natsAnswers, err
}

func describePerson(p bus.Person) string {
	if p.Member == "" {
		return "user " + p.User + " and all their members"
	}
	return "member " + p.Member + " of user " + p.User
}

// printRemoved says what was removed from where.
func (p *program) printRemoved(s events.Subjects, r *bus.Removed) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		stream string
		count  int
		what   string
	}{
		{s.BackgroundStream(), r.Scheduled, "background reads"},
		{s.CommandStream(), r.Commands, "commands that waited"},
		{s.DeadLetterStream(), r.DeadLetters, "dead letters"},
		{s.IDBucket(), r.IDs, "ids of your own"},
		{s.OAuthStream(), r.Announcements, "announcements"},
		{s.EventStream(), r.Events, "events"},
	} {
		fmt.Fprintf(w, "removed\t%s\t%d\t%s\n", row.stream, row.count, row.what)
	}
	_ = w.Flush() // Output for a person.
}
