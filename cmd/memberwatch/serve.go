package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/observe"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `serve carries out refresh commands until SIGINT or SIGTERM, then finishes what it
has in hand and ends. Health and metrics are at HTTP_ADDR: /healthz, /readyz,
/metrics. Without NATS_URL it runs a NATS server of its own, with its store in
DATA_DIR.`,
		Example: `  MX_CLIENT_ID=… MX_API_KEY=… memberwatch serve
  NATS_URL=nats://nats:4222 MX_BASE_URL=https://api.mx.com MX_CLIENT_ID=… \
    MX_API_KEY_FILE=/run/secrets/mx memberwatch serve`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.serve(c.Context()) },
	}
}

// serve runs the service until ctx ends.
func (p *program) serve(ctx context.Context) error {
	c, err := loadConfig(ctx, p.env)
	if err != nil {
		return err
	}
	log, err := observe.NewLogger(c.Observe, p.stderr)
	if err != nil {
		return fmt.Errorf("making logger: %w", err)
	}
	return serveWith(ctx, c, log, func(serving) error { return nil })
}

// gcPercent trades a little CPU for a small heap: what lives long is the record
// of members' states, and the garbage of a command is gone with it. A collection
// looks through the stack of every call in flight, so who allows very many calls
// has the heap grow for twice as long: a tenth of the CPU for 7 MB.
func gcPercent(maxInFlight int) int {
	if maxInFlight > 128 {
		return 100
	}
	return 50
}

// serving tells where a service is found.
type serving struct {
	nats string // URL
	http string // host:port
}

// serveWith runs the service until ctx ends. It calls up just before work
// begins; commands may be sent then.
func serveWith(ctx context.Context, c config, log *slog.Logger, up func(serving) error) (err error) {
	if _, set := os.LookupEnv("GOGC"); !set { // Who sets it has measured.
		debug.SetGCPercent(gcPercent(c.MX.MaxInFlight))
	}
	health := observe.NewHealth(readinessChecks()...)
	registry := observe.NewRegistry()
	port, err := observe.Listen(ctx, c.Observe.HTTPAddr, observe.Handler(health, registry, log), log)
	if err != nil {
		return fmt.Errorf("serving health (HTTP_ADDR): %w", err)
	}
	// The port that is watched is left last: until the end it tells that we are stopping.
	watched, leave := context.WithCancel(context.WithoutCancel(ctx))
	left := make(chan error, 1)
	go func() { left <- port.Run(watched) }()
	defer func() {
		leave()
		err = errors.Join(err, <-left)
	}()

	var options []nats.Option
	if c.Bus.URL == "" {
		server, err := embedded.Start(embedded.Config{Addr: c.Local.Listen, StoreDir: c.Local.DataDir, Log: log})
		if err != nil {
			return err
		}
		defer server.Shutdown()
		c.Bus.URL = server.URL()
		options = append(options, nats.InProcessServer(server))
		log.Info("embedded NATS server", "url", server.URL(), "store", c.Local.DataDir)
	}
	w, err := newWorker(ctx, c, health, registry, log, options...)
	if err != nil && ctx.Err() != nil { // told to stop while it waited for NATS, say: no failure
		log.Info("stopped before it served", "at", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer w.close()
	log.Info("serving", "version", version, "mx", w.mx.Host(), "prefix", c.Bus.SubjectPrefix, "http", port.Addr().String())
	draining := context.AfterFunc(ctx, health.Drain) // readiness goes first
	defer draining()
	lean, enough := context.WithCancel(ctx)
	var pages sync.WaitGroup
	pages.Go(func() { stayLean(lean, log) })
	defer pages.Wait()
	defer enough()
	if err := up(serving{nats: c.Bus.URL, http: port.Addr().String()}); err != nil {
		return err
	}
	return w.run(ctx)
}
