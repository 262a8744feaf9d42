package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// stage is a whole installation in this process: NATS, a simulated MX, one
// worker, and a customer who is connected as any other.
type stage struct {
	sim     *mxsim.Server
	session *session
	hooks   webhooks
	closers []func() error // to be called from the last to the first
}

// webhooks is where the worker takes MX's webhooks, and the credentials for it.
type webhooks struct {
	config *webhook.Config
	url    string
}

// newStage puts up a stage with these settings besides those that join its
// parts. Nothing is left of it after close.
func newStage(ctx context.Context, simulated mxsim.Config, set map[string]string, stderr io.Writer) (_ *stage, err error) {
	s := &stage{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	dir, err := os.MkdirTemp("", "memberwatch-")
	if err != nil {
		return nil, fmt.Errorf("making store: %w", err)
	}
	s.closing(func() error { return os.RemoveAll(dir) })

	if s.sim, err = mxsim.Start(ctx, "", simulated); err != nil {
		return nil, err
	}
	s.closing(s.sim.Close)

	server, err := embedded.Start(embedded.Config{Addr: "127.0.0.1:0", StoreDir: dir})
	if err != nil {
		return nil, err
	}
	s.closing(func() error { server.Shutdown(); return nil })

	c, err := loadConfig(ctx, overlay{of(s.sim), overlay{set, envconfig.MapLookuper(map[string]string{"NATS_URL": server.URL()})}})
	if err != nil {
		return nil, err
	}
	log, err := observe.NewLogger(c.Observe, stderr)
	if err != nil {
		return nil, fmt.Errorf("making logger: %w", err)
	}
	if err := s.employ(ctx, c, log, server); err != nil {
		return nil, err
	}
	if s.session, err = connectSession(ctx, c.Bus, log); err != nil {
		return nil, err
	}
	s.closing(func() error { s.session.close(); return nil })
	return s, nil
}

// employ starts the worker.
func (s *stage) employ(ctx context.Context, c config, log *slog.Logger, server *embedded.Server) error {
	health := observe.NewHealth(readinessChecks()...)
	w, err := newWorker(ctx, c, health, prometheus.NewRegistry(), log, nats.InProcessServer(server))
	if err != nil {
		return err
	}
	if w.hooks != nil {
		s.hooks = webhooks{&c.Webhook, "http://" + w.hooks.Addr().String() + webhook.Path}
	}
	working, dismiss := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- w.run(working) }()
	s.closing(func() error {
		dismiss()
		err := <-ended
		w.close()
		return err
	})
	return nil
}

func (s *stage) closing(f func() error) { s.closers = append(s.closers, f) }

// close takes the stage down in order.
func (s *stage) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// of are the settings that make a simulator the MX of a worker.
func of(sim *mxsim.Server) map[string]string {
	return map[string]string{
		"MX_BASE_URL": sim.URL, "MX_CLIENT_ID": mxsim.DefaultClientID, "MX_API_KEY": mxsim.DefaultAPIKey, "MX_API_KEY_FILE": "",
	}
}

// overlay is an environment on top of another one.
type overlay struct {
	over map[string]string
	base envconfig.Lookuper
}

// Lookup implements envconfig.Lookuper.
func (o overlay) Lookup(name string) (string, bool) {
	if v, ok := o.over[name]; ok {
		return v, true
	}
	return o.base.Lookup(name)
}

// quiet waits until nothing is left to do: no command, no scheduled read, no
// event that has not been followed up.
func (c *session) quiet(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		left, err := c.left(ctx)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d things are still to be done: %w", left, ctx.Err())
		case <-t.C:
		}
	}
}

// followConsumer is the durable consumer that reads members again after their events.
const followConsumer = "memberwatch-follow"

// left counts what workers have still to do.
func (c *session) left(ctx context.Context) (uint64, error) {
	var n uint64
	for _, stream := range []string{c.subjects.CommandStream(), c.subjects.BackgroundStream()} {
		s, err := c.js.Stream(ctx, stream)
		if err != nil {
			return 0, fmt.Errorf("looking at stream %s: %w", stream, err)
		}
		n += s.CachedInfo().State.Msgs
	}
	f, err := c.js.Consumer(ctx, c.subjects.EventStream(), followConsumer)
	if err != nil {
		return 0, fmt.Errorf("looking at consumer %s: %w", followConsumer, err)
	}
	info := f.CachedInfo()
	return n + info.NumPending + uint64(max(0, info.NumAckPending)), nil
}

// truth is what the simulator would answer now, for the oracle.
func truth(sim *mxsim.Server) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for t := range sim.Truths() {
			var body []byte
			if t.Status == 200 {
				body, _ = json.Marshal(t.Member) // Texts, numbers and times always encode.
			}
			if !yield(t.Member.GUID, body) {
				return
			}
		}
	}
}

// reads are the reads of members that the simulator has answered, for the oracle.
func reads(sim *mxsim.Server) iter.Seq[oracle.Read] {
	return func(yield func(oracle.Read) bool) {
		for e := range sim.LogAll(0) {
			if e.Endpoint == "read" && e.Arrived() &&
				!yield(oracle.Read{Member: e.MemberGUID, Status: e.Status, Body: e.Member, At: e.At}) {
				return
			}
		}
	}
}
