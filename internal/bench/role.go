//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

// The bare loop and the nats-server are this binary again, told by its
// environment to be something else.
const (
	envRole     = "MEMBERWATCH_BENCH_ROLE"
	envStore    = "BENCH_STORE"
	envNATS     = "BENCH_NATS_URL"
	envMX       = "BENCH_MX_URL"
	envInFlight = "BENCH_IN_FLIGHT"

	roleNATS = "nats"
	roleLoop = "loop"
)

// play runs a role until ctx ends, or until the process that started it is gone.
func play(ctx context.Context, role string, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	switch role {
	case roleNATS:
		return playNATS(ctx, stdout, stderr)
	case roleLoop:
		n, err := strconv.Atoi(os.Getenv(envInFlight))
		if err != nil {
			return fmt.Errorf("%s: %w", envInFlight, err)
		}
		cfg := loopConfig{natsURL: os.Getenv(envNATS), mxURL: os.Getenv(envMX), inFlight: n}
		return runLoop(ctx, cfg, func() { fmt.Fprintln(stdout, "ready") })
	}
	return fmt.Errorf("%s: no role %q", envRole, role)
}

func playNATS(ctx context.Context, stdout, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := embedded.Start(embedded.Config{Addr: "127.0.0.1:0", StoreDir: os.Getenv(envStore), Log: log})
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	defer server.Shutdown()
	fmt.Fprintln(stdout, server.URL())
	<-ctx.Done()
	return nil
}
