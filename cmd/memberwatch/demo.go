package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// errDemo: the demonstration showed something else than it should.
var errDemo = errors.New("the story did not happen")

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the service at work, with everything in one process",
		Long: `demo plays a short story against a simulated MX and a NATS server of its own, and
shows commands (→) and events (←) as a customer sees them. Then the oracle, which
shares no code with the service, checks what was published. It needs nothing, leaves
nothing, reads no settings, and takes about fifteen seconds.`,
		Example: `  memberwatch demo
  NO_COLOR=1 memberwatch demo`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.demo(c.Context()) },
	}
}

func (p *program) demo(ctx context.Context) (err error) {
	out := newLines(p.stdout, p.env.Lookup)
	out.short = true
	begun := time.Now()
	stage, err := newStage(ctx,
		mxsim.Config{Seed: 1, Log: mxsim.LogAll, SettleReads: demoSettle, Now: time.Now},
		map[string]string{
			"FOLLOW_UP_AFTER": demoFollowUp.String(), "DELETE_CONFIRM_AFTER": demoConfirm.String(), "LOG_LEVEL": "error",
			"WEBHOOK_ADDR": "127.0.0.1:0", "WEBHOOK_USER": "mx", "WEBHOOK_PASSWORD": rand.Text(),
		}, p.stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stage.close()) }()
	audience, err := newAudience(ctx, stage.session, out)
	if err != nil {
		return err
	}
	defer audience.dismiss()

	story, err := newStory(stage, audience)
	if err != nil {
		return err
	}
	if err := story.play(ctx); err != nil {
		return fmt.Errorf("%w: %w", errDemo, err)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := stage.session.quiet(waiting); err != nil {
		return fmt.Errorf("%w: %w", errDemo, err)
	}
	verdict, err := stage.judge(ctx)
	if err != nil {
		return err
	}
	return out.summary(story, verdict, time.Since(begun))
}

// judge has the oracle check everything that was published against everything
// that the simulator answered.
func (s *stage) judge(ctx context.Context) (oracle.Report, error) {
	schemas, err := validate.New()
	if err != nil {
		return oracle.Report{}, err
	}
	return oracle.Check(ctx, s.session.js, oracle.Options{
		Prefix: s.session.subjects.Prefix(), SameClock: true, Secrets: []string{mxsim.DefaultAPIKey},
		Truth: truth(s.sim), Reads: reads(s.sim), EveryRead: s.sim.Dropped() == 0, Validate: schemas.Event,
	})
}

// summary tells what there was. Its error says what should not have been.
func (l *lines) summary(s *story, verdict oracle.Report, took time.Duration) error {
	published, announcements, duplicates, answers := s.audience.counts()
	lost := s.sent - answers
	l.heading(fmt.Sprintf("Summary, after %s", took.Round(100*time.Millisecond)))
	l.printf("  commands       %d, lost %d", s.sent, lost)
	l.printf("  reads of MX    %d", s.sim.Stats().Total.ByEndpoint["read"]["200"]+s.sim.Stats().Total.ByEndpoint["read"]["404"])
	l.printf("  events         %d, announcements %d, duplicates %d", published, announcements, duplicates)
	l.printf("  oracle         %s", verdict)
	switch {
	case lost != 0 || duplicates != 0:
		return fmt.Errorf("%w: %d commands lost, %d events twice", errDemo, lost, duplicates)
	case published != verdict.Events || announcements != verdict.Announcements:
		return fmt.Errorf("%w: %d events and %d announcements seen, %d and %d stored", errDemo, published, announcements, verdict.Events, verdict.Announcements)
	case !verdict.OK():
		return fmt.Errorf("%w: the oracle found %d offenses", errDemo, verdict.Faults)
	}
	return nil
}
