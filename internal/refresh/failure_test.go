package refresh_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// panicking makes the first so many reads panic.
func panicking(times int32) func(int, *refresh.Deps) {
	var n atomic.Int32
	return func(_ int, d *refresh.Deps) {
		inner := d.MX
		d.MX = &readers{inner, func(ctx context.Context, user, member string) (mx.Member, error) {
			if n.Add(1) <= times {
				panic("provoked")
			}
			return inner.ReadMember(ctx, user, member)
		}}
	}
}

func TestAPanicIsRecoveredAndTheCommandTriedAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Wrap: panicking(2)})
	k := r.AddMember(status("CONNECTED"))
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s", got.Outcome)
	}
	if n := len(r.DeadLetters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestACommandThatKeepsPanickingIsADeadLetter(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Wrap: panicking(3)})
	k := r.AddMember(status("CONNECTED"))
	got := r.Refresh(k)
	if got.Outcome != events.OutcomeFailed || got.MemberGUID != k.Member() || !strings.Contains(got.Reason, "provoked") {
		t.Errorf("outcome %s of member %q, reason %q", got.Outcome, got.MemberGUID, got.Reason)
	}
	letters := r.DeadLetters()
	if len(letters) != 1 || letters[0].Category != events.CategoryPanicked || letters[0].Attempts != 3 {
		t.Fatalf("dead letters %+v, want one after 3 attempts", letters)
	}
	r.WaitIdle()
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s of the next command: the member's turn was not given back", got.Outcome)
	}
}

func TestAPeriodicReadThatFailsPastItsPeriodIsDoneAndCountsAsFailed(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.RefreshEvery = time.Minute }})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500})
	v := submit(t, r, refresh.Job{Ref: "periodic", Key: k, Source: refresh.SourcePeriodic, Lane: refresh.Background, At: time.Now().Add(-time.Minute)})
	if v.Disposition != refresh.Done || v.Result.Outcome != events.OutcomeFailed || v.Result.MemberGUID != k.Member() || v.Result.Revision != 1 {
		t.Errorf("ended with %+v", v)
	}
}

func TestNonsenseFromMXIsNeverPublished(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]mxsim.Fault{
		"another member": {Kind: mxsim.FaultWrongGUID},
		"no JSON":        {Kind: mxsim.FaultNonJSON},
		"half an answer": {Kind: mxsim.FaultTruncate},
		"too much":       {Kind: mxsim.FaultOversize},
		"500":            {Kind: mxsim.FaultStatus, Status: 500},
		"400":            {Kind: mxsim.FaultStatus, Status: 400},
		"422":            {Kind: mxsim.FaultStatus, Status: 422},
		"no answer":      {Kind: mxsim.FaultCutHead},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k, other := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
			r.Refresh(k)
			r.Set(k, status("DEGRADED"))
			fault.Member, fault.Count = k.Member(), 1
			r.Inject(fault)
			id := r.Publish(events.Command{User: k.User(), Member: k.Member()})
			r.Until("MX has answered", func() bool { return r.Reads(k) == 2 })
			r.Refresh(other) // one member's failure keeps no other waiting
			if got := r.Result(decimal(int(id))); got.Outcome != events.OutcomeChanged {
				t.Errorf("outcome %s of the command that met the fault", got.Outcome)
			}
			wantTypes(t, r, k, events.TypeConnected, events.TypeDegraded)
			if n := len(r.DeadLetters()); n != 0 {
				t.Errorf("%d dead letters", n)
			}
		})
	}
}

func TestAMemberIsToldWithoutOptionalFieldsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"connection_status": "CONNECTED", "name": "Gringotts", "use_cases": []string{"PFM"}})
	r.Refresh(k)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultNonJSON, Member: k.Member(), Body: new(`{"member":{"guid":"` + k.Member() + `","user_guid":"` + k.User() + `",
		"connection_status":"DEGRADED","name":{"of":["MX"]},"use_cases":"PFM","aggregated_at":1476382077}}`)})
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s, %s", got.Outcome, got.Reason)
	}
	wantTypes(t, r, k, events.TypeConnected, events.TypeDegraded)
	told := r.Events(k)[1].Data
	if m := told.Member; m.Name == nil || *m.Name != "Gringotts" || !slices.Equal(m.UseCases, []string{"PFM"}) || m.AggregatedAt == nil {
		t.Errorf("what is known did not stay: %+v", m)
	}
	if slices.Contains(told.Changed, "name") || slices.Contains(told.Changed, "use_cases") {
		t.Errorf("changed: %v", told.Changed)
	}
}

func TestACommandThatUsedUpItsBudgetIsADeadLetter(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.CommandBudget = 100 * time.Millisecond }})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Member: k.Member()})
	got := r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "hopeless"})
	if !strings.Contains(got.Reason, "500") {
		t.Errorf("reason %q", got.Reason)
	}
	wantResult(t, events.Result{
		CommandID: "hopeless", Outcome: events.OutcomeFailed, UserGUID: k.User(), MemberGUID: k.Member(), Revision: 1, Reason: got.Reason,
	}, got)
	letters := r.DeadLetters()
	if len(letters) != 1 || letters[0].Category != events.CategoryExhausted || letters[0].Attempts != 2 {
		t.Errorf("dead letters %+v, want one after 2 attempts", letters)
	}
	r.WaitIdle()
}

// failing has the event stream answer with what err returns, until that is nil.
func failing(err func() error) func(int, *refresh.Deps) {
	return func(_ int, d *refresh.Deps) {
		stream := d.States
		d.States = &states{stream, func(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
			if err := err(); err != nil {
				return 0, err
			}
			return stream.Append(ctx, e, after)
		}}
	}
}

func TestAnEventTooLargeForNATSUsesUpTheBudgetOfItsMemberAlone(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.CommandBudget = 100 * time.Millisecond },
		Wrap:    failing(func() error { return fmt.Errorf("%w: provoked", refresh.ErrTooLarge) }),
	})
	k := r.AddMember(status("CONNECTED"))
	if got := r.Refresh(k); got.Outcome != events.OutcomeFailed || !strings.Contains(got.Reason, "too large") || got.Revision != 0 {
		t.Errorf("outcome %s, reason %q, revision %d of a member without an event", got.Outcome, got.Reason, got.Revision)
	}
	if letters := r.DeadLetters(); len(letters) != 1 || letters[0].Category != events.CategoryExhausted {
		t.Errorf("dead letters %+v, want one", letters)
	}
	if err := r.Workers[0].Health.Get(refresh.CheckStore); err != nil {
		t.Errorf("one member's event makes the worker unready: %v", err)
	}
}

func TestAFullStoreUsesUpNoCommandAndShowsInReadiness(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	full.Store(true)
	r := refreshtest.New(t, refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.CommandBudget = time.Nanosecond },
		Wrap: failing(func() error {
			if full.Load() {
				return fmt.Errorf("%w: provoked", refresh.ErrRefused)
			}
			return nil
		}),
	})
	k := r.AddMember(status("CONNECTED"))
	r.Publish(events.Command{User: k.User(), Member: k.Member(), CommandID: "c-1"})
	health := r.Workers[0].Health
	r.Until("readiness tells", func() bool { return health.Get(refresh.CheckStore) != nil })
	full.Store(false)
	if got := r.Result("c-1"); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s (%s)", got.Outcome, got.Reason)
	}
	if err := health.Get(refresh.CheckStore); err != nil {
		t.Errorf("readiness still says %v", err)
	}
}

// A bank that fails at MX takes all its members with it, whose commands come
// again and again.
func TestMembersThatFailTogetherKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]mxsim.Fault{
		"500":      {Kind: mxsim.FaultStatus, Status: 500},
		"nonsense": {Kind: mxsim.FaultNonJSON},
		"silence":  {Kind: mxsim.FaultHang},
	} {
		for _, start := range []string{"known", "just started"} {
			t.Run(name+", others "+start, func(t *testing.T) {
				t.Parallel()
				r := refreshtest.New(t, refreshtest.Options{})
				var well, ill []events.Key
				for range 20 {
					well = append(well, r.AddMember(status("CONNECTED")))
					ill = append(ill, r.AddMember(status("CONNECTED")))
				}
				for i := range well {
					r.Refresh(well[i])
					r.Refresh(ill[i])
				}
				if start == "just started" {
					if err := r.Workers[0].Stop(); err != nil {
						t.Fatal(err)
					}
				}
				for _, k := range ill {
					fault.Member = k.Member()
					r.Inject(fault)
					r.Publish(events.Command{User: k.User(), Member: k.Member()})
				}
				if start == "just started" {
					r.StartWorker()
				}
				for _, k := range well {
					if got := r.Refresh(k); got.Outcome != events.OutcomeUnchanged {
						t.Fatalf("outcome %s (%s)", got.Outcome, got.Reason)
					}
				}
				if fault.Kind != mxsim.FaultHang { // which would keep us waiting until MX_TIMEOUT
					r.Sim.ClearFaults()
					r.WaitIdle()
				}
			})
		}
	}
}

func TestCommandsThatWaitWhileAReadFailsAreLeftAloneWithTheirMember(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Member: k.Member(), Delay: time.Second})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Member: k.Member(), Status: 500})
	c := events.Command{User: k.User(), Member: k.Member()}
	r.Publish(c)
	r.Until("it is read", func() bool { return r.Sim.Stats().InFlight == 1 })
	for range 5 {
		r.Publish(c)
	}
	w := r.Workers[0]
	r.Until("the others wait", func() bool { return w.Service.Flow().Hand == 6 })
	r.Until("all are handed back", func() bool { return w.Service.Flow().Hand == 0 })
	if n := r.Reads(k); n != 1 {
		t.Errorf("%d reads of a member that fails, without a pause; want 1", n)
	}
	r.Sim.ClearFaults()
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected)
}

func TestAnOutageUsesUpNoCommandAndIsNotHammered(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]int{"503": 503, "429": 429, "401": 401, "403": 403, "406": 406, "500": 500} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A budget that the first failure of its own would use up.
			r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.CommandBudget = time.Nanosecond }})
			refused := code == 401 || code == 403 || code == 406
			var all []events.Key
			for range 100 {
				all = append(all, r.AddMember(status("CONNECTED")))
			}
			fault := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: code})
			for _, k := range all {
				r.Publish(events.Command{User: k.User(), Member: k.Member()})
			}
			w := r.Workers[0]
			r.Until("MX is not asked any more", func() bool { return w.Service.Flow().Suspended })
			r.Until("what was under way has ended", func() bool { return r.Sim.Stats().InFlight == 0 })
			before := r.Sim.Stats().Total.Requests
			r.Until("MX was probed in vain", func() bool { return r.Sim.Stats().Total.Requests > before })
			if err := w.Health.Get(refresh.CheckCredentials); (err != nil) != refused {
				t.Errorf("readiness says %v", err)
			}
			if n := r.Sim.Stats().Total.Requests; n > 20 {
				t.Errorf("%d requests reached an MX that is down", n)
			}
			r.Sim.ClearFaults(fault)
			r.WaitIdle()
			for _, k := range all {
				wantTypes(t, r, k, events.TypeConnected)
			}
			if n := len(r.DeadLetters()); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			if err := w.Health.Get(refresh.CheckCredentials); err != nil {
				t.Errorf("readiness still says %v", err)
			}
		})
	}
}
