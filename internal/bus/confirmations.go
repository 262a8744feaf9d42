package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Confirmations is the schedule of confirming reads as package refresh needs it.
//
// A confirmation is one message: it waits on an at-subject, fires into the
// member's due-subject, and counts only while it exists. So whichever worker
// reads the member well can take it back, whoever holds it.
type Confirmations struct {
	js       jetstream.JetStream
	subjects events.Subjects
	after    time.Duration
	clock    *serverClock
	overdue  *schedules

	mu sync.Mutex
	// Members that may have a confirmation, until all they have are canceled. That one
	// of them is done says little: another may have been scheduled meanwhile, and its
	// acknowledgement may be lost. A note too many costs one Cancel that finds nothing.
	pending *simplelru.LRU[events.Key, struct{}]
}

var _ refresh.Confirmations = (*Confirmations)(nil)

// pendingMemory bounds for how many members a pending confirmation is known. Of
// one that is pushed out a later 200 is not known to cancel it; the confirming
// read itself still decides.
const pendingMemory = 100_000

// listAgainAfter is the time between two tries to list what is pending.
const listAgainAfter = time.Second

func newConfirmations(js jetstream.JetStream, s events.Subjects, after time.Duration, clock *serverClock, overdue *schedules) *Confirmations {
	l, err := simplelru.NewLRU[events.Key, struct{}](pendingMemory, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &Confirmations{js: js, subjects: s, after: after, clock: clock, overdue: overdue, pending: l}
}

// watch learns of confirmations that are pending already, and of those that any
// worker schedules from now on. The subscription ends with the connection.
func (c *Confirmations) watch(ctx context.Context, nc *nats.Conn) error {
	if _, err := nc.Subscribe(c.every(), func(m *nats.Msg) { c.noteSubject(m.Subject) }); err != nil {
		return fmt.Errorf("watching confirmations: %w", err)
	}
	return c.list(ctx)
}

// every is the filter of all confirmations that are scheduled.
func (c *Confirmations) every() string {
	return c.subjects.BackgroundAtAny(causeDeletion)
}

// listAgain goes on with watch whenever the connection is back, until ctx ends: what
// was scheduled meanwhile was told to nobody.
func (c *Confirmations) listAgain(ctx context.Context, nc *nats.Conn, log *slog.Logger) {
	back := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(back)
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-back:
		case <-again:
		}
		again = nil
		if err := c.list(ctx); err != nil && ctx.Err() == nil {
			log.Debug("pending confirmations not listed", "error", err)
			again = time.After(listAgainAfter)
		}
	}
}

// list notes the confirmations that are pending.
func (c *Confirmations) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.subjects.BackgroundStream())
	if err != nil {
		return fmt.Errorf("looking at background stream: %w", err)
	}
	for _, filter := range []string{c.every(), c.subjects.BackgroundDue()} {
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return fmt.Errorf("listing pending confirmations: %w", err)
		}
		for subject := range info.State.Subjects {
			c.noteSubject(subject)
		}
	}
	return nil
}

func (c *Confirmations) noteSubject(subject string) {
	if _, k, ok := c.subjects.ParseBackground(subject); ok {
		c.note(k)
	}
}

func (c *Confirmations) note(k events.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending.Add(k, struct{}{})
}

// Pending implements refresh.Confirmations.
func (c *Confirmations) Pending(k events.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending.Contains(k)
}

// Schedule implements refresh.Confirmations. The condition that the at-subject
// is empty keeps a repeated 404 from postponing what the first one scheduled. One
// that has fired waits on the due-subject, for long if the deletion is held back.
//
// The delay begins at the time that the server just gave, after the 404 and by the
// clock that it fires by: a second look may come late, and never early, whatever our
// clock says. So whoever takes the message need not ask whether it is time.
func (c *Confirmations) Schedule(ctx context.Context, k events.Key, firstAt time.Time, by refresh.Cause) error {
	c.note(k)
	s, err := streamOf(ctx, c.js, c.subjects.BackgroundStream())
	if err != nil {
		return err
	}
	m, err := scheduled(c.subjects, k, s.CachedInfo().TimeStamp.Add(c.after), slowBody{Cause: causeDeletion, FirstAt: c.clock.toTheirs(firstAt)}, by)
	if err != nil {
		return fmt.Errorf("encoding confirmation: %w", err)
	}
	fired, err := c.due(ctx, s, k)
	if err != nil || len(fired) > 0 {
		return err
	}
	m.Header[jetstream.ExpectedLastSubjSeqHeader] = []string{"0"}
	_, err = publish(ctx, c.js, m)
	if errors.Is(err, refresh.ErrConflict) {
		return c.overdue.mend(ctx, m.Subject)
	}
	return err
}

// forget ends the note of a member, for whoever makes it true.
func (c *Confirmations) forget(k events.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending.Remove(k)
}

// Cancel implements refresh.Confirmations. What is scheduled while it works may
// outlive it, and is noted anew.
func (c *Confirmations) Cancel(ctx context.Context, k events.Key) error {
	c.forget(k)
	err := c.remove(ctx, k)
	if err != nil {
		c.note(k)
	}
	return err
}

// remove takes all confirmations of a member from the stream.
func (c *Confirmations) remove(ctx context.Context, k events.Key) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.subjects.BackgroundStream())
	if err != nil {
		return fmt.Errorf("looking at background stream: %w", err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(c.subjects.BackgroundAt(causeDeletion, k))); err != nil {
		return fmt.Errorf("purging scheduled confirmation: %w", err)
	}
	fired, err := c.due(ctx, s, k)
	if err != nil {
		return err
	}
	for _, seq := range fired {
		if err := s.DeleteMsg(ctx, seq); err != nil {
			// The client gives the server's reason as text only (nats.go 1.55), so look whether another took it.
			if _, gone := s.GetMsg(ctx, seq); !errors.Is(gone, jetstream.ErrMsgNotFound) {
				return fmt.Errorf("removing due confirmation: %w", err)
			}
		}
	}
	return nil
}

// due returns the sequences of a member's confirmations that have fired.
func (c *Confirmations) due(ctx context.Context, s jetstream.Stream, k events.Key) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all []uint64
	for seq := uint64(1); ; seq++ {
		m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(c.subjects.BackgroundDueOf(k)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking for due confirmation: %w", err)
		}
		seq = m.Sequence
		var b slowBody
		if json.Unmarshal(m.Data, &b) == nil && b.Cause == causeDeletion {
			all = append(all, seq)
		}
	}
}

// Stands implements refresh.Confirmations.
func (c *Confirmations) Stands(ctx context.Context, k events.Key, conf refresh.Confirmation) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, c.subjects.BackgroundStream())
	if err != nil {
		return false, fmt.Errorf("looking at background stream: %w", err)
	}
	m, err := s.GetMsg(ctx, conf.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for confirmation: %w", err)
	}
	return m.Subject == c.subjects.BackgroundDueOf(k), nil
}
