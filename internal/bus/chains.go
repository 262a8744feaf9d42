package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Chains are walks over all members that NATS holds: no process knows how far one
// has come, and whichever worker is free makes the next step.
//
// A chain is two messages on the background stream. Its record, alone on its
// subject, says how far it has come and which step is next; no consumer gets it.
// Its tick asks for that step: it waits on an at-subject, or is due already, and
// is a message of the slow lane as any other. Who makes a step saves the record
// under the next number, on condition that it is still the one he read, then
// sends the tick of that number and acknowledges his own. So of two who make the
// same step one goes on; a tick that is not the record's is a leftover; and a
// record without its tick, which a death between saving and sending leaves
// behind, is given one by whoever meets the leftover, or by [Chains.Revive], when
// it has had time enough to get its own.
type Chains struct {
	js       jetstream.JetStream
	subjects events.Subjects
	now      func() time.Time // the server's
}

// NewChains returns the chains of an installation. By now, the server's time, ticks are
// sent that wait; who sends none may give any clock.
func NewChains(js jetstream.JetStream, s events.Subjects, now func() time.Time) *Chains {
	return &Chains{js, s, now}
}

// chainUser stands where the subjects of members have the user's guid.
const chainUser = "_"

// link is a chain's record.
type link struct {
	Step  uint64          `json:"step"`  // the one that is next
	Live  bool            `json:"live"`  // a tick is to come
	State json.RawMessage `json:"state"` // the walk's own
}

// place is where the ticks of a chain wait and arrive.
func (c *Chains) place(name string) (at, due string, err error) {
	k, err := events.NewKey(chainUser, name)
	if err != nil {
		return "", "", fmt.Errorf("chain %.64q: want a token", name)
	}
	return c.subjects.BackgroundAt(causeChain, k), c.subjects.BackgroundDueOf(k), nil
}

// Load returns a chain's state, whether it still goes on, and the sequence that
// Begin and End want; 0 when there is no such chain.
func (c *Chains) Load(ctx context.Context, name string) (state []byte, live bool, seq uint64, err error) {
	l, seq, err := c.load(ctx, name)
	return l.State, l.Live, seq, err
}

// Begin gives a chain a new life: its first step is made at once. seq is what
// Load returned; refresh.ErrConflict tells that somebody was faster.
func (c *Chains) Begin(ctx context.Context, name string, state []byte, seq uint64) error {
	last, _, err := c.load(ctx, name)
	if err != nil {
		return err
	}
	next := link{Step: last.Step + 1, Live: true, State: state}
	if _, err := c.save(ctx, name, next, seq); err != nil {
		return err
	}
	return c.tick(ctx, name, next.Step, 0)
}

// End has a chain make no further step, and replaces its state. A step under way
// comes to nothing, but for what it has asked for already.
func (c *Chains) End(ctx context.Context, name string, state []byte, seq uint64) error {
	last, _, err := c.load(ctx, name)
	if err != nil {
		return err
	}
	_, err = c.save(ctx, name, link{Step: last.Step + 1, State: state}, seq)
	return err
}

// grace is how long a record may be without its tick before it is given one: who
// has saved the record sends the tick next, and a second one would be early.
const grace = 500 * time.Millisecond

// Revive sees to it that a chain which is to go on has a tick. Calling it too
// often does no harm.
func (c *Chains) Revive(ctx context.Context, name string) error {
	step, stuck, err := c.stuck(ctx, name)
	if err != nil || !stuck {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("reviving chain %s: %w", name, ctx.Err())
	case <-time.After(grace):
	}
	if now, stuck, err := c.stuck(ctx, name); err != nil || !stuck || now != step {
		return err
	}
	return c.tick(ctx, name, step, 0)
}

// stuck reports whether a chain is to go on and has no tick, and its next step. A tick
// that should have fired long ago is none.
func (c *Chains) stuck(ctx context.Context, name string) (step uint64, stuck bool, err error) {
	l, _, err := c.load(ctx, name)
	if err != nil || !l.Live {
		return 0, false, err
	}
	at, due, err := c.place(name)
	if err != nil {
		return 0, false, err
	}
	s, err := c.stream(ctx)
	if err != nil {
		return 0, false, err
	}
	// In this order: a tick fires in one piece, so what has left the one is in the other.
	for _, subject := range []string{at, due} {
		m, err := last(ctx, s, subject)
		if err != nil {
			return 0, false, fmt.Errorf("looking for tick of chain %s: %w", name, err)
		}
		var b slowBody
		if m != nil && !overdue(m, s.CachedInfo().TimeStamp) && json.Unmarshal(m.Data, &b) == nil && b.Step == l.Step {
			return l.Step, false, nil
		}
	}
	return l.Step, true, nil
}

func (c *Chains) load(ctx context.Context, name string) (link, uint64, error) {
	if !events.ValidToken(name) {
		return link{}, 0, fmt.Errorf("chain: %.64q is no token", name)
	}
	s, err := c.stream(ctx)
	if err != nil {
		return link{}, 0, err
	}
	m, err := last(ctx, s, c.subjects.ChainRecord(name))
	if err != nil || m == nil {
		return link{}, 0, err
	}
	var l link
	if err := json.Unmarshal(m.Data, &l); err != nil {
		return link{}, m.Sequence, fmt.Errorf("reading chain %s: %w", name, err)
	}
	return l, m.Sequence, nil
}

// save replaces a chain's record, if seq is still its sequence.
func (c *Chains) save(ctx context.Context, name string, l link, seq uint64) (uint64, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return 0, fmt.Errorf("encoding chain %s: %w", name, err)
	}
	seq, err = publish(ctx, c.js, &nats.Msg{Subject: c.subjects.ChainRecord(name), Data: body, Header: nats.Header{
		jetstream.MsgRollup:                 {jetstream.MsgRollupSubject},
		jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(seq, 10)},
	}})
	if err != nil {
		return 0, fmt.Errorf("saving chain %s: %w", name, err)
	}
	return seq, nil
}

// tick asks for a step, now or after some time. One that waits already is
// replaced: the server keeps one schedule for each subject.
func (c *Chains) tick(ctx context.Context, name string, step uint64, after time.Duration) error {
	at, due, err := c.place(name)
	if err != nil {
		return err
	}
	body, err := json.Marshal(slowBody{Cause: causeChain, Chain: name, Step: step})
	if err != nil {
		return fmt.Errorf("encoding tick: %w", err)
	}
	m := &nats.Msg{Subject: due, Data: body}
	if after > 0 {
		m.Subject, m.Header = at, schedule(c.now().Add(after), due)
	}
	if _, err := publish(ctx, c.js, m); err != nil {
		return fmt.Errorf("sending tick of chain %s: %w", name, err)
	}
	return nil
}

func (c *Chains) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.subjects.BackgroundStream())
	if err != nil {
		return nil, fmt.Errorf("looking at background stream: %w", err)
	}
	return s, nil
}

// last is the last message on a subject, read from the stream's leader; nil: none.
func last(ctx context.Context, s jetstream.Stream, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // No message is no error.
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", subject, err)
	}
	return m, nil
}

// Refresh asks for a member's refresh in the slow lane. cause is sweep or
// periodic. once names the request: asked for again within two minutes, the
// duplicate window of the stream, it is one.
func (c *Chains) Refresh(ctx context.Context, k events.Key, cause, correlationID, once string) error {
	if cause != causeSweep && cause != causePeriodic {
		return fmt.Errorf("cause: %q asks for no refresh", cause)
	}
	body, err := json.Marshal(slowBody{Cause: cause, CorrelationID: correlationID, Reason: cause})
	if err != nil {
		return fmt.Errorf("encoding refresh: %w", err)
	}
	m := &nats.Msg{Subject: c.subjects.BackgroundDueOf(k), Data: body, Header: nats.Header{jetstream.MsgIDHeader: {once}}}
	_, err = publish(ctx, c.js, m)
	if errors.Is(err, refresh.ErrOutcomeUnknown) {
		_, err = publish(ctx, c.js, m) // its name keeps it from being stored twice
	}
	return err
}

// Backlog returns how many messages of the slow lane are due and wait to be handed
// out; how many are in hand or wait for a delay; and how many of these there may be.
func (c *Chains) Backlog(ctx context.Context) (waiting, taken, places int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := c.js.Consumer(ctx, c.subjects.BackgroundStream(), consumerBackground)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("looking at consumer %s: %w", consumerBackground, err)
	}
	i := cons.CachedInfo()
	return int(i.NumPending), i.NumAckPending, max(0, i.Config.MaxAckPending), nil //nolint:gosec // Never more messages than an int counts.
}
