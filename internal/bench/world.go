//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errBroken marks what makes the bench fail: not slowness, but something that
// did not do its work.
var errBroken = errors.New("broken")

// Credentials of the simulator.
const (
	simClientID = "sim-client"
	simAPIKey   = "sim-key"
)

// contender is one of the two that are compared.
type contender struct {
	name    string
	prefix  string   // first token of its subjects
	queue   string   // stream of its commands
	durable string   // consumer of that stream
	events  string   // stream of its events
	follow  string   // consumer of the events that reads once more; empty: none
	writes  []string // streams it may write to, its buckets' included
	product bool     // memberwatch, whose faults alone are failures
}

func memberwatch() *contender {
	return &contender{
		name: "memberwatch", prefix: "mx", queue: "MX_COMMANDS", durable: "memberwatch",
		events: "MX_EVENTS", follow: "memberwatch-follow",
		writes:  []string{"MX_EVENTS", "MX_OAUTH", "MX_BACKGROUND", "MX_DEADLETTERS", "KV_MX_IDS"},
		product: true,
	}
}

func bareLoop() *contender {
	return &contender{
		name: "loop", prefix: loopPrefix, queue: loopCommands, durable: loopDurable,
		events: loopEvents, writes: []string{loopEvents, "KV_" + loopBucket},
	}
}

// isProduct tells memberwatch from the loop: only its faults are failures.
func (c *contender) isProduct() bool { return c.product }

// world is one contender at work: a server, a simulator and a worker of its own.
type world struct {
	*bench
	c        *contender
	dir      string
	inFlight int

	natsURL           string
	nats, sim, worker *process
	nc                *nats.Conn
	js                jetstream.JetStream
	mx                simulator
	members           []ref
	published         int // commands so far
}

// newWorld starts everything. The world must be closed, even after an error.
func (b *bench) newWorld(ctx context.Context, c *contender, inFlight, members int) (w *world, err error) {
	w = &world{bench: b, c: c, inFlight: inFlight}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp(b.dir, c.name+"-*"); err != nil {
		return nil, fmt.Errorf("making directory: %w", err)
	}
	w.nats, err = spawn(w.dir, "nats", b.self, []string{envRole + "=" + roleNATS, envStore + "=" + filepath.Join(w.dir, "store")})
	if err != nil {
		return nil, err
	}
	w.sim, err = spawn(w.dir, "mxsim", b.mxsim, []string{
		"MXSIM_ADDR=127.0.0.1:0", "MXSIM_CLIENT_ID=" + simClientID, "MXSIM_API_KEY=" + simAPIKey,
	})
	if err != nil {
		return nil, err
	}
	if w.natsURL, err = w.nats.announced(ctx); err != nil {
		return nil, err
	}
	line, err := w.sim.announced(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscanf(line, "mxsim listening on %s", &w.mx.url); err != nil {
		return nil, w.sim.broken("announced no address")
	}
	w.mx.client = &http.Client{Timeout: 30 * time.Second}
	if err := w.connect(); err != nil {
		return nil, err
	}
	if w.members, err = w.mx.populate(ctx, members); err != nil {
		return nil, err
	}
	return w, w.startWorker(ctx)
}

// connect connects this process to the server.
func (w *world) connect() (err error) {
	if w.nc, err = nats.Connect(w.natsURL); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	if w.js, err = jetstream.New(w.nc, jetstream.WithPublishAsyncMaxPending(1000)); err != nil {
		return fmt.Errorf("using JetStream: %w", err)
	}
	return nil
}

// startWorker starts the contender's worker and waits until it asks for commands.
func (w *world) startWorker(ctx context.Context) (err error) {
	if !w.c.isProduct() {
		w.worker, err = spawn(w.dir, w.c.name, w.self, []string{
			envRole + "=" + roleLoop, envNATS + "=" + w.natsURL, envMX + "=" + w.mx.url,
			envInFlight + "=" + strconv.Itoa(w.inFlight),
		})
		if err != nil {
			return err
		}
		_, err = w.worker.announced(ctx)
		return err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	w.worker, err = spawn(w.dir, w.c.name, w.memberwatch, append([]string{
		"NATS_URL=" + w.natsURL, "MX_BASE_URL=" + w.mx.url, "MX_CLIENT_ID=" + simClientID, "MX_API_KEY=" + simAPIKey,
		"MX_MAX_IN_FLIGHT=" + strconv.Itoa(w.inFlight), "HTTP_ADDR=" + addr, "SHUTDOWN_TIMEOUT=5s",
		envProfile + "=" + w.profile,
	}, w.settings...))
	if err != nil {
		return err
	}
	return w.poll(ctx, startTimeout, 10*time.Millisecond, "to become ready", func(ctx context.Context) (bool, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
		if err != nil {
			return false, err //nolint:wrapcheck // A URL of our own.
		}
		answer, err := w.mx.client.Do(r)
		if err != nil {
			return false, nil // it does not listen yet
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return false, nil
		}
		c, err := w.js.Consumer(ctx, w.c.queue, w.c.durable)
		if err != nil {
			return false, nil // it is made in a moment
		}
		return c.CachedInfo().NumWaiting > 0, nil
	})
}

// freeAddr is an address where nobody listens now.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// restartWorker puts a new process in the worker's place.
func (w *world) restartWorker(ctx context.Context) error {
	if err := w.worker.stop(); err != nil {
		return err
	}
	return w.startWorker(ctx)
}

// poll asks until the answer is yes. A worker that dies meanwhile, or a time
// that passes, is an error with the end of the worker's log.
func (w *world) poll(ctx context.Context, limit, every time.Duration, what string, ask func(context.Context) (bool, error)) error {
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		yes, err := ask(ctx)
		switch {
		case yes:
			return nil
		case outer.Err() != nil:
			return context.Cause(outer)
		case ctx.Err() != nil:
			return w.worker.broken(fmt.Sprintf("was awaited %s for %s", what, limit))
		case err != nil:
			return err
		}
		select {
		case <-t.C:
		case <-w.worker.done:
			return w.worker.broken("ended")
		case <-ctx.Done():
		}
	}
}

// close stops the world, the worker first.
func (w *world) close() error {
	err := w.worker.stop()
	if w.nc != nil {
		w.nc.Close()
	}
	if w.mx.client != nil {
		w.mx.client.CloseIdleConnections()
	}
	err = errors.Join(err, w.sim.stop(), w.nats.stop())
	if w.dir != "" {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return err
}
