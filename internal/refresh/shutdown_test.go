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

func TestStoppingFinishesWhatIsInWorkAndHandsTheRestBackAtOnce(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}, 100), make(chan struct{})
	r := refreshtest.New(t, refreshtest.Options{Workers: -1, Wrap: func(_ int, d *refresh.Deps) {
		inner := d.MX
		d.MX = &readers{inner, func(ctx context.Context, user, member string) (mx.Member, error) {
			begun <- struct{}{}
			select {
			case <-finish:
			case <-ctx.Done(): // the test has failed
			}
			return inner.ReadMember(ctx, user, member)
		}}
	}})
	var all []events.Key
	const n = 40
	for range n {
		k := r.AddMember(status("CONNECTED"))
		all = append(all, k)
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	w := r.StartWorker()
	r.Until("reads are under way", func() bool { return len(begun) == 8 })
	stopped, moved := make(chan error, 1), w.Service.Flow().Moved
	go func() { stopped <- w.Stop() }()
	<-moved // it takes nothing more in hand
	r.StartWorker()
	r.Until("another worker has what had not begun", func() bool { return len(begun) == 16 })
	select {
	case err := <-stopped:
		t.Errorf("stopped with %v while reads were under way", err)
	default:
	}
	close(finish)
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
	r.WaitIdle() // in less than the ack wait: what waited was handed back
	if got := r.Sim.Stats().Total.Requests; got != n {
		t.Errorf("%d reads for %d commands: what was in work was not finished", got, n)
	}
	for i, k := range all {
		wantTypes(t, r, k, events.TypeConnected)
		if got := r.Results(r.Result(decimal(i + 1)).CommandID); len(got) != 1 {
			t.Errorf("%d results of command %d", len(got), i+1)
		}
	}
}

func TestStoppingCutsOffWhatDoesNotFinishAndHandsItBack(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.ShutdownTimeout = 100 * time.Millisecond }})
	k := r.AddMember(status("CONNECTED"))
	fault := r.Inject(mxsim.Fault{Kind: mxsim.FaultHang})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the read is under way", func() bool { return r.Sim.Stats().InFlight == 1 })
	if err := r.Workers[0].Stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if n := r.Messages(r.Subjects.CommandStream()); n != 1 {
		t.Errorf("%d commands kept, want 1", n)
	}
	r.Sim.ClearFaults(fault)
	r.StartWorker()
	if got := r.Result("1"); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s", got.Outcome)
	}
	wantTypes(t, r, k, events.TypeConnected)
}

func TestACrashLosesNothingAndPublishesNothingTwice(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{
		Bus: followSoon, AckWait: time.Second, Sim: func(c *mxsim.Config) { c.Latency = 20 * time.Millisecond },
	})
	var all []events.Key
	for range 60 {
		k := r.AddMember(status("CONNECTED"))
		all = append(all, k)
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.Until("some are done", func() bool { return r.Messages(r.Subjects.EventStream()) > 5 })
	r.Workers[0].Kill()
	r.StartWorker()
	r.WaitIdle()
	for i, k := range all {
		wantTypes(t, r, k, events.TypeConnected)
		r.Result(decimal(i + 1))
	}
}
