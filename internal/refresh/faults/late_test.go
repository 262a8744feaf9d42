package faults

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// lateStates gives no answer to the first write, and lands it just before the second.
type lateStates struct {
	refresh.States
	attempts atomic.Int32
	first    *events.Event
	between  func() // while the first is under way
}

// Append implements refresh.States.
func (s *lateStates) Append(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
	switch s.attempts.Add(1) {
	case 1:
		s.first = e
		s.between()
		return 0, refresh.ErrOutcomeUnknown
	case 2:
		if _, err := s.States.Append(ctx, s.first, after); err != nil {
			return 0, err
		}
	}
	return s.States.Append(ctx, e, after)
}

// Without follow-ups a command is all that brings the truth: one that came after
// a read began must not be answered by what that read found.
func TestAPublicationThatLandsLateAnswersNobodyWhoAskedAfterItsRead(t *testing.T) {
	t.Parallel()
	var r *refreshtest.Rig
	var k events.Key
	r = refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		d.States = &lateStates{States: d.States, between: func() {
			r.Set(k, mxsim.Patch{"connection_status": "DISCONNECTED"})
			r.Publish(events.Command{User: k.User(), Member: k.Member(), CommandID: "later"})
			r.Until("both commands are in hand", func() bool { return r.Workers[0].Service.Flow().Hand == 2 })
		}}
	}})
	k = r.AddMember(mxsim.Patch{"connection_status": "DEGRADED"})
	first := r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "first"})
	later := r.Result("later")
	if first.EventType != events.TypeDegraded || later.EventType != events.TypeDisconnected {
		t.Errorf("the first command is told of %s, the later of %s; want %s and %s",
			first.EventType, later.EventType, events.TypeDegraded, events.TypeDisconnected)
	}
	r.WaitIdle()
	judge(t, r, k)
}
