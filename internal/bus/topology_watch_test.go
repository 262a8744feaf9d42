package bus

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// record is a health that remembers what it was told of the topology.
type record struct {
	mu  sync.Mutex
	all []error
}

func (r *record) Set(check string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if check == CheckTopology {
		r.all = append(r.all, err)
	}
}

func (r *record) last() (err error, times int) { //nolint:revive,staticcheck // The error is the value here.
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil, 0
	}
	return r.all[len(r.all)-1], len(r.all)
}

func TestDriftUnderARunningServiceIsToldOnceAndTakenBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	top := NewTopology(h.js, good(), h.subjects, identity())
	var health record
	var log LockedBuffer
	w := NewWatch(top, &health, slog.New(slog.NewTextHandler(&log, nil)))
	// look looks twice and wants that much to have been told; want is empty when all is well.
	look := func(times int, want string) {
		t.Helper()
		w.look(t.Context())
		w.look(t.Context())
		err, n := health.last()
		if n != times || (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), want)) {
			t.Errorf("health was told %d times, last %v; want %d times, %q", n, err, times, want)
		}
		if lines := log.count("\n"); lines != times {
			t.Errorf("%d lines logged, want %d:\n%s", lines, times, log.String())
		}
	}
	look(0, "")
	h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true })
	look(1, "consumer memberwatch on MX_COMMANDS: headers only is true, want false")
	h.changeStream(top, "MX_COMMANDS", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100 })
	look(2, "stream MX_COMMANDS: max message size is 100, want -1")
	if err := top.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	look(3, "")
	if err := h.peer.DeleteKeyValue(t.Context(), h.subjects.IDBucket()); err != nil {
		t.Fatal(err)
	}
	look(4, "bucket MX_IDS: missing")
	if got := log.count("level=WARN"); got != 3 || log.count("level=INFO") != 1 {
		t.Errorf("want a warning for each change, and a word when it was right again:\n%s", log.String())
	}
	h.servers[0].Shutdown()
	look(4, "bucket MX_IDS: missing") // nobody can say that it is there again
}

func TestNATSThatCannotBeAskedIsNoDrift(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	var health record
	w := NewWatch(NewTopology(h.js, good(), h.subjects, identity()), &health, slog.New(slog.DiscardHandler))
	h.servers[0].Shutdown()
	w.look(t.Context())
	if err, n := health.last(); n != 0 {
		t.Errorf("health was told %v", err)
	}
}

func TestAWatchLooksAgainAndAgainUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	top := NewTopology(h.js, good(), h.subjects, identity())
	var health record
	w := NewWatch(top, &health, slog.New(slog.DiscardHandler))
	w.every = 20 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for i, headersOnly := range []bool{true, false} {
		h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) { c.HeadersOnly = headersOnly })
		h.until("health is told", func() bool {
			err, n := health.last()
			return n == i+1 && (err != nil) == headersOnly
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
