package refreshtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Worker is one process of the service, but in the test's own.
type Worker struct {
	Service *refresh.Service
	Bus     *bus.Bus
	Health  *Health
	NC      *nats.Conn

	rig   *Rig
	mx    *mx.Client
	stop  context.CancelFunc // of fetching
	ended chan error         // receives what the bus' Run returned
	once  sync.Once
}

// StartWorker starts one more worker. The test's end stops it.
func (r *Rig) StartWorker() *Worker {
	r.tb.Helper()
	w := &Worker{rig: r, Health: newHealth(), ended: make(chan error, 1)}
	var err error
	if w.mx, err = mx.New(mx.Config{
		BaseURL: r.Sim.URL, ClientID: mxsim.DefaultClientID, APIKey: mxsim.DefaultAPIKey,
		AcceptVersion: "v20250224", Timeout: 10 * time.Second, MaxInFlight: r.refresh.MaxInFlight,
	}, mx.WithTracer(r.options.Tracer)); err != nil {
		r.tb.Fatal(err)
	}
	cfg := r.bus
	cfg.URL = r.servers[0].URL()
	for _, s := range r.servers[1:] {
		cfg.URL += "," + s.URL()
	}
	name := fmt.Sprintf("worker%d", len(r.Workers))
	opts := []nats.Option{nats.ReconnectWait(10 * time.Millisecond)}
	if r.options.Connect != nil {
		opts = append(opts, r.options.Connect(len(r.Workers))...)
	}
	if w.NC, err = bus.Connect(r.tb.Context(), cfg, name, w.Health, r.log, opts...); err != nil {
		r.tb.Fatal(err)
	}
	if w.Bus, err = bus.New(r.tb.Context(), w.NC, cfg, bus.Options{
		DeleteConfirmAfter: r.refresh.DeleteConfirmAfter, MaxInFlight: r.refresh.MaxInFlight, Health: w.Health, Log: r.log, Now: time.Now,
	}); err != nil {
		r.tb.Fatal(err)
	}
	deps := refresh.Deps{
		Subjects: r.Subjects, MX: w.mx,
		States: w.Bus.States(), Announcements: w.Bus.Announcements(), Confirmations: w.Bus.Confirmations(),
		Followings: w.Bus.Followings(), IDs: w.Bus.IDs(),
		Health: w.Health, Log: r.log, Now: time.Now, Jitter: func() float64 { return 0.5 },
		Tracer: r.options.Tracer,
	}
	if r.options.Wrap != nil {
		r.options.Wrap(len(r.Workers), &deps)
	}
	w.Service = refresh.New(r.refresh, deps)
	var jobs bus.Jobs = w.Service
	if r.options.Jobs != nil {
		jobs = r.options.Jobs(len(r.Workers), w.Service)
	}
	r.Workers = append(r.Workers, w)
	r.tb.Cleanup(func() {
		if err := w.Stop(); err != nil {
			r.tb.Errorf("worker stopped with %v", err)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() {
		side, quit := context.WithCancel(ctx)
		parked := make(chan error, 1)
		go func() { parked <- w.Service.Run(side) }()
		err := w.Bus.Run(ctx, jobs)
		quit()
		w.ended <- errors.Join(err, <-parked)
	}()
	return w
}

// StopFetching has the worker take nothing more in hand. What it has goes on.
func (w *Worker) StopFetching() { w.stop() }

// Stop ends the worker as a signal would: in order, within SHUTDOWN_TIMEOUT. It
// returns what fetching ended with. Once the worker has ended it does nothing.
func (w *Worker) Stop() error {
	var err error
	w.once.Do(func() {
		w.stop()
		err = <-w.ended
		ctx, cancel := context.WithTimeout(context.Background(), w.rig.refresh.ShutdownTimeout)
		defer cancel()
		_ = w.Service.Stop(ctx) // That work was cut off shows in what it leaves behind.
		w.Bus.Close()
		_ = w.NC.FlushTimeout(2 * time.Second) // As in the service itself.
		w.NC.Close()
		w.mx.Close()
	})
	return err
}

// Kill ends the worker as a crash would: nothing more of it reaches NATS. Its
// messages come again after [Options.AckWait].
func (w *Worker) Kill() {
	w.once.Do(func() {
		w.NC.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.stop()
		_ = w.Service.Stop(ctx) // Of course it was cut off.
		w.rig.log.Debug("killed", "from_inside", <-w.ended)
		w.Bus.Close()
		w.mx.Close()
	})
}

// Ended returns what fetching ended with, once it has by itself.
func (w *Worker) Ended() error {
	w.rig.tb.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err // for Stop
		return err
	case <-time.After(patience):
		w.rig.tb.Fatal("the worker still runs")
		return nil
	}
}
