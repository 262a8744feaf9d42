package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/settings"
	"github.com/memberwatch/memberwatch/internal/sweep"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// config is every setting of the service: each package owns its own.
type config struct {
	Bus     bus.Config
	MX      mx.Config
	Refresh refresh.Config
	Sweep   sweep.Config
	Webhook webhook.Config
	Observe observe.Config
	Trace   observe.TraceConfig
	Local   localConfig
}

// localConfig holds the settings of the embedded server, used while NATS_URL is empty.
type localConfig struct {
	DataDir string `env:"DATA_DIR, default=data" desc:"Where the embedded NATS server keeps its streams, while NATS_URL is empty."`
	Listen  string `env:"NATS_LISTEN, default=127.0.0.1:4222" desc:"Where the embedded NATS server takes other clients, as host:port."`
}

// Problems returns everything that is wrong with c, each naming the setting and the fix.
func (c *localConfig) Problems() []error {
	var p []error
	if strings.TrimSpace(c.DataDir) == "" {
		p = append(p, errors.New("DATA_DIR: blank; the embedded NATS server needs a directory, or set NATS_URL"))
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !isPort(port) {
		p = append(p, fmt.Errorf("NATS_LISTEN: %q is not host:port: set it to an address such as 127.0.0.1:4222", c.Listen))
	}
	return p
}

// parts are the packages' configurations, in the order in which they are shown.
func (c *config) parts() []any {
	return []any{&c.MX, &c.Bus, &c.Local, &c.Refresh, &c.Sweep, &c.Webhook, &c.Observe, &c.Trace}
}

// loadConfig reads the settings and returns every problem with them at once.
func loadConfig(ctx context.Context, env envconfig.Lookuper) (config, error) {
	var c config
	problems := settings.Read(ctx, env, c.parts()...)
	c.Refresh.MaxInFlight, c.Refresh.RateLimit = c.MX.MaxInFlight, c.MX.RateLimit
	c.Refresh.FollowUpAfter, c.Refresh.RefreshEvery = c.Bus.FollowUpAfter, c.Sweep.RefreshEvery
	problems = append(problems, natsURLProblems(c.Bus.URL)...)
	for _, part := range c.parts() {
		if p, ok := part.(interface{ Problems() []error }); ok {
			problems = append(problems, p.Problems()...)
		}
	}
	return c, wrongSettings(problems)
}

// natsURLProblems finds what the NATS client would refuse with an error that
// repeats the URL, which may hold a password.
func natsURLProblems(list string) []error {
	if list == "" {
		return nil
	}
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		const fix = ": set it to one such as nats://nats:4222, several parted by commas"
		u, err := url.Parse(one)
		switch {
		case err != nil || u.Hostname() == "":
			return []error{errors.New("NATS_URL: not a URL with a host" + fix)}
		case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			return []error{errors.New("NATS_URL: begins with none of nats://, tls://, ws:// and wss://" + fix)}
		case u.Port() != "" && !isPort(u.Port()):
			return []error{errors.New("NATS_URL: has a port beyond 65535" + fix)}
		}
	}
	return nil
}

// isPort reports whether s is the number of a port.
func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// wrongSettings is the usage error that names all problems, nil when there are none.
func wrongSettings(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return usagef("wrong settings (memberwatch catalog --config lists them all):\n%w", errors.Join(problems...))
}
