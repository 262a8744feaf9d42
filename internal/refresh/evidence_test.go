package refresh_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
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
