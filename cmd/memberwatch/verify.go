package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/settings"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// errBroken: the stream does not hold what the contract promises.
var errBroken = errors.New("promises broken")

func (p *program) verifyCommand() *cobra.Command {
	var member string
	c := &cobra.Command{
		Use:   "verify",
		Short: "Check that the event stream keeps what the contract promises",
		Long: `verify reads the event stream and the announcements from their beginning and checks
what can be told from them alone: schemas, no duplicates, revisions without gaps,
changes that fold into each snapshot, a need announced once. The check shares no
code with the service. It reads only, and all of it: not for every minute.

It needs the settings that shape events: SUBJECT_PREFIX, EVENT_TYPE_PREFIX,
INITIAL_EVENTS, AGGREGATED_EVENTS.`,
		Example: `  memberwatch verify
  memberwatch verify --member MBR-7c2`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if member != "" && !events.ValidToken(member) {
				return usagef("--member: %.80q is not a guid", member)
			}
			return p.verify(c.Context(), member)
		},
	}
	c.Flags().StringVar(&member, "member", "", "only this member (guid)")
	return c
}

func (p *program) verify(ctx context.Context, member string) error {
	var r refresh.Config
	if err := wrongSettings(append(settings.Read(ctx, p.env, &r), r.Problems()...)); err != nil {
		return err
	}
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	trimmed, err := c.trimmed(ctx)
	if err != nil {
		return err
	}
	schemas, err := validate.New()
	if err != nil {
		return err
	}
	report, err := oracle.Check(ctx, c.js, oracle.Options{
		Prefix: c.subjects.Prefix(), Member: member, EventTypePrefix: r.EventTypePrefix,
		Aggregated: r.AggregatedEvents, NoInitialEvents: !r.InitialEvents,
		Trimmed: trimmed, Validate: schemas.Event,
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, report)
	if !report.OK() {
		return fmt.Errorf("%w: %d offenses", errBroken, report.Faults)
	}
	return nil
}

// trimmed tells whether the event stream has let old events go, as it does from
// HISTORY_PER_TYPE of one type and member on.
func (c *session) trimmed(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.subjects.EventStream())
	if err != nil {
		return false, c.explain(c.subjects.EventStream(), fmt.Errorf("looking at event stream: %w", err))
	}
	return hasGaps(s.CachedInfo().State), nil
}

func hasGaps(s jetstream.StreamState) bool { return s.Msgs != s.LastSeq }
