package refresh_test

import (
	"context"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// All but the first wait for a turn that has begun, however their member is named: they
// take nothing from those that MX could be asked for meanwhile.
func TestCommandsForAMemberThatMXAnswersSlowlyForKeepNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	var hot events.Key
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	r := refreshtest.New(t, refreshtest.Options{
		Workers: -1,
		Refresh: func(c *refresh.Config) { c.MaxInFlight = 4 }, // so that 16 commands have a place
		Wrap: func(_ int, d *refresh.Deps) {
			inner := d.MX
			d.MX = &readers{inner, func(ctx context.Context, user, member string) (mx.Member, error) {
				if member == hot.Member() {
					begun <- struct{}{}
					select {
					case <-finish:
					case <-ctx.Done(): // the test has failed
					}
				}
				return inner.ReadMember(ctx, user, member)
			}}
		},
	})
	hot = addNamed(t, r, addUser(t, r, "customer-7"), "account-7", "CONNECTED")
	const n = 50
	byGUID := events.Command{User: hot.User(), Member: hot.Member()}
	byName := events.Command{User: "customer-7", Member: "account-7"}
	for range n {
		r.Publish(byGUID)
		r.Publish(byName)
	}
	var others []uint64
	for range n {
		k := r.AddMember(status("CONNECTED"))
		others = append(others, r.Publish(events.Command{User: k.User(), Member: k.Member()}))
	}
	r.StartWorker()
	for _, id := range others {
		if got := r.Result(decimal(int(id))); got.Outcome != events.OutcomeChanged {
			t.Errorf("outcome %s of command %d", got.Outcome, id)
		}
	}
	if len(begun) != 1 {
		t.Errorf("%d reads of the member that MX answers slowly for, want 1", len(begun))
	}
	close(finish)
	r.WaitIdle()
	if got := r.Reads(hot); got > 3 { // to resolve its name, for the first, and for those that came meanwhile
		t.Errorf("%d reads for %d commands", got, 2*n)
	}
	wantTypes(t, r, hot, events.TypeConnected)
}
