package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/sweep"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// worker is the service without its surroundings: what serve, dev and demo run.
type worker struct {
	config  config
	log     *slog.Logger
	health  *observe.Health
	nc      *nats.Conn
	bus     *bus.Bus
	mx      *mx.Client
	service *refresh.Service
	untrace func() error // sends the last spans
	doors   []door
	hooks   *webhook.Server // the door for webhooks; nil: none
}

// A door brings what no lane fetches, or watches over what is there: it runs until ctx ends.
type door interface {
	Run(ctx context.Context) error
}

// checkStarted is bad until a worker takes in work.
const checkStarted = "started"

// readinessChecks are what must be well for the service to be ready.
func readinessChecks() []string {
	return []string{bus.CheckNATS, bus.CheckTopology, checkStarted}
}

// newWorker connects, makes the topology ready and returns a worker that can
// run. natsOptions are added to the connection's.
func newWorker(ctx context.Context, c config, health *observe.Health, registry prometheus.Registerer, log *slog.Logger, natsOptions ...nats.Option) (_ *worker, err error) {
	w := &worker{config: c, log: log, health: health}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	tracing, err := observe.NewTracing(c.Trace, version, log)
	if err != nil {
		return nil, err
	}
	w.untrace = func() error { return tracing.Shutdown(context.WithoutCancel(ctx)) }
	calls := newMXMetrics(log)
	if w.mx, err = mx.New(c.MX, mx.WithObserver(calls.observe), mx.WithUnread(calls.passedOver), mx.WithTracer(tracing.Tracer())); err != nil {
		return nil, fmt.Errorf("making MX client: %w", err)
	}
	if w.nc, err = bus.Connect(ctx, c.Bus, "memberwatch", health, log, natsOptions...); err != nil {
		return nil, err
	}
	health.Set(bus.CheckNATS, nil)

	subjects, err := events.NewSubjects(c.Bus.SubjectPrefix)
	if err != nil {
		return nil, fmt.Errorf("SUBJECT_PREFIX: %w", err)
	}
	js, err := jetstream.New(w.nc)
	if err != nil {
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	topology := bus.NewTopology(js, c.Bus, subjects, c.identity(w.mx.Host()))
	if err := topology.Ready(ctx, health, log); err != nil {
		return nil, err
	}
	w.doors = append(w.doors, bus.NewWatch(topology, health, log))

	if w.bus, err = bus.New(ctx, w.nc, c.Bus, bus.Options{
		DeleteConfirmAfter: c.Refresh.DeleteConfirmAfter, MaxInFlight: c.MX.MaxInFlight, Health: health, Log: log, Now: time.Now,
	}); err != nil {
		return nil, fmt.Errorf("opening bus: %w", err)
	}
	w.service = refresh.New(c.Refresh, refresh.Deps{ //nolint:contextcheck // It works on after ctx has ended, until Stop.
		Subjects: subjects, MX: w.mx,
		States: w.bus.States(), Announcements: w.bus.Announcements(),
		Confirmations: w.bus.Confirmations(), Followings: w.bus.Followings(), IDs: w.bus.IDs(),
		Health: health, Log: log, Now: time.Now,
		Jitter: rand.Float64, Tracer: tracing.Tracer(),
	})
	collectors := append(w.bus.Metrics(), w.service.Metrics()...)
	w.walk()
	opened, err := w.openDoors(ctx)
	if err != nil {
		return nil, err
	}
	collectors = append(append(collectors, opened...), calls.collectors()...)
	collectors = append(append(collectors, tracing.Collectors()...), buildInfo())
	for _, m := range append(collectors, health.Collectors()...) {
		if err := registry.Register(m); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return w, nil
}

// identity is what the event stream is recorded to belong to.
func (c *config) identity(mxHost string) bus.Identity {
	return bus.Identity{
		MXHost: mxHost, ClientID: c.MX.ClientID, OAuthTTL: c.Refresh.OAuthURITTL,
		TypePrefix: c.Refresh.EventTypePrefix, Initial: c.Refresh.InitialEvents, Aggregated: c.Refresh.AggregatedEvents,
	}
}

// openDoors makes the doors beside the lanes, and returns their metrics.
func (w *worker) openDoors(ctx context.Context) ([]prometheus.Collector, error) {
	api := bus.NewAPI(w.bus, w.service, bus.APIOptions{
		Version: version, MaxInHand: requestsPerCall * w.config.MX.MaxInFlight,
		Farewell: w.config.Refresh.ShutdownTimeout, Log: w.log,
	})
	w.doors = append(w.doors, api)
	if !w.config.Webhook.Enabled() {
		return api.Metrics(), nil
	}
	handler := webhook.NewHandler(&w.config.Webhook, func(ctx context.Context, c events.Command) error {
		return w.bus.Enqueue(ctx, c, refresh.SourceWebhook)
	}, w.log)
	port, err := webhook.Listen(ctx, &w.config.Webhook, handler, w.log)
	if err != nil {
		return nil, err
	}
	w.doors, w.hooks = append(w.doors, port), port
	w.log.Info("taking webhooks", "addr", port.Addr().String(), "tls", w.config.Webhook.TLSCert != "")
	return append(api.Metrics(), handler.Metrics()...), nil
}

// walk makes the worker one of those that make the steps of sweeps and of the
// periodic refresh.
func (w *worker) walk() {
	chains := w.bus.Chains()
	walker := sweep.New(w.config.Sweep, sweep.Deps{
		Chains: chains, Refreshes: chains, Known: w.bus.Known(), States: w.bus.States(),
		Lists: w.mx, Service: w.service, Log: w.log, Now: time.Now, Jitter: rand.Float64,
	})
	w.bus.Serve(walker)
	w.doors = append(w.doors, walker)
}

// requestsPerCall bounds the requests in hand, as a multiple of MX_MAX_IN_FLIGHT:
// who comes after so many would wait in vain.
const requestsPerCall = 16

// run works until ctx ends, then stops in order: no more fetching and no more
// requests, what has not begun is handed back, what is in work is finished within
// SHUTDOWN_TIMEOUT.
func (w *worker) run(ctx context.Context) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	side, stopSide := context.WithCancel(ctx)
	defer stopSide()
	parked := make(chan error, 1)
	go func() { parked <- w.service.Run(side) }()
	ended := make(chan error, 1)
	go func() { ended <- w.receive(working) }()
	w.health.Set(checkStarted, nil)
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
		ended <- nil
	}
	w.health.Drain()
	stop()
	stopSide()
	err = errors.Join(err, <-parked)

	// What has not begun is handed back at once, while the last requests for messages run out.
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.config.Refresh.ShutdownTimeout)
	defer cancel()
	if late := w.service.Stop(limit); late != nil {
		w.log.Warn("SHUTDOWN_TIMEOUT passed; work in hand was cut off and handed back", "timeout", w.config.Refresh.ShutdownTimeout)
	}
	return errors.Join(err, <-ended)
}

// receive takes in what comes by the lanes and the doors until ctx ends.
func (w *worker) receive(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{func(ctx context.Context) error { return w.bus.Run(ctx, w.service) }}
	for _, d := range w.doors {
		parts = append(parts, d.Run)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(parts))
	for i, run := range parts {
		wg.Go(func() {
			if errs[i] = run(ctx); errs[i] != nil {
				cancel() // half a service looks like a whole one
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// close ends the connections. Acknowledgements on their way are sent first.
func (w *worker) close() {
	if w.hooks != nil {
		_ = w.hooks.Close() // Of one that never ran; nobody has sent anything there that was taken.
	}
	if w.bus != nil {
		w.bus.Close()
	}
	if w.nc != nil {
		_ = w.nc.FlushTimeout(2 * time.Second) // If NATS is gone, so are the acknowledgements; the messages come again.
		w.nc.Close()
	}
	if w.mx != nil {
		w.mx.Close()
	}
	if w.untrace != nil {
		if err := w.untrace(); err != nil {
			w.log.Warn("the last traces are lost", "error", err)
		}
	}
}
