package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func aggregating(k events.Key) events.Command {
	return events.Command{User: k.User(), Member: k.Member(), Aggregate: true}
}

// settled is a member that MX aggregated an hour ago.
func settled() mxsim.Patch {
	return mxsim.Patch{"connection_status": "CONNECTED", "aggregated_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}
}

func TestAnAggregationIsStartedBetweenTwoReads(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(settled())
	r.Refresh(k)
	got := r.Do(aggregating(k))
	calls, reads := r.Answers(k, "aggregate"), r.Answers(k, "read")
	if len(calls) != 1 || len(reads) != 3 || calls[0].Status != 202 || calls[0].N < reads[1].N || calls[0].N > reads[2].N {
		t.Fatalf("%d aggregate calls, %d reads; want one call between the last two of three reads", len(calls), len(reads))
	}
	if got.Outcome != events.OutcomeUnchanged || got.Reason != "" {
		t.Errorf("outcome %s, reason %q; that it aggregates is no event", got.Outcome, got.Reason)
	}
	if n := counter(t, r, "memberwatch_aggregations_total", "started"); n != 1 {
		t.Errorf("%v counted as started", n)
	}
}

func TestAnAggregationIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon, Sim: func(c *mxsim.Config) { c.SettleReads = 3 }})
	k := r.AddMember(settled())
	r.Refresh(k)
	r.WaitSettled()
	c := aggregating(k)
	c.CommandID, c.Reason = "wish", "opened\u0085 the\ufdd0 app" // with what no attribute of a CloudEvent may have
	r.Do(c)
	r.Set(k, mxsim.Patch{"name": "renamed meanwhile"})
	r.WaitSettled()
	if n := len(r.Answers(k, "aggregate")); n != 1 {
		t.Errorf("asked to aggregate %d times, want once", n)
	}
	truth, err := r.Sim.Truth(k.Member())
	if err != nil {
		t.Fatal(err)
	}
	if b := truth.Member.IsBeingAggregated; b == nil || *b {
		t.Error("nobody looked until the aggregation was over")
	}
	wantTypes(t, r, k, events.TypeConnected, events.TypeAttributesChanged, events.TypeAttributesChanged) // renamed, provisional no more
	if e := r.Events(k)[1]; e.CorrelationID != "wish" || e.Reason != "opened the app" {
		t.Errorf("correlation id %q, reason %q; want those of the command", e.CorrelationID, e.Reason)
	}
}

func TestAnAggregationThatIsNotNeededIsNotStarted(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch  mxsim.Patch
		ago    time.Duration // of aggregated_at
		reason string
	}{
		"one runs":                      {mxsim.Patch{"is_being_aggregated": true}, time.Hour, "not aggregated again: MX is at it"},
		"one began since the command":   {mxsim.Patch{}, -time.Minute, "not aggregated again: MX has since the command"},
		"one began before the command":  {mxsim.Patch{}, 2 * time.Second, ""},
		"nobody knows when one was":     {mxsim.Patch{"aggregated_at": nil}, 0, ""},
		"nobody knows whether one runs": {mxsim.Patch{"is_being_aggregated": nil}, time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k := r.AddMember(settled())
			if tc.ago != 0 {
				tc.patch["aggregated_at"] = time.Now().Add(-tc.ago).UTC().Format(time.RFC3339)
			}
			r.Set(k, tc.patch)
			got := r.Do(aggregating(k))
			if got.Outcome != events.OutcomeChanged || got.Reason != tc.reason || got.EventType != events.TypeConnected {
				t.Errorf("outcome %s by %s, reason %q; want changed, reason %q", got.Outcome, got.EventType, got.Reason, tc.reason)
			}
			calls, reads := 1, 2
			if tc.reason != "" {
				calls, reads = 0, 1
			}
			if n := len(r.Answers(k, "aggregate")); n != calls {
				t.Errorf("asked to aggregate %d times, want %d", n, calls)
			}
			if n := r.Reads(k); n != reads {
				t.Errorf("%d reads, want %d", n, reads)
			}
		})
	}
}

func TestACommandThatIsDeliveredAgainDoesNotAggregateAgain(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	r := refreshtest.New(t, refreshtest.Options{
		AckWait: time.Second, Sim: func(c *mxsim.Config) { c.SettleAfter = 50 * time.Millisecond },
		Wrap: func(worker int, d *refresh.Deps) {
			if worker > 0 {
				return
			}
			sound, reads := d.MX, 0
			d.MX = &readers{sound, func(ctx context.Context, user, member string) (mx.Member, error) {
				if reads++; reads == 2 { // MX has been asked to aggregate
					close(asked)
					<-ctx.Done()
					return mx.Member{}, &mx.CallError{Kind: mx.Canceled, Op: mx.OpReadMember, Err: ctx.Err()}
				}
				return sound.ReadMember(ctx, user, member)
			}}
		},
	})
	k := r.AddMember(settled())
	c := aggregating(k)
	c.CommandID = "wish"
	r.Publish(c)
	<-asked
	r.Workers[0].Kill()
	r.Until("the aggregation is over", func() bool {
		truth, err := r.Sim.Truth(k.Member())
		return err == nil && truth.Member.IsBeingAggregated != nil && !*truth.Member.IsBeingAggregated
	})
	r.StartWorker()
	if got := r.Result("wish"); got.Outcome != events.OutcomeChanged || got.Reason != "not aggregated again: MX has since the command" {
		t.Errorf("outcome %s, reason %q", got.Outcome, got.Reason)
	}
	if n := len(r.Answers(k, "aggregate")); n != 1 {
		t.Errorf("asked to aggregate %d times, want once", n)
	}
}

func TestAggregationThatMXDeclinesStillReads(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch  mxsim.Patch
		status int
		reason string
	}{
		"another job runs": {patch: mxsim.Patch{"other_job": true}},
		"401":              {status: 401, reason: "not aggregated: MX does not let this client"},
		"403":              {status: 403, reason: "not aggregated: MX does not let this client"},
		"406":              {status: 406, reason: "not aggregated: MX does not let this client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k := r.AddMember(settled())
			if tc.patch != nil {
				r.Set(k, tc.patch)
			}
			if tc.status != 0 {
				r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: tc.status, Scope: "aggregate"})
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

func TestWishesThatWaitTogetherAreOneAggregation(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1})
	k := r.AddMember(settled())
	for range 2 {
		r.Publish(aggregating(k))
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.StartWorker()
	r.WaitIdle()
	if n := len(r.Answers(k, "aggregate")); n != 1 {
		t.Errorf("asked to aggregate %d times, want once", n)
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
	k := r.AddMember(settled())
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Scope: "aggregate", Count: 1})
	r.Do(aggregating(k))
	calls := r.Answers(k, "aggregate")
	if len(calls) != 2 || calls[0].Status != 500 || calls[1].Status != 202 {
		t.Errorf("aggregate calls %+v, want one that fails and one that does not", calls)
	}
	if n := r.Reads(k); n != 3 {
		t.Errorf("%d reads, want one before each call and one after that which succeeded", n)
	}
}
