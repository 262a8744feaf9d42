package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Causes of messages in the slow lane: the cause token of the at-subject, and
// the cause in the body. A new cause is added here, in slowBody and in
// [slowBody.job].
const (
	causeDeletion = "confirm_deletion" // a second look at a member for which MX said 404
	causeSettle   = "settle"           // the next look at a member that is on its way to another state
	causeSweep    = "sweep"            // a sweep found the member new, different or gone
	causePeriodic = "periodic"         // the member's turn in the periodic refresh
	causeChain    = "chain"            // the next step of a walk over all members; about none
)

// During an upgrade, or on the way back, there are messages that only the newer
// workers know. They are handed back until one of those takes them; what nobody
// knows for so long is a dead letter.
const (
	strangeDelay = 10 * time.Second
	strangeFor   = time.Hour
)

var errStrangeCause = errors.New("not known to this version")

// slowBody is the body of every message in the slow lane. Each cause uses the
// fields that are its own, and those of all.
type slowBody struct {
	Cause string `json:"cause"`
	// What an event that the read makes carries on.
	CorrelationID string `json:"correlation_id,omitempty"`
	Reason        string `json:"reason,omitempty"`

	FirstAt time.Time `json:"first_at,omitzero"` // confirm_deletion: of the first 404, by the server's clock
	Tries   uint64    `json:"tries,omitempty"`   // settle: reads this one included
	Since   time.Time `json:"since,omitzero"`    // settle: when the following began, by the server's clock
	Chain   string    `json:"chain,omitempty"`   // chain: its name
	Step    uint64    `json:"step,omitempty"`    // chain: the step to make
}

// read reads a body. The error names the field.
func (s *slowBody) read(data []byte) error {
	err := command.Unmarshal(data, s)
	if err == nil {
		return nil
	}
	// A time says what is wrong with it, and not which one it is.
	var times struct {
		FirstAt json.RawMessage `json:"first_at"`
		Since   json.RawMessage `json:"since"`
	}
	if json.Unmarshal(data, &times) == nil {
		for name, value := range map[string]json.RawMessage{"first_at": times.FirstAt, "since": times.Since} {
			if len(value) > 0 && json.Unmarshal(value, new(time.Time)) != nil {
				return fmt.Errorf("body: %s: %.40s is no time in the form of RFC 3339", name, value)
			}
		}
	}
	return err //nolint:wrapcheck // It names the field.
}

// background takes a message of the slow lane whose time has come.
func (b *Bus) background(ctx context.Context, jobs Jobs, l *lane, m *nats.Msg) {
	d := b.open(ctx, l, m)
	if d == nil {
		return
	}
	_, k, ok := b.subjects.ParseBackground(m.Subject)
	var body slowBody
	err := body.read(m.Data)
	if !ok {
		err = fmt.Errorf("subject: %q is none of the slow lane", m.Subject)
	}
	if err == nil && body.Cause == causeChain && events.ValidToken(body.Chain) {
		b.tick(ctx, d, &body)
		return
	}
	var j *refresh.Job
	if err == nil {
		j, err = body.job(d, k)
	}
	if errors.Is(err, errStrangeCause) && b.clock.at(b.now()).Sub(d.meta.Timestamp) < strangeFor {
		b.log.Debug("left to a newer worker", "message", d.ref(), "error", err)
		d.settling(ctx)(refresh.Verdict{Disposition: refresh.Retry, Delay: strangeDelay, Reason: err.Error()})
		return
	}
	if err != nil {
		d.settling(ctx)(refresh.Verdict{Disposition: refresh.Dead, Category: events.CategoryInvalid, Reason: err.Error()})
		return
	}
	if j.Confirms != nil {
		j.Confirms.FirstAt = b.clock.toOurs(j.Confirms.FirstAt)
	}
	if j.Following != nil {
		j.Following.Since = b.clock.toOurs(j.Following.Since)
	}
	j.At, j.Joined, j.Settle = d.meta.Timestamp, d.joined, d.settling(ctx)
	jobs.Submit(j)
}

// job makes a job of a message about member k. The error says why it is none.
func (s *slowBody) job(d *delivery, k events.Key) (*refresh.Job, error) {
	trace := command.TraceOf(d.msg.Header)
	j := &refresh.Job{
		Ref: d.ref(), Key: k, Command: events.Command{User: k.User(), Member: k.Member(), Reason: s.Reason},
		ID: s.CorrelationID, Lane: refresh.Background,
		Deliveries:  d.meta.NumDelivered,
		Traceparent: trace.Parent, Tracestate: trace.State,
	}
	switch s.Cause {
	case causeDeletion:
		j.Source = refresh.SourceDeletion
		j.Confirms = &refresh.Confirmation{Sequence: d.meta.Sequence.Stream, FirstAt: s.FirstAt}
	case causeSettle:
		j.Source = refresh.SourceFollowing
		j.Following = &refresh.Following{Tries: s.Tries, Since: s.Since}
	case causeSweep:
		j.Source = refresh.SourceSweep
	case causePeriodic:
		j.Source = refresh.SourcePeriodic
	case causeChain: // the others are ticks
		return nil, fmt.Errorf("chain: %.64q is no name of one", s.Chain)
	default:
		return nil, fmt.Errorf("cause: %.64q is %w", s.Cause, errStrangeCause)
	}
	return j, nil
}
