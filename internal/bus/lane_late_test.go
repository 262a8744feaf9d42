package bus

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestReadinessHearsOfAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	h, health, log := newHouse(t, good()), new(checks), new(LockedBuffer)
	var ahead time.Duration
	h.now = func() time.Time { return time.Unix(0, 0).Add(ahead) }
	h.log, h.options.Health = slog.New(slog.NewTextHandler(log, nil)), health
	answer := make(chan struct{}, 1)
	_, err := h.peerNC.Subscribe("$JS.API.CONSUMER.MSG.NEXT.MX_COMMANDS.silent", func(m *nats.Msg) {
		select {
		case <-answer:
			if err := h.peerNC.PublishMsg(&nats.Msg{Subject: m.Reply, Reply: "settle.silent"}); err != nil {
				t.Error(err)
			}
		default:
		}
	})
	if err == nil {
		err = h.peerNC.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	l := h.lane(newInbox(), "MX_COMMANDS", "silent", 4)
	l.handle = func(*nats.Msg) {}
	p := h.puller("MX_COMMANDS", "silent", 1)
	p.late = time.Millisecond
	ask := func() error { return l.fetch(p, 1, time.Millisecond) }
	told := func() error {
		err, _ := health.Load(CheckFetching + "silent")
		if err == nil {
			return nil
		}
		return err.(error) //nolint:errcheck // Nothing else is stored.
	}
	for n := range lateOnes {
		if got := log.count("level=WARN"); got != 0 {
			t.Errorf("told after %d requests:\n%s", n, log)
		}
		if err := ask(); !errors.Is(err, errLate) {
			t.Fatal(err)
		}
	}
	if log.count("level=WARN") != 1 || told() != nil {
		t.Errorf("after %d requests readiness is %v, and the log:\n%s", lateOnes, told(), log)
	}
	ahead = unreadyAfter
	if err := ask(); !errors.Is(err, errLate) || !errors.Is(told(), errLate) {
		t.Errorf("%v, and readiness is %v", err, told())
	}
	answer <- struct{}{}
	p.late = patience
	if err := ask(); err != nil || told() != nil {
		t.Errorf("%v, and readiness is %v", err, told())
	}
	p.late = time.Millisecond
	if err := ask(); !errors.Is(err, errLate) || log.count("level=WARN") != 1 {
		t.Errorf("%v, and one request that is late is told again:\n%s", err, log)
	}
}
