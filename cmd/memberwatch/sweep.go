package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/sweep"
)

var (
	// errSweep: the sweep is over, and not as one would wish.
	errSweep = errors.New("sweep not complete")
	// errUnwatched: nobody watches any more, and the sweep goes on.
	errUnwatched = errors.New("left; the sweep goes on, and memberwatch sweep --resume watches it again")
)

// sweepQuery is what the flags of the sweep command say.
type sweepQuery struct {
	spec         sweep.Spec
	resume, stop bool
}

func (p *program) sweepCommand() *cobra.Command {
	var q sweepQuery
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Compare all members with MX, and refresh those that differ",
		Long: `sweep has the workers walk over all users and members of MX and over all that are
known: members that are new or differ are refreshed, and so are those that MX no
longer lists, which confirms their deletion. It shows how far they have come.

The sweep is held by NATS and goes on without this command: Ctrl-C leaves it, and
--resume watches it again, or shows the last one. One sweep runs at a time.

It fails when something could not be looked at. Refreshes that it has asked for
may still be under way when it is over.`,
		Example: `  memberwatch sweep --dry-run
  memberwatch sweep --status DEGRADED --institution riverbank
  memberwatch sweep --user USR-9f1
  memberwatch sweep --resume`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.sweep(c.Context(), &q) },
	}
	f := c.Flags()
	f.StringVar(&q.spec.User, "user", "", "only the members of this user (guid or your own id)")
	f.StringVar(&q.spec.Institution, "institution", "", "only members of this institution (code or guid)")
	f.StringVar(&q.spec.Status, "status", "", "only members with this status, such as DEGRADED")
	f.BoolVar(&q.spec.DryRun, "dry-run", false, "count what would be refreshed, and refresh nothing")
	f.BoolVar(&q.resume, "resume", false, "watch the sweep that runs, or show the last one")
	f.BoolVar(&q.stop, "stop", false, "end the sweep that runs")
	return c
}

// statusName is the form of a status of MX.
var statusName = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

// check finds flags that mean nothing.
func (q *sweepQuery) check() error {
	q.spec.Status = strings.ToUpper(q.spec.Status)
	switch {
	case q.resume && q.stop:
		return usagef("--resume, --stop: give one of them")
	case (q.resume || q.stop) && q.spec != sweep.Spec{}:
		return usagef("--resume and --stop are about the sweep that runs; it has its filters already")
	case q.spec.Status != "" && !statusName.MatchString(q.spec.Status):
		return usagef("--status: %.80q is no status; see memberwatch catalog", q.spec.Status)
	case q.spec.User == "":
		return nil
	}
	if err := (events.Command{User: q.spec.User, Member: "any"}).Validate(); err != nil {
		return usagef("--user: %w", err)
	}
	return nil
}

func (p *program) sweep(ctx context.Context, q *sweepQuery) error {
	if err := q.check(); err != nil {
		return err
	}
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	chains := bus.NewChains(c.js, c.subjects, time.Now)
	// Not ended by whoever interrupts us: a sweep that is begun by halves stands still.
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), reachTimeout)
	defer cancel()
	var s sweep.Sweep
	switch {
	case q.stop:
		s, err = sweep.Stop(asking, chains, time.Now())
	case q.resume:
		s, err = sweep.Resume(asking, chains)
	default:
		s, err = sweep.Start(asking, chains, "sweep-"+nuid.Next(), q.spec, time.Now())
	}
	switch {
	case errors.Is(err, sweep.ErrRunning):
		return fmt.Errorf("%w, begun at %s: watch it with --resume, or end it with --stop", sweep.ErrRunning, s.StartedAt.Format(time.RFC3339))
	case err != nil:
		return c.explain(c.subjects.BackgroundStream(), err)
	}
	if s.Outcome == "" {
		if s, err = p.watch(ctx, chains, s); err != nil {
			return err
		}
	}
	p.printSweep(&s)
	switch {
	case q.stop:
		return nil
	case s.Outcome != sweep.Completed:
		return fmt.Errorf("%w: %s", errSweep, s.Outcome)
	case s.Counts.Errors > 0:
		return fmt.Errorf("%w: %d errors", errSweep, s.Counts.Errors)
	}
	return nil
}

const (
	// watchEvery is how often the state is looked at.
	watchEvery = 500 * time.Millisecond
	// watchTries is how many looks in a row may fail.
	watchTries = 5
	// quiet is after how long without a step the command wonders.
	quiet = 20 * time.Second
)

// watch shows how a sweep proceeds until it is over.
func (p *program) watch(ctx context.Context, chains *bus.Chains, s sweep.Sweep) (sweep.Sweep, error) {
	show := newProgress(p.stderr, s.ID)
	defer show.close()
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	moved, wondered, failures := time.Now(), false, 0
	for s.Outcome == "" {
		show.update(&s, time.Now())
		select {
		case <-ctx.Done():
			return s, errUnwatched
		case <-t.C:
		}
		now, err := sweep.Load(ctx, chains)
		if err != nil {
			if failures++; ctx.Err() == nil && failures >= watchTries {
				return s, fmt.Errorf("watching: %w", err)
			}
			continue
		}
		failures = 0
		switch {
		case now.ID != s.ID:
			return s, fmt.Errorf("%w: another sweep has begun, %s", errSweep, now.ID)
		case now.UpdatedAt.After(s.UpdatedAt):
			moved, wondered = time.Now(), false
		case !wondered && time.Since(moved) > quiet:
			show.say("no step for " + quiet.String() + ": is a worker running, and does MX answer?")
			wondered = true
		}
		s = now
	}
	return s, nil
}

// printSweep is what there is to say of a sweep that is over.
func (p *program) printSweep(s *sweep.Sweep) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	n := &s.Counts
	fmt.Fprintf(w, "sweep\t%s %s after %s\n", s.ID, s.Outcome, s.FinishedAt.Sub(s.StartedAt).Round(time.Millisecond))
	fmt.Fprintf(w, "users\t%d visited, MX listed %d\n", n.Visited, n.Users)
	fmt.Fprintf(w, "members\t%d as known, %d changed, %d new, %d missing\n", n.Same, n.Changed, n.New, n.Missing)
	if s.Spec.DryRun {
		fmt.Fprintf(w, "refreshes\tnone: a dry run; %d would be\n", n.Changed+n.New+n.Missing)
	} else {
		fmt.Fprintf(w, "refreshes\t%d\n", n.Asked)
	}
	fmt.Fprintf(w, "errors\t%d\n", n.Errors)
	if s.Note != "" {
		fmt.Fprintf(w, "note\t%s\n", s.Note)
	}
	_ = w.Flush() // Output for a person.
}
