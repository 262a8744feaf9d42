package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// config is every setting of the service: each package owns its own.
type config struct {
	Bus     bus.Config
	MX      mx.Config
	Refresh refresh.Config
	Observe observe.Config
	Local   localConfig
}

// localConfig holds the settings of the embedded server, used while NATS_URL is empty.
type localConfig struct {
	DataDir string `env:"DATA_DIR, default=data"`              // where its streams are stored
	Listen  string `env:"NATS_LISTEN, default=127.0.0.1:4222"` // where it takes other clients
}

// Problems returns everything that is wrong with c, each naming the setting and the fix.
func (c *localConfig) Problems() []error {
	var p []error
	if strings.TrimSpace(c.DataDir) == "" {
		p = append(p, errors.New("DATA_DIR: empty; the embedded NATS server needs a directory, or set NATS_URL"))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		p = append(p, fmt.Errorf("NATS_LISTEN: %q is not host:port", c.Listen))
	}
	return p
}

// errUsage marks what the caller got wrong: exit code 2.
var errUsage = errors.New("usage")

// loadConfig reads the settings and returns every problem with them at once.
func loadConfig(ctx context.Context, lookup envconfig.Lookuper) (config, error) {
	c, problems := readConfig(ctx, lookup)
	problems = append(problems, c.Bus.Problems()...)
	problems = append(problems, c.MX.Problems()...)
	problems = append(problems, c.Refresh.Problems()...)
	problems = append(problems, c.Observe.Problems()...)
	problems = append(problems, c.Local.Problems()...)
	if len(problems) > 0 {
		return config{}, fmt.Errorf("%w: wrong settings (memberwatch catalog --config lists them all):\n%w", errUsage, errors.Join(problems...))
	}
	return c, nil
}

// readConfig reads the settings one package at a time, because the library
// stops at the first it cannot parse.
func readConfig(ctx context.Context, lookup envconfig.Lookuper) (config, []error) {
	var c config
	var problems []error
	for _, part := range []any{&c.Bus, &c.MX, &c.Refresh, &c.Observe, &c.Local} {
		if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: part, Lookuper: lookup}); err != nil {
			problems = append(problems, err)
		}
	}
	c.Refresh.MaxInFlight, c.Refresh.RateLimit = c.MX.MaxInFlight, c.MX.RateLimit
	return c, problems
}
