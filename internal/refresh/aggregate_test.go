package refresh_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func aggregating(k events.Key) events.Command {
	return events.Command{User: k.User(), Member: k.Member(), Aggregate: true}
}

func TestAggregationIsStartedBeforeTheRead(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	got := r.Do(aggregating(k))
	calls, reads := r.Answers(k, "aggregate"), r.Answers(k, "read")
	if len(calls) != 1 || len(reads) != 2 || calls[0].Status != 202 || calls[0].N > reads[1].N {
		t.Fatalf("aggregate calls %v, reads %v; want one call between two reads", calls, reads)
	}
	if got.Outcome == events.OutcomeFailed {
		t.Errorf("outcome %s", got.Outcome)
	}
}

func TestAggregationThatMXDeclinesStillReads(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch  mxsim.Patch
		fault  *mxsim.Fault
		reason string
	}{
		"another job runs": {patch: mxsim.Patch{"other_job": true}},
		"not allowed": {
			fault:  &mxsim.Fault{Kind: mxsim.FaultStatus, Status: 403, Scope: "aggregate"},
			reason: "not aggregated: MX does not let this client",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k := r.AddMember(status("CONNECTED"))
			if tc.patch != nil {
				r.Set(k, tc.patch)
			}
			if tc.fault != nil {
				r.Inject(*tc.fault)
			}
			got := r.Do(aggregating(k))
			if got.Outcome != events.OutcomeChanged || got.Reason != tc.reason {
				t.Errorf("outcome %s, reason %q; want changed, %q", got.Outcome, got.Reason, tc.reason)
			}
			if n := len(r.Answers(k, "aggregate")); n != 1 {
				t.Errorf("asked to aggregate %d times, want once", n)
			}
			wantTypes(t, r, k, events.TypeConnected)
			if err := r.Workers[0].Health.Get(refresh.CheckCredentials); err != nil {
				t.Errorf("readiness says %v", err)
			}
			if r.Workers[0].Service.Flow().Suspended {
				t.Error("MX is not asked any more")
			}
		})
	}
}

func TestAggregationOfAMemberThatIsNotThere(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	if got := r.Do(events.Command{User: "USR-1", Member: "MBR-1", Aggregate: true}); got.Outcome != events.OutcomeNotFound {
		t.Errorf("outcome %s, want not_found", got.Outcome)
	}
}

func TestEveryWishToAggregateIsPutToMX(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1})
	k := r.AddMember(status("CONNECTED"))
	for range 2 {
		r.Publish(aggregating(k))
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.StartWorker()
	r.WaitIdle()
	if n := len(r.Answers(k, "aggregate")); n != 2 {
		t.Errorf("asked to aggregate %d times, want twice", n)
	}
	for id := 1; id <= 4; id++ {
		if got := r.Result(decimal(id)); got.Outcome == events.OutcomeFailed {
			t.Errorf("command %d: %s", id, got.Outcome)
		}
	}
}

func TestAnAggregationThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Scope: "aggregate", Count: 1})
	r.Do(aggregating(k))
	calls := r.Answers(k, "aggregate")
	if len(calls) != 2 || calls[0].Status != 500 || calls[1].Status != 202 {
		t.Errorf("aggregate calls %+v, want one that fails and one that does not", calls)
	}
	if n := r.Reads(k); n != 1 {
		t.Errorf("%d reads, want one, after the aggregation was started", n)
	}
}
