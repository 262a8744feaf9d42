package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/nats-io/nats.go"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/observe"
)

// serve runs the service until ctx ends.
func serve(ctx context.Context, lookup envconfig.Lookuper, stderr io.Writer) error {
	c, err := loadConfig(ctx, lookup)
	if err != nil {
		return err
	}
	log, err := observe.NewLogger(c.Observe, stderr)
	if err != nil {
		return fmt.Errorf("making logger: %w", err)
	}
	return serveWith(ctx, c, log)
}

// gcPercent trades a little CPU for a small heap: what lives long is the record
// of members' states, and the garbage of a command is gone with it.
const gcPercent = 50

func serveWith(ctx context.Context, c config, log *slog.Logger) (err error) {
	debug.SetGCPercent(gcPercent)
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
	if err != nil {
		return err
	}
	defer w.close()
	log.Info("serving", "version", version, "mx", w.mx.Host(), "prefix", c.Bus.SubjectPrefix, "http", port.Addr().String())
	draining := context.AfterFunc(ctx, health.Drain) // readiness goes first
	defer draining()
	return w.run(ctx)
}
