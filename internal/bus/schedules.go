package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// scheduled is the message that fires into the member's due-subject at a time. Its
// body says what for; an event that its read makes carries on by.
func scheduled(s events.Subjects, k events.Key, at time.Time, b slowBody, by refresh.Cause) (*nats.Msg, error) {
	b.CorrelationID, b.Reason = by.ID, by.Reason
	body, err := json.Marshal(b)
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller says what it was.
	}
	h := schedule(at, s.BackgroundDueOf(k))
	if by.Traceparent != "" {
		h[command.HeaderTraceparent] = []string{by.Traceparent}
		if by.Tracestate != "" {
			h[command.HeaderTracestate] = []string{by.Tracestate}
		}
	}
	return &nats.Msg{Subject: s.BackgroundAt(b.Cause, k), Data: body, Header: h}, nil
}

// atTime is the form of a schedule that fires once.
const atTime = "@at "

// schedule is the header of a message that is to fire into target at a time. It
// is written here because the client's option cuts the time to seconds.
func schedule(at time.Time, target string) nats.Header {
	return nats.Header{
		jetstream.ScheduleHeader:       {atTime + at.UTC().Format(time.RFC3339Nano)},
		jetstream.ScheduleTargetHeader: {target},
	}
}

// lateAfter is how long after its time a message that still waits counts as one that
// will not fire by itself. A server that is well is milliseconds late, and one that
// starts has fired all it slept through within seconds.
const lateAfter = 30 * time.Second

// overdue reports whether a message on an at-subject should have fired long ago. now
// is the server's time.
//
// The server marks the subject of a message that it fires, and takes the mark away when
// what has fired is stored. If that is refused, as for a moment on a full disk or at a
// limit of the account, the mark stays until the server restarts or the message is
// replaced (nats-server 2.15, server/scheduler.go): it waits for ever, and so does
// everybody who takes it for one that will fire.
func overdue(m *jetstream.RawStreamMsg, now time.Time) bool {
	text, once := strings.CutPrefix(m.Header.Get(jetstream.ScheduleHeader), atTime)
	at, err := time.Parse(time.RFC3339Nano, text)
	return once && err == nil && now.Sub(at) > lateAfter
}

// schedules sees to it that what is scheduled fires.
type schedules struct {
	js       jetstream.JetStream
	subjects events.Subjects
	now      func() time.Time // the server's
	revived  prometheus.Counter
	log      *slog.Logger
}

// Bounds of a look at what is scheduled. Those of one cause wait about equally long, so
// what is overdue stands before what is not, save a few.
const (
	lookEvery   = time.Minute
	lookFirst   = 2 * time.Second // a server that starts, perhaps with us, fires what it slept through
	lookAtMost  = 10_000          // messages of a cause that are published again
	lookNotLate = 16              // messages of a cause that are passed over
)

// mend looks at what waits on an at-subject, and kept another message from being
// scheduled there: if it is overdue it is published again, or it would wait for ever.
func (s *schedules) mend(ctx context.Context, subject string) error {
	st, err := streamOf(ctx, s.js, s.subjects.BackgroundStream())
	if err != nil {
		return err
	}
	m, err := last(ctx, st, subject)
	if err != nil || m == nil || !overdue(m, s.now()) {
		return err
	}
	_, err = s.revive(ctx, m)
	return err
}

// revive publishes an overdue message again, to fire at once, if it is still there. It
// reports false when it has fired after all, or somebody else was faster.
func (s *schedules) revive(ctx context.Context, m *jetstream.RawStreamMsg) (bool, error) {
	_, k, ok := s.subjects.ParseBackground(m.Subject)
	if !ok {
		return false, nil
	}
	h := schedule(s.now(), s.subjects.BackgroundDueOf(k))
	h[jetstream.ExpectedLastSubjSeqHeader] = []string{strconv.FormatUint(m.Sequence, 10)}
	for _, name := range []string{command.HeaderTraceparent, command.HeaderTracestate} {
		if v := command.Header(m.Header, name); v != "" {
			h[name] = []string{v}
		}
	}
	_, err := publish(ctx, s.js, &nats.Msg{Subject: m.Subject, Data: m.Data, Header: h})
	switch {
	case errors.Is(err, refresh.ErrConflict):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("publishing overdue %s again: %w", m.Subject, err)
	}
	s.revived.Inc()
	return true, nil
}

// run looks for overdue messages until ctx ends, so that nobody has to ask for their
// members.
func (s *schedules) run(ctx context.Context) {
	for wait := lookFirst; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = lookEvery*3/4 + rand.N(lookEvery/2) //nolint:gosec // Spreads the looks of several workers; nothing depends on it.
		revived, err := s.look(ctx)
		if revived > 0 {
			s.log.Warn("NATS had not fired what was scheduled, as after a moment at a store limit; it is published again", "messages", revived)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Debug("what is scheduled cannot be looked at", "error", err)
		}
	}
}

// look publishes again what is overdue, and returns how many those were.
func (s *schedules) look(ctx context.Context) (revived int, err error) {
	st, err := streamOf(ctx, s.js, s.subjects.BackgroundStream())
	if err != nil {
		return 0, err
	}
	for _, cause := range []string{causeDeletion, causeSettle, causeChain} {
		n, err := s.lookAt(ctx, st, s.subjects.BackgroundAtAny(cause))
		revived += n
		if err != nil {
			return revived, err
		}
	}
	return revived, nil
}

// lookAt is look for one cause.
func (s *schedules) lookAt(ctx context.Context, st jetstream.Stream, filter string) (revived int, err error) {
	passed := 0
	for seq := uint64(1); revived < lookAtMost && passed < lookNotLate; seq++ {
		m, err := next(ctx, st, seq, filter)
		if err != nil || m == nil {
			return revived, err
		}
		seq = m.Sequence
		if !overdue(m, s.now()) {
			passed++
			continue
		}
		ours, err := s.revive(ctx, m)
		if err != nil {
			return revived, err
		}
		if ours {
			revived++
		}
	}
	return revived, nil
}

// next is the first message of a filter from a sequence on; nil: there is none.
func next(ctx context.Context, st jetstream.Stream, seq uint64, filter string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := st.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // No message is no error.
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s from %d: %w", filter, seq, err)
	}
	return m, nil
}
