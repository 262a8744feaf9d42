package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// config is what the environment says; see usage.
type config struct {
	Addr        string        `env:"MXSIM_ADDR, default=127.0.0.1:8085"`
	TLSCert     string        `env:"MXSIM_TLS_CERT"`
	TLSKey      string        `env:"MXSIM_TLS_KEY"`
	ClientID    string        `env:"MXSIM_CLIENT_ID, default=sim-client"`
	APIKey      string        `env:"MXSIM_API_KEY, default=sim-key"`
	Latency     time.Duration `env:"MXSIM_LATENCY, default=0s"`
	Nasty       bool          `env:"MXSIM_NASTY, default=false"`
	Seed        uint64        `env:"MXSIM_SEED, default=1"`
	Log         mxsim.LogMode `env:"MXSIM_LOG, default=off"`
	Members     int           `env:"MXSIM_MEMBERS, default=0"`
	SettleAfter time.Duration `env:"MXSIM_SETTLE_AFTER, default=2s"`
	SettleReads int           `env:"MXSIM_SETTLE_READS, default=0"`

	tls *tls.Config // of the two files; nil: http
}

// load reads the settings and returns every problem with them at once.
func load(ctx context.Context, env envconfig.Lookuper) (config, error) {
	var c config
	problems := append(settings.Read(ctx, env, &c), c.problems()...)
	var err error
	if c.tls, err = c.certificate(); err != nil {
		problems = append(problems, fmt.Errorf("MXSIM_TLS_CERT and MXSIM_TLS_KEY: %w", err))
	}
	if len(problems) > 0 {
		return config{}, fmt.Errorf("%w: wrong settings (mxsim --help lists them all):\n%w", errUsage, errors.Join(problems...))
	}
	return c, nil
}

// problems returns what is wrong with values that could be read.
func (c *config) problems() []error {
	var p []error
	host, port, err := net.SplitHostPort(c.Addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		p = append(p, fmt.Errorf("MXSIM_ADDR: %q is not host:port, such as %s", c.Addr, net.JoinHostPort(host, "8085")))
	}
	if !slices.Contains([]mxsim.LogMode{mxsim.LogOff, mxsim.LogLast, mxsim.LogAll}, c.Log) {
		p = append(p, fmt.Errorf("MXSIM_LOG: %q is not off, last or all", c.Log))
	}
	for name, negative := range map[string]bool{
		"MXSIM_LATENCY": c.Latency < 0, "MXSIM_MEMBERS": c.Members < 0,
		"MXSIM_SETTLE_AFTER": c.SettleAfter < 0, "MXSIM_SETTLE_READS": c.SettleReads < 0,
	} {
		if negative {
			p = append(p, fmt.Errorf("%s: is below zero; give 0 or more", name))
		}
	}
	return p
}

// certificate returns how to serve https with the two files, nil without any.
func (c *config) certificate() (*tls.Config, error) {
	switch {
	case c.TLSCert == "" && c.TLSKey == "":
		return nil, nil
	case c.TLSCert == "" || c.TLSKey == "":
		return nil, errors.New("give both or neither")
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
