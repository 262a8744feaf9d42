package faults

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// spoil puts the trap between a worker's service and its ports.
func (t *trap) spoil(d *refresh.Deps, poison *atomic.Bool) {
	d.States = trappedStates{d.States, t}
	d.MX = trappedMX{d.MX, t, poison}
	d.Announcements = trappedAnnouncements{d.Announcements, t}
	d.Confirmations = trappedConfirmations{d.Confirmations, t}
	d.Followings = trappedFollowings{d.Followings, t}
}

func busFailures() failures { return failures{errFault, context.DeadlineExceeded} }

type none struct{}

type trappedStates struct {
	refresh.States
	*trap
}

type lastEvent struct {
	event    events.Event
	sequence uint64
}

func (s trappedStates) Last(ctx context.Context, k events.Key) (events.Event, uint64, error) {
	l, err := call(s.trap, load, busFailures(), func() (lastEvent, error) {
		e, seq, err := s.States.Last(ctx, k)
		return lastEvent{e, seq}, err
	})
	return l.event, l.sequence, err
}

// lastID is an answer of LastID.
type lastID struct {
	id  string
	seq uint64
}

func lastIDOf(ctx context.Context, s refresh.States, k events.Key) (lastID, error) {
	id, seq, err := s.LastID(ctx, k)
	return lastID{id, seq}, err
}

func (s trappedStates) LastID(ctx context.Context, k events.Key) (string, uint64, error) {
	last, err := call(s.trap, confirm, busFailures(), func() (lastID, error) { return lastIDOf(ctx, s.States, k) })
	return last.id, last.seq, err
}

func (s trappedStates) Append(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
	return call(s.trap, publish, failures{errFault, refresh.ErrOutcomeUnknown}, func() (uint64, error) {
		return s.States.Append(ctx, e, after)
	})
}

type trappedMX struct {
	refresh.MX
	*trap
	poison *atomic.Bool // while it holds, a read makes the service panic
}

func mxFailures(op string) failures {
	return failures{&mx.CallError{Kind: mx.ServerFailed, Op: op}, &mx.CallError{Kind: mx.Timeout, Op: op}}
}

func (m trappedMX) ReadMember(ctx context.Context, user, member string) (mx.Member, error) {
	if m.poison.Load() {
		panic("poison of the test")
	}
	return call(m.trap, read, mxFailures(mx.OpReadMember), func() (mx.Member, error) { return m.MX.ReadMember(ctx, user, member) })
}

func (m trappedMX) OAuthWindowURI(ctx context.Context, user, member string, o mx.OAuthOptions) (string, error) {
	return call(m.trap, uri, mxFailures(mx.OpOAuthWindowURI), func() (string, error) { return m.MX.OAuthWindowURI(ctx, user, member, o) })
}

type trappedAnnouncements struct {
	refresh.Announcements
	*trap
}

func (a trappedAnnouncements) Announce(ctx context.Context, e events.Event) error {
	_, err := call(a.trap, announce, failures{errFault, refresh.ErrOutcomeUnknown}, func() (none, error) {
		return none{}, a.Announcements.Announce(ctx, e)
	})
	return err
}

func (a trappedAnnouncements) Announced(ctx context.Context, e events.Event) (bool, error) {
	return call(a.trap, look, busFailures(), func() (bool, error) { return a.Announcements.Announced(ctx, e) })
}

type trappedConfirmations struct {
	refresh.Confirmations
	*trap
}

func (c trappedConfirmations) Schedule(ctx context.Context, k events.Key, firstAt time.Time, by refresh.Cause) error {
	_, err := call(c.trap, schedule, failures{errFault, refresh.ErrOutcomeUnknown}, func() (none, error) {
		return none{}, c.Confirmations.Schedule(ctx, k, firstAt, by)
	})
	return err
}

func (c trappedConfirmations) Cancel(ctx context.Context, k events.Key) error {
	_, err := call(c.trap, cancel, busFailures(), func() (none, error) { return none{}, c.Confirmations.Cancel(ctx, k) })
	return err
}

func (c trappedConfirmations) Stands(ctx context.Context, k events.Key, conf refresh.Confirmation) (bool, error) {
	return call(c.trap, stands, busFailures(), func() (bool, error) { return c.Confirmations.Stands(ctx, k, conf) })
}

type trappedFollowings struct {
	refresh.Followings
	*trap
}

func (f trappedFollowings) Schedule(ctx context.Context, k events.Key, n refresh.Following, after time.Duration, anew bool) error {
	_, err := call(f.trap, followOn, failures{errFault, refresh.ErrOutcomeUnknown}, func() (none, error) {
		return none{}, f.Followings.Schedule(ctx, k, n, after, anew)
	})
	return err
}

// trappedJobs stands between the bus and the service, where events come to be
// followed up.
type trappedJobs struct {
	*refresh.Service
	*trap
}

// Submit implements bus.Jobs.
func (s trappedJobs) Submit(j *refresh.Job) {
	if j.Source != refresh.SourceFollowUp {
		s.Service.Submit(j)
		return
	}
	switch s.meet(follow) {
	case refused:
		s.strike()
		j.Settle(refresh.Verdict{Disposition: refresh.Return, Reason: "fault of the test"})
	case lostRequest: // it comes again when nothing was heard of it
		s.strike()
	case lateRequest:
		s.strike()
		go func() {
			defer close(s.landed)
			<-s.release
			s.Service.Submit(j)
		}()
	case diedBefore:
		s.wire.kill()
		s.strike()
	case diedAfter:
		s.Service.Submit(j)
		s.wire.kill()
		s.strike()
	default:
		s.Service.Submit(j)
	}
}
