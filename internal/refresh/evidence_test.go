package refresh_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// addMembers adds members, each of a user of its own, that have an event.
func addMembers(r *refreshtest.Rig, n int) []events.Key {
	var all []events.Key
	for range n {
		k := r.AddMember(status("CONNECTED"))
		r.Refresh(k)
		all = append(all, k)
	}
	return all
}

// removeAll removes members at MX, then has all of them refreshed.
func removeAll(t *testing.T, r *refreshtest.Rig, gone []events.Key) {
	t.Helper()
	for _, k := range gone {
		remove(t, r, k)
	}
	for _, k := range gone {
		r.Refresh(k)
	}
	r.WaitIdle()
	for _, k := range gone {
		wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
	}
}

func TestAFewMembersThatAreAllThatIsKnownMayGoTogether(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	removeAll(t, r, addMembers(r, 4))
	if err := r.Workers[0].Health.Get(refresh.CheckDeletions); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

func TestMembersThatAreInDoubtThemselvesKeepNobodyFromBeingAsked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]refreshtest.Options{
		"others are remembered":          {},
		"others are on the stream alone": {Refresh: func(c *refresh.Config) { c.StateCache = 5 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, o)
			addMembers(r, 5)
			removeAll(t, r, addMembers(r, 5))
		})
	}
}

func TestAfterARestartMembersOfTheStreamAreAskedThatTheWorkerHasNotMet(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	addMembers(r, 5)
	gone := addMembers(r, 5)
	r.WaitIdle()
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	r.StartWorker()
	for _, k := range gone {
		r.Refresh(k) // now it remembers them, and nobody else
	}
	removeAll(t, r, gone)
}

func TestASearchForEvidenceInVainIsNotMadeAgainAtOnce(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	now := new(atomic.Int64)
	r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater, Wrap: func(_ int, d *refresh.Deps) {
		d.Now = func() time.Time { return begin.Add(time.Duration(now.Add(1))) } // no two moments are one
		d.Confirmations = standing{d.Confirmations}
	}})
	all := addMembers(r, 10)
	fault := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404})
	reads := func() (n int) {
		for _, k := range all {
			n += r.Reads(k)
		}
		return n
	}
	confirm := func(k events.Key, want int, disposition refresh.Disposition) {
		t.Helper()
		before := reads()
		v := submit(t, r, refresh.Job{
			Key: k, Command: events.Command{User: k.User(), Member: k.Member()},
			Source: refresh.SourceDeletion, Lane: refresh.Background, Deliveries: 1,
			Confirms: &refresh.Confirmation{FirstAt: begin.Add(time.Duration(now.Load()))},
		})
		if got := reads() - before; v.Disposition != disposition || got != want {
			t.Errorf("disposition %d after %d reads, want %d after %d: %s", v.Disposition, got, disposition, want, v.Reason)
		}
	}
	now.Add(int64(2 * time.Second))
	const searched = 1 + 6 // its own, and three each of the memory and of the stream
	confirm(all[0], searched, refresh.Retry)
	confirm(all[1], 1, refresh.Retry)
	now.Add(int64(time.Second))
	confirm(all[2], searched, refresh.Retry)
	r.Sim.ClearFaults(fault)
	if got := r.Refresh(all[9]); got.Outcome != events.OutcomeUnchanged {
		t.Fatalf("a good read: %s", got.Outcome)
	}
	remove(t, r, all[3])
	confirm(all[3], 3, refresh.Done) // its own, another one's that is answered, and its own again
}

// standing is a schedule on which every confirmation stands.
type standing struct{ refresh.Confirmations }

func (standing) Stands(context.Context, events.Key, refresh.Confirmation) (bool, error) {
	return true, nil
}

func (standing) Pending(events.Key) bool { return false }
