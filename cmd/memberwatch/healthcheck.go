package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// errUnwell: the service answers, or does not, and is not what it should be.
var errUnwell = errors.New("not well")

// Bounds of a health check. It runs every few seconds, so it may not hang.
const (
	healthTimeout = 3 * time.Second
	maxReport     = 64 << 10
)

func (p *program) healthcheckCommand() *cobra.Command {
	var base string
	var live bool
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a running service whether it is ready",
		Long: `healthcheck asks the service at HTTP_ADDR whether it is ready, prints why not, and
exits with 0 or 1: what a container's health check wants. With --live it only asks
whether the process lives.`,
		Example: `  memberwatch healthcheck
  memberwatch healthcheck --url http://10.0.0.7:8080 --live`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.healthcheck(c.Context(), base, live) },
	}
	c.Flags().StringVar(&base, "url", "", "where the service is (default: at HTTP_ADDR, on this machine)")
	c.Flags().BoolVar(&live, "live", false, "ask /healthz instead of /readyz")
	return c
}

func (p *program) healthcheck(ctx context.Context, base string, live bool) error {
	if base == "" {
		var err error
		if base, err = p.healthURL(ctx); err != nil {
			return err
		}
	} else if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("--url: not a URL such as http://127.0.0.1:8080")
	}
	path := "/readyz"
	if live {
		path = "/healthz"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+path, http.NoBody)
	if err != nil {
		return usagef("--url: %w", err)
	}
	// Not the default client: a proxy for MX has nothing to do with this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnwell, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReport))
	if err != nil {
		return fmt.Errorf("%w: %w", errUnwell, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answers %d: %s", errUnwell, path, resp.StatusCode, reasons(body))
	}
	if live {
		fmt.Fprintln(p.stdout, "alive")
	} else {
		fmt.Fprintln(p.stdout, "ready")
	}
	return nil
}

// healthURL is where HTTP_ADDR is reached from this machine.
func (p *program) healthURL(ctx context.Context) (string, error) {
	var c observe.Config
	if err := wrongSettings(append(settings.Read(ctx, p.env, &c), c.Problems()...)); err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(c.HTTPAddr)
	if err != nil {
		return "", usagef("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // "All addresses" is no address to dial.
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// reasons says why a service is not ready.
func reasons(body []byte) string {
	var r observe.Report
	if err := json.Unmarshal(body, &r); err != nil {
		return "no reason given"
	}
	var why []string
	if r.Draining {
		why = append(why, "it is stopping")
	}
	for _, c := range r.Checks {
		if !c.OK {
			why = append(why, c.Name+": "+c.Reason)
		}
	}
	return strings.Join(why, "; ")
}
