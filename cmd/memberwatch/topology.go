package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// errDiffers: what is on NATS is not what the settings ask for.
var errDiffers = errors.New("topology differs")

func (p *program) topologyCommand() *cobra.Command {
	return group("topology", "Compare streams and consumers on NATS with what the service needs",
		`topology compares the streams, the bucket and the consumers on NATS with what the
settings ask for. The settings that shape events count too: give it the environment
that serve gets. No API key is needed.`,
		`  memberwatch topology plan
  memberwatch topology apply`,
		&cobra.Command{
			Use:   "plan",
			Short: "Show the differences",
			Long: `plan prints each difference and changes nothing. It exits with 0 when there is none
and with 1 when there is one.`,
			Example: `  NATS_URL=nats://nats:4222 MX_CLIENT_ID=… memberwatch topology plan`,
			Args:    exactly(),
			RunE:    func(c *cobra.Command, _ []string) error { return p.plan(c.Context()) },
		},
		&cobra.Command{
			Use:   "apply",
			Short: "Create what is missing and change what differs",
			Long: `apply does what plan shows. It refuses, and changes nothing, when a difference would
make the events that are already there lie: another MX, another client.`,
			Example: `  NATS_URL=nats://nats:4222 MX_CLIENT_ID=… memberwatch topology apply`,
			Args:    exactly(),
			RunE:    func(c *cobra.Command, _ []string) error { return p.apply(c.Context()) },
		},
	)
}

// topology connects, and returns the topology that the settings ask for.
func (p *program) topology(ctx context.Context) (*bus.Topology, *session, error) {
	var c config
	problems := settings.Read(ctx, p.env, &c.Bus, &c.MX, &c.Refresh)
	problems = append(problems, slices.Concat(natsURLProblems(c.Bus.URL), c.Bus.Problems(), c.Refresh.Problems())...)
	host, err := mxHost(c.MX.BaseURL)
	if err != nil {
		problems = append(problems, err)
	}
	if c.MX.ClientID == "" {
		problems = append(problems, errors.New("MX_CLIENT_ID: missing: the streams belong to one MX client"))
	}
	if len(problems) > 0 {
		return nil, nil, wrongSettings(problems)
	}
	session, err := p.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	return bus.NewTopology(session.js, c.Bus, session.subjects, c.identity(host)), session, nil
}

// mxHost is which MX a URL is about, as a client made for it says too.
func mxHost(base string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(base))
	if err != nil || u.Hostname() == "" {
		return "", errors.New("MX_BASE_URL: not a URL with a host") // The text may hold a password.
	}
	return u.Hostname(), nil
}

func (p *program) plan(ctx context.Context) error {
	t, c, err := p.topology(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	steps, err := t.Plan(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		fmt.Fprintln(p.stdout, s)
	}
	if len(steps) > 0 {
		return fmt.Errorf("%w in %d places; memberwatch topology apply changes what may change", errDiffers, len(steps))
	}
	fmt.Fprintln(p.stdout, "nothing to change")
	return nil
}

func (p *program) apply(ctx context.Context) error {
	t, c, err := p.topology(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	steps, err := t.Plan(ctx)
	if err != nil {
		return err
	}
	if err := t.Apply(ctx); err != nil {
		return err
	}
	for _, s := range steps {
		fmt.Fprintln(p.stdout, "done:", s)
	}
	if len(steps) == 0 {
		fmt.Fprintln(p.stdout, "nothing to change")
	}
	return nil
}
