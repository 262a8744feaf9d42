package sweep

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// patience ends a broken test, no working one.
const patience = 30 * time.Second

// site is an installation whose workers make the steps of walks.
type site struct {
	*refreshtest.Rig
	t       *testing.T
	client  *mx.Client
	walkers []*Walker
	started int // sweeps
}

// newSite starts an installation. Each of its workers has a walker, which change
// may make different.
func newSite(t *testing.T, o refreshtest.Options, c Config, change func(worker int, w *Walker)) *site {
	t.Helper()
	s := &site{Rig: refreshtest.New(t, o), t: t}
	var err error
	if s.client, err = mx.New(mx.Config{
		BaseURL: s.Sim.URL, ClientID: mxsim.DefaultClientID, APIKey: mxsim.DefaultAPIKey,
		AcceptVersion: "v20250224", Timeout: 10 * time.Second, MaxInFlight: 64,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	for i := range s.Workers {
		s.serve(i, c, change)
	}
	return s
}

// serve gives a worker its walker.
func (s *site) serve(worker int, c Config, change func(int, *Walker)) *Walker {
	s.t.Helper()
	b := s.Workers[worker].Bus
	w := New(c, Deps{
		Chains: b.Chains(), Refreshes: b.Chains(), Known: b.Known(), States: b.States(), Lists: s.client,
		Service: s.Workers[worker].Service, Log: slog.New(slog.DiscardHandler),
		Now: time.Now, Jitter: func() float64 { return 0.5 },
	})
	w.minPause, w.retry = 5*time.Millisecond, time.Millisecond
	if change != nil {
		change(worker, w)
	}
	s.walkers = append(s.walkers, w)
	b.Serve(w)
	return w
}

// run has a walker look after the chains until the test ends.
func (s *site) run(w *Walker) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			s.t.Errorf("looking after the chains: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *site) chains() Chains { return s.Workers[len(s.Workers)-1].Bus.Chains() }

// start begins a sweep.
func (s *site) start(spec Spec) Sweep {
	s.t.Helper()
	s.started++ // wishes of two sweeps of one name would be one
	sw, err := Start(s.t.Context(), s.chains(), "sweep-"+strconv.Itoa(s.started), spec, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return sw
}

// over waits until the sweep is over.
func (s *site) over() Sweep {
	s.t.Helper()
	var sw Sweep
	s.until("the sweep is over", func() bool {
		var err error
		if sw, err = Load(s.t.Context(), s.chains()); err != nil {
			s.t.Fatal(err)
		}
		return sw.Outcome != ""
	})
	return sw
}

// sweep does a whole sweep, and waits until the refreshes it asked for are made.
func (s *site) sweep(spec Spec) Sweep {
	s.t.Helper()
	s.start(spec)
	sw := s.over()
	s.Settled()
	return sw
}

func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			s.t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// users adds users with some members each to MX, and returns the members' keys.
func (s *site) users(n, members int) []events.Key {
	s.t.Helper()
	refs, err := s.Sim.AddBulk(mxsim.Bulk{Users: n, MembersPerUser: members})
	if err != nil {
		s.t.Fatal(err)
	}
	keys := make([]events.Key, len(refs))
	for i, r := range refs {
		if keys[i], err = events.NewKey(r.UserGUID, r.GUID); err != nil {
			s.t.Fatal(err)
		}
	}
	return keys
}

// Settled waits until the slow lane has nothing to do but to wait for members
// that are on their way: the records of chains stay.
func (s *site) Settled() {
	s.t.Helper()
	confirmations := s.Subjects.Prefix() + ".background.at.confirm_deletion.*.*"
	s.until("the slow lane has nothing to do", func() bool {
		// In this order: a scheduled read becomes due, and one that is due may schedule another.
		return s.waiting(confirmations) == 0 && s.waiting(s.Subjects.BackgroundDue()) == 0 &&
			s.waiting(confirmations) == 0 && s.waiting(s.Subjects.BackgroundDue()) == 0
	})
}

// waiting is how many messages of the background stream match a filter.
func (s *site) waiting(filter string) (n uint64) {
	s.t.Helper()
	stream, err := s.JS.Stream(s.t.Context(), s.Subjects.BackgroundStream())
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(s.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n
}

// judge asks the oracle whether every promise is kept, and whether each last event
// says what MX says now.
func (s *site) judge() {
	s.t.Helper()
	report, err := oracle.Check(s.t.Context(), s.JS, oracle.Options{
		Prefix: s.Subjects.Prefix(), SameClock: true,
		Truth: func(yield func(string, []byte) bool) {
			for truth := range s.Sim.Truths() {
				var body []byte
				if truth.Status == http.StatusOK {
					var err error
					if body, err = json.Marshal(truth.Member); err != nil {
						s.t.Error(err)
					}
				}
				if !yield(truth.Member.GUID, body) {
					return
				}
			}
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if !report.OK() {
		s.t.Errorf("the oracle: %s", report)
	}
}

// counted compares the counts of a sweep.
func counted(t *testing.T, sw Sweep, want Counts) {
	t.Helper()
	if sw.Counts != want {
		t.Errorf("counted %+v, want %+v (note %q)", sw.Counts, want, sw.Note)
	}
}

// lists lets a test step between the walk and MX.
type lists struct {
	Lists
	members func(ctx context.Context, user string, n int) (mx.Page[mx.Member], error)
	users   func(ctx context.Context, n int) (mx.Page[mx.User], error)
}

func (l *lists) MembersPage(ctx context.Context, user string, n int) (mx.Page[mx.Member], error) {
	if l.members != nil {
		return l.members(ctx, user, n)
	}
	return l.Lists.MembersPage(ctx, user, n)
}

func (l *lists) UsersPage(ctx context.Context, n int) (mx.Page[mx.User], error) {
	if l.users != nil {
		return l.users(ctx, n)
	}
	return l.Lists.UsersPage(ctx, n)
}
