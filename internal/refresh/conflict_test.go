package refresh_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestARivalsWriteBetweenRecallAndPublishHasTheMemberReadAgain(t *testing.T) {
	t.Parallel()
	var r *refreshtest.Rig
	var once sync.Once
	var k events.Key
	r = refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		inner := d.States
		d.States = &states{inner, func(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
			once.Do(func() { rival(ctx, t, r, k, 1, events.StatusDegraded) })
			return inner.Append(ctx, e, after)
		}}
	}})
	k = r.AddMember(status("CONNECTED"))
	if got := r.Refresh(k); got.Revision != 2 || got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s, revision %d; want changed, 2", got.Outcome, got.Revision)
	}
	wantTypes(t, r, k, events.TypeDegraded, events.TypeConnected)
	if n := r.Reads(k); n != 2 {
		t.Errorf("%d reads, want a second one after the rival's write", n)
	}
}

func TestARivalsWriteBetweenReadAndConclusionHasTheMemberReadAgain(t *testing.T) {
	t.Parallel()
	var r *refreshtest.Rig
	var armed atomic.Bool
	var k events.Key
	r = refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		inner := d.MX
		d.MX = &readers{inner, func(ctx context.Context, user, member string) (mx.Member, error) {
			m, err := inner.ReadMember(ctx, user, member)
			if armed.CompareAndSwap(true, false) {
				rival(ctx, t, r, k, 2, events.StatusDegraded)
			}
			return m, err
		}}
	}})
	k = r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	armed.Store(true)
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged || got.Revision != 3 {
		t.Errorf("outcome %s, revision %d: the conclusion stood although its ground was gone", got.Outcome, got.Revision)
	}
	wantTypes(t, r, k, events.TypeConnected, events.TypeDegraded, events.TypeConnected)
	if n := r.Reads(k); n != 3 {
		t.Errorf("%d reads, want 3", n)
	}
}

func TestAPublicationWithoutAnswer(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		// first and second are what becomes of the first two attempts.
		first, second func(context.Context, refresh.States, *events.Event, uint64, *events.Event) (uint64, error)
		reads         int
	}{
		"that was stored": {
			first: func(ctx context.Context, s refresh.States, e *events.Event, after uint64, _ *events.Event) (uint64, error) {
				if _, err := s.Append(ctx, e, after); err != nil {
					return 0, err
				}
				return 0, refresh.ErrOutcomeUnknown
			},
			reads: 1,
		},
		"that was not stored": {
			first: func(context.Context, refresh.States, *events.Event, uint64, *events.Event) (uint64, error) {
				return 0, refresh.ErrOutcomeUnknown
			},
			reads: 2,
		},
		"that is stored late": {
			first: func(_ context.Context, _ refresh.States, e *events.Event, _ uint64, late *events.Event) (uint64, error) {
				*late = *e
				return 0, refresh.ErrOutcomeUnknown
			},
			second: func(ctx context.Context, s refresh.States, e *events.Event, after uint64, late *events.Event) (uint64, error) {
				if _, err := s.Append(ctx, late, after); err != nil {
					return 0, err
				}
				return s.Append(ctx, e, after)
			},
			reads: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int32
			var late events.Event
			r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
				inner := d.States
				d.States = &states{inner, func(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
					switch n := attempts.Add(1); {
					case n == 1:
						return tc.first(ctx, inner, e, after, &late)
					case n == 2 && tc.second != nil:
						return tc.second(ctx, inner, e, after, &late)
					}
					return inner.Append(ctx, e, after)
				}}
			}})
			k := r.AddMember(status("CONNECTED"))
			got := r.Refresh(k)
			wantTypes(t, r, k, events.TypeConnected)
			if e := r.Events(k)[0]; got.Outcome != events.OutcomeChanged || got.EventID != e.ID {
				t.Errorf("outcome %s, event %q; want changed, %q", got.Outcome, got.EventID, e.ID)
			}
			if n := r.Reads(k); n != tc.reads {
				t.Errorf("%d reads, want %d", n, tc.reads)
			}
		})
	}
}

func TestAnAnnouncementFollowsAPublicationWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	var once sync.Once
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		inner := d.States
		d.States = &states{inner, func(ctx context.Context, e *events.Event, after uint64) (seq uint64, err error) {
			seq, err = inner.Append(ctx, e, after)
			once.Do(func() { err = refresh.ErrOutcomeUnknown })
			return seq, err
		}}
	}})
	k := r.AddMember(pending())
	r.Refresh(k)
	if a := announcement(t, r, k); a.Data.OAuthWindowURI == "" {
		t.Error("no URI")
	}
}

func TestAMemberThatRivalsKeepWritingIsTriedAgainLater(t *testing.T) {
	t.Parallel()
	var conflicts atomic.Int32
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		inner := d.States
		d.States = &states{inner, func(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
			if conflicts.Add(1) <= 10 {
				return 0, refresh.ErrConflict
			}
			return inner.Append(ctx, e, after)
		}}
	}})
	k := r.AddMember(status("CONNECTED"))
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s", got.Outcome)
	}
	if n := r.Reads(k); n != 11 {
		t.Errorf("%d reads, want a new one for each of 11 attempts", n)
	}
	wantTypes(t, r, k, events.TypeConnected)
	if n := len(r.DeadLetters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestWorkersThatServeOneMemberAtOnceKeepItsEventsInOrder(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: 3, Bus: followSoon})
	k := r.AddMember(status("CONNECTED"))
	for n := range 60 {
		r.Set(k, status([]string{"CONNECTED", "DEGRADED", "DISCONNECTED"}[n%3]))
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.WaitIdle()
	seen := make(map[string]bool)
	all := r.Events(k)
	for i, e := range all {
		if e.Data.Revision != uint64(i+1) || seen[e.ID] {
			t.Errorf("event %d: revision %d, id seen before: %t", i+1, e.Data.Revision, seen[e.ID])
		}
		seen[e.ID] = true
		if i > 0 && *e.Data.Member.ConnectionStatus == *all[i-1].Data.Member.ConnectionStatus {
			t.Errorf("events %d and %d have the same status", i, i+1)
		}
	}
	if last := all[len(all)-1]; *last.Data.Member.ConnectionStatus != events.StatusDisconnected {
		t.Errorf("last event %s, MX says DISCONNECTED", last.Type)
	}
}
