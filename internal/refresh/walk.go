package refresh

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// ErrUnavailable means that MX cannot be asked at present, or refuses this
// service. It says nothing of whom the question was about.
var ErrUnavailable = errors.New("mx cannot be asked at present")

// Ask makes one call to MX for a walk over many: in the background lane, within
// the breaker, the calls in flight and the rate limit of all reads. about names whom
// the call is about, such as a user, so that five that fail in a row tell of MX.
// ask makes one request and returns its error.
//
// The error is ErrUnavailable, that of ctx, or one of package mx that speaks of
// the question alone.
func (s *Service) Ask(ctx context.Context, about string, ask func(context.Context) error) error {
	var err error
	t, ok := s.desk.send(turnKey{user: about}, func(life context.Context, c *call) {
		asking, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		err = s.question(asking, about, c, (*breaker).listed, ask)
	})
	if !ok {
		return fmt.Errorf("%w: stopping", ErrUnavailable)
	}
	s.desk.await(ctx, t)
	switch {
	case ctx.Err() != nil && (t.errand.refused || err != nil):
		return fmt.Errorf("asking MX: %w", context.Cause(ctx))
	case t.errand.refused:
		return fmt.Errorf("%w: it fails", ErrUnavailable)
	case err == nil:
		return nil
	case errors.Is(err, errSuspended) || s.desk.suspended():
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	switch classify(err) {
	case blameMX, blameUs, blameOurStop:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case blameNobody, blameMember:
	}
	return err
}

// question asks, and tells the breaker how it ended, which takes it in as hear does.
func (s *Service) question(
	ctx context.Context, about string, c *call, hear func(*breaker, answer) transition, ask func(context.Context) error,
) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.Log.Error("asking panicked", "about", about, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	if err := c.begin(ctx); err != nil {
		return err
	}
	err = ask(ctx)
	if t := c.tell(err, hear); t != unmoved {
		s.note(t, err)
	}
	return err
}

// look reads a member for nobody, to learn whether MX answers: that is the breaker's
// to know, and readiness what MX says of our credentials; no more becomes of it.
func (s *Service) look(ctx context.Context, c *call, of turnKey) {
	err := s.question(ctx, of.member, c, (*breaker).answered, func(ctx context.Context) error {
		m, err := s.MX.ReadMember(ctx, of.user, of.member)
		if err == nil && (m.GUID != of.member || m.UserGUID != of.user) {
			err = errOther()
		}
		return err //nolint:wrapcheck // It says what it was about.
	})
	s.note(unmoved, err)
}

// Sight tells what a member, as MX lists it, is beside its last event.
type Sight uint8

// What a listed member can be.
const (
	Unchanged Sight = iota // a read would find nothing new
	Unseen                 // it has no event
	Different              // a read would make an event
)

// Compare tells what m, an entry of a list, is beside its last event, which is
// asked of the stream's leader. It publishes nothing: what a list says is a hint,
// and a read decides. ErrUnreadable tells that the last event cannot be parsed.
func (s *Service) Compare(ctx context.Context, m *mx.Member) (Sight, error) {
	k, err := events.NewKey(m.UserGUID, m.GUID)
	if err != nil {
		return Unchanged, &mx.CallError{Kind: mx.BadAnswer, Op: mx.OpListMembers, Err: err}
	}
	e, seq, err := s.States.Last(ctx, k)
	if err != nil {
		return Unchanged, fmt.Errorf("recalling last event: %w", err)
	}
	if seq == 0 {
		return Unseen, nil
	}
	state := member.StateOf(&e.Data)
	reading := member.Reading{Member: snapshotOf(m), HasURI: !m.OAuthWindowURI.Blank(), At: s.now()}
	if _, _, news := state.Observe(reading, s.rules); news {
		return Different, nil
	}
	return Unchanged, nil
}
