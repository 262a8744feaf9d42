package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe"
)

// Where dev puts its parts unless told otherwise.
const (
	devNATS = "127.0.0.1:4222"
	devMX   = "127.0.0.1:8085"
	devHTTP = "127.0.0.1:8080"
)

func (p *program) devCommand() *cobra.Command {
	var natsAddr, mxAddr, httpAddr string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run the service against a simulated MX, to play with",
		Long: `dev runs the service with a NATS server and a simulated MX of its own until Ctrl-C,
adds a few members, and prints commands to try. It never talks to the real MX or to
another NATS. What it stored is gone at the end unless DATA_DIR is set; the other
settings are those of serve. MXSIM_ADDR is where the simulator listens.`,
		Example: `  memberwatch dev
  memberwatch dev --nats 127.0.0.1:4333 --mx 127.0.0.1:0 --http 127.0.0.1:0`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.dev(c.Context(), natsAddr, mxAddr, httpAddr) },
	}
	env := func(name, fallback string) string {
		v, _ := p.env.Lookup(name)
		return cmp.Or(v, fallback)
	}
	f := c.Flags()
	f.StringVar(&natsAddr, "nats", env("NATS_LISTEN", devNATS), "where the NATS server listens (NATS_LISTEN)")
	f.StringVar(&mxAddr, "mx", env("MXSIM_ADDR", devMX), "where the simulated MX listens (MXSIM_ADDR)")
	f.StringVar(&httpAddr, "http", env("HTTP_ADDR", devHTTP), "where health and metrics are served (HTTP_ADDR)")
	return c
}

func (p *program) dev(ctx context.Context, natsAddr, mxAddr, httpAddr string) (err error) {
	defer func() {
		switch { // Who plays is told of flags rather than of settings.
		case errors.Is(err, embedded.ErrAddrInUse):
			err = fmt.Errorf("NATS server: %s: %w; --nats chooses another address", natsAddr, embedded.ErrAddrInUse)
		case errors.Is(err, syscall.EADDRINUSE):
			err = fmt.Errorf("%w; --mx and --http choose other addresses", err)
		}
	}()
	if _, port, err := net.SplitHostPort(mxAddr); err != nil || !isPort(port) {
		return usagef("--mx (MXSIM_ADDR): %q is not host:port: give an address such as %s", mxAddr, devMX)
	}
	sim, err := mxsim.Start(ctx, mxAddr, mxsim.Config{Seed: 1, SettleAfter: 2 * time.Second, Now: time.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sim.Close()) }()

	set := of(sim)
	set["NATS_URL"], set["NATS_LISTEN"], set["HTTP_ADDR"] = "", natsAddr, httpAddr
	if dir, _ := p.env.Lookup("DATA_DIR"); dir == "" {
		temp, err := os.MkdirTemp("", "memberwatch-dev-")
		if err != nil {
			return fmt.Errorf("making store: %w", err)
		}
		defer func() { _ = os.RemoveAll(temp) }() // The system clears its temporary directory too.
		set["DATA_DIR"] = temp
	}
	c, err := loadConfig(ctx, overlay{set, p.env})
	if err != nil {
		return err
	}
	log, err := observe.NewLogger(c.Observe, p.stderr)
	if err != nil {
		return fmt.Errorf("making logger: %w", err)
	}
	return serveWith(ctx, c, log, func(at serving) error {
		c.Bus.URL = at.nats
		session, err := connectSession(ctx, c.Bus, log)
		if err != nil {
			return err
		}
		defer session.close()
		members, err := populate(ctx, sim, session)
		if err != nil {
			return err
		}
		p.invite(thisLaunch().command(), at, sim, session.subjects, members)
		return nil
	})
}

// populate adds the sample members and has them read for the first time.
func populate(ctx context.Context, sim *mxsim.Server, c *session) ([]mxsim.Member, error) {
	user, err := sim.AddUser(mxsim.User{ID: new("anna")})
	if err != nil {
		return nil, err
	}
	var members []mxsim.Member
	for _, patch := range []mxsim.Patch{
		{"id": "riverbank", "name": "Riverbank", "is_oauth": true},
		{"id": "hillside", "name": "Hillside Union", "connection_status": events.StatusChallenged},
		{"id": "oldmill", "name": "Old Mill Bank"},
	} {
		m, err := sim.AddMember(user.GUID, patch)
		if err != nil {
			return nil, err
		}
		members = append(members, m)
		if _, err := c.send(ctx, events.Command{User: *user.ID, Member: *m.ID, Reason: "dev starts"}); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// invite prints what there is and what can be done with it: commands that work as
// they stand. program is how this one is called.
func (p *program) invite(program string, at serving, sim *mxsim.Server, s events.Subjects, members []mxsim.Member) {
	say := func(format string, args ...any) { fmt.Fprintf(p.stdout, format+"\n", args...) }
	say("NATS            %s", at.nats)
	say("simulated MX    %s", sim.URL)
	say("health          http://%s/readyz  /metrics", at.http)
	say("\nmembers of user anna (%s):", members[0].UserGUID)
	for _, m := range members {
		say("  %-10s %s  %s", *m.ID, m.GUID, *m.ConnectionStatus)
	}
	var env []string
	// Commands would take the shell's NATS_URL, which dev does not.
	if elsewhere, _ := p.env.Lookup("NATS_URL"); at.nats != localNATS || elsewhere != "" {
		env = append(env, "NATS_URL="+at.nats)
	}
	if s.Prefix() != events.DefaultPrefix {
		env = append(env, "SUBJECT_PREFIX="+s.Prefix())
	}
	self := strings.Join(append(env, program), " ")
	oauth, plain := members[0], members[2]
	say("\nTry, in another terminal:")
	say("  %s events --follow", self)
	say("  %s events --oauth", self)
	say("  curl -X POST %s/_sim/members/%s/authorize -d '{}'", sim.URL, oauth.GUID)
	say("  %s refresh anna %s --wait", self, *oauth.ID)
	say("  curl -X PATCH %s/_sim/members/%s -d '{\"connection_status\":\"DISCONNECTED\"}'", sim.URL, plain.GUID)
	say("  %s refresh anna %s --wait", self, *plain.ID)
	say("  %s member anna %s", self, *plain.ID)
	say("\nWith the nats command line (github.com/nats-io/natscli):")
	say("  nats -s %s sub '%s'", at.nats, s.Events())
	say("\nCtrl-C ends it.")
}
