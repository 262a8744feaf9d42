package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// confirmLater has deletions confirmed when no test is there any more.
func confirmLater(c *refresh.Config) { c.DeleteConfirmAfter = time.Hour }

const toBeConfirmed = "MX answers 404; to be confirmed"

func TestADeletionIsPublishedOnceASecondReadConfirmsIt(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	alive, k := r.AddMember(status("CONNECTED")), r.AddMember(mxsim.Patch{"is_oauth": true})
	r.Refresh(alive)
	r.Refresh(k)
	remove(t, r, k)
	got := r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "suspects"})
	wantResult(t, events.Result{
		CommandID: "suspects", Outcome: events.OutcomeUnchanged, UserGUID: k.User(), MemberGUID: k.Member(), Revision: 1, Reason: toBeConfirmed,
	}, got)
	r.WaitIdle()
	wantTypes(t, r, k, events.TypePending, events.TypeDeleted)
	wantTypes(t, r, alive, events.TypeConnected)
	e := r.Events(k)[1]
	if e.CorrelationID != "suspects" || !e.Data.Deleted || e.Data.OAuthRequired || e.Data.Revision != 2 {
		t.Errorf("correlation id %q, deleted %t, need %t, revision %d", e.CorrelationID, e.Data.Deleted, e.Data.OAuthRequired, e.Data.Revision)
	}
	if diff := cmp.Diff([]string{"deleted"}, e.Data.Changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
	if s := e.Data.Member.ConnectionStatus; s == nil || *s != events.StatusPending {
		t.Errorf("the last snapshot was not kept: status %v", s)
	}
	reads := r.Answers(k, "read")
	if first, second := reads[1], reads[2]; second.At.Sub(first.Done) < 50*time.Millisecond {
		t.Errorf("confirmed after %s, want at least the 50ms that are set", second.At.Sub(first.Done))
	}

	if got := r.Refresh(k); got.Outcome != events.OutcomeUnchanged || got.Revision != 2 {
		t.Errorf("404 for a deleted member: %s, revision %d", got.Outcome, got.Revision)
	}
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 0 {
		t.Errorf("%d confirmations of a deletion that is known", n)
	}
	restore(t, r, k)
	r.Refresh(k)
	wantTypes(t, r, k, events.TypePending, events.TypeDeleted, events.TypePending)
	if e := r.Events(k)[2]; e.Data.Revision != 3 || e.Data.Deleted {
		t.Errorf("the member that came back has revision %d, deleted %t", e.Data.Revision, e.Data.Deleted)
	}
}

func TestADeletionCarriesOnWhatMadeTheFirstRead(t *testing.T) {
	t.Parallel()
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, followed := range map[string]bool{"a command's": false, "a follow-up's": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
			r.Refresh(alive)
			first := refresh.Job{
				ID: "the-cause", Command: events.Command{User: k.User(), Member: k.Member(), Reason: "offboarding"},
				Traceparent: trace, Tracestate: "a=b", Source: refresh.SourceCommand,
			}
			submit(t, r, first)
			remove(t, r, k)
			if followed {
				e := r.StreamInfo(r.Subjects.EventStream()).State.LastSeq
				submit(t, r, refresh.Job{Key: k, Source: refresh.SourceFollowUp, Lane: refresh.Background, FollowUpOf: e})
			} else {
				submit(t, r, first)
			}
			r.WaitIdle()
			wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
			if e := r.Events(k)[1]; e.CorrelationID != "the-cause" || e.Reason != "offboarding" || e.Traceparent != trace || e.Tracestate != "a=b" {
				t.Errorf("correlation id %q, reason %q, traceparent %q, tracestate %q", e.CorrelationID, e.Reason, e.Traceparent, e.Tracestate)
			}
		})
	}
}

func TestAGoodReadTakesTheSuspicionBack(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	remove(t, r, k)
	r.Refresh(k)
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 1 {
		t.Fatalf("%d confirmations scheduled, want 1", n)
	}
	restore(t, r, k)
	r.Refresh(k)
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 0 {
		t.Errorf("%d confirmations scheduled after MX answered for the member", n)
	}
	remove(t, r, k)
	r.Refresh(k)
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 1 {
		t.Errorf("%d confirmations scheduled after the next 404, want 1", n)
	}
}

func TestAGoodReadOfAnotherWorkerTakesTheSuspicionBack(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	remove(t, r, k)
	r.Refresh(k)
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	restore(t, r, k)
	r.StartWorker()
	r.Refresh(k)
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 0 {
		t.Errorf("%d confirmations scheduled after MX answered for the member", n)
	}
}

func TestAGoodReadTakesBackAConfirmationThatIsDue(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.DeleteConfirmAfter = 300 * time.Millisecond }})
	alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	remove(t, r, k)
	r.Refresh(k)
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	r.Until("the confirmation is due", func() bool {
		return len(r.Stored(r.Subjects.BackgroundStream(), r.Subjects.BackgroundDue())) == 1
	})
	restore(t, r, k)
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.StartWorker()
	r.Refresh(alive)
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected)
}

// unanswered is a schedule that does not say whether a confirmation stands.
type unanswered struct{ refresh.Confirmations }

func (unanswered) Stands(context.Context, events.Key, refresh.Confirmation) (bool, error) {
	return false, errors.New("no answer")
}

func TestAConfirmationThatDoesNotStandConfirmsNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrap      func(int, *refresh.Deps)
		want      refresh.Disposition
		scheduled uint64
	}{
		"it was taken back": {nil, refresh.Done, 1},
		"nobody knows":      {func(_ int, d *refresh.Deps) { d.Confirmations = unanswered{d.Confirmations} }, refresh.Retry, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater, Wrap: c.wrap})
			alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
			r.Refresh(k)
			remove(t, r, k)
			first := time.Now()
			r.Refresh(alive) // evidence enough
			v := submit(t, r, refresh.Job{
				Key: k, Command: events.Command{User: k.User(), Member: k.Member()},
				Source: refresh.SourceDeletion, Lane: refresh.Background, Deliveries: 1,
				Confirms: &refresh.Confirmation{Sequence: 4711, FirstAt: first},
			})
			if v.Disposition != c.want {
				t.Errorf("disposition %d, reason %q", v.Disposition, v.Reason)
			}
			wantTypes(t, r, k, events.TypeConnected)
			if n := r.Messages(r.Subjects.BackgroundStream()); n != c.scheduled {
				t.Errorf("%d confirmations scheduled, want %d", n, c.scheduled)
			}
			restore(t, r, k)
			r.Refresh(k)
			if n := r.Messages(r.Subjects.BackgroundStream()); n != 0 {
				t.Errorf("%d confirmations scheduled after MX answered for the member", n)
			}
		})
	}
}

func TestAConfirmationWhoseAcknowledgementWasLostConfirmsNothingAfterAGoodRead(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
	r.Workers[0].StopFetching()
	read := func(k events.Key) {
		t.Helper()
		submit(t, r, refresh.Job{Key: k, Source: refresh.SourceRequest})
	}
	read(k)
	remove(t, r, k)
	first := time.Now()
	read(k)
	due := func() []*jetstream.RawStreamMsg {
		return r.Stored(r.Subjects.BackgroundStream(), r.Subjects.BackgroundDue())
	}
	r.Until("the confirmation is due", func() bool { return len(due()) == 1 })
	read(alive)
	confirm := refresh.Job{
		Key: k, Source: refresh.SourceDeletion, Lane: refresh.Background,
		Confirms: &refresh.Confirmation{Sequence: due()[0].Sequence, FirstAt: first},
	}
	submit(t, r, confirm) // whose message stays, as it does when the acknowledgement is lost
	restore(t, r, k)
	read(k)
	remove(t, r, k)
	read(alive)
	submit(t, r, confirm)
	wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted, events.TypeConnected)
}

func TestARepeated404DoesNotPostponeTheConfirmation(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	remove(t, r, k)
	for range 3 {
		if got := r.Refresh(k); got.Reason != toBeConfirmed {
			t.Errorf("reason %q", got.Reason)
		}
	}
	info := r.StreamInfo(r.Subjects.BackgroundStream())
	if info.State.Msgs != 1 || info.State.LastSeq != 1 {
		t.Errorf("%d confirmations waiting, %d ever scheduled; want the first alone", info.State.Msgs, info.State.LastSeq)
	}
	var body struct {
		FirstAt time.Time `json:"first_at"`
	}
	if err := json.Unmarshal(r.Stored(r.Subjects.BackgroundStream(), r.Subjects.Background())[0].Data, &body); err != nil {
		t.Fatal(err)
	}
	reads := r.Answers(k, "read")
	if first, second := reads[1], reads[2]; body.FirstAt.Before(first.Done) || body.FirstAt.After(second.Done) {
		t.Errorf("first 404 noted at %s, was answered at %s", body.FirstAt, first.Done)
	}
}

func TestA404ForEverybodyDeletesNobody(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	var all []events.Key
	for range 5 {
		k := r.AddMember(status("CONNECTED"))
		r.Refresh(k)
		all = append(all, k)
	}
	fault := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404})
	for _, k := range all {
		if got := r.Refresh(k); got.Reason != toBeConfirmed {
			t.Errorf("reason %q", got.Reason)
		}
	}
	w := r.Workers[0]
	r.Until("the deletions are held back", func() bool { return w.Health.Get(refresh.CheckDeletions) != nil })
	r.Until("all confirmations have been tried", func() bool {
		for _, k := range all {
			if r.Reads(k) < 3 {
				return false
			}
		}
		return true
	})
	r.Sim.ClearFaults(fault)
	for _, k := range all {
		r.Refresh(k)
	}
	if err := w.Health.Get(refresh.CheckDeletions); err != nil {
		t.Errorf("still not ready: %v", err)
	}
	r.WaitIdle()
	for _, k := range all {
		wantTypes(t, r, k, events.TypeConnected)
	}
}

// There is nobody else to ask, so MX's last good answer is evidence, if it is of
// the last minute.
func TestTheOnlyMemberIsDeletedIfMXAnsweredWellLately(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		r := refreshtest.New(t, refreshtest.Options{})
		k := r.AddMember(status("CONNECTED"))
		r.Refresh(k)
		if restarted {
			if err := r.Workers[0].Stop(); err != nil {
				t.Fatal(err)
			}
			r.StartWorker()
		}
		remove(t, r, k)
		r.Refresh(k)
		if !restarted {
			r.WaitIdle()
			wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
			continue
		}
		w := r.Workers[len(r.Workers)-1]
		r.Until("the deletion is held back", func() bool { return w.Health.Get(refresh.CheckDeletions) != nil })
		wantTypes(t, r, k, events.TypeConnected)
		alive := r.AddMember(status("CONNECTED"))
		r.Refresh(alive)
		r.WaitIdle()
		wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
		if err := w.Health.Get(refresh.CheckDeletions); err != nil {
			t.Errorf("still not ready: %v", err)
		}
	}
}

func TestTheLastMemberIsDeletedAfterAllOthers(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	all := []events.Key{r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))}
	for _, k := range all {
		r.Refresh(k)
	}
	for _, k := range all {
		remove(t, r, k)
		r.Refresh(k)
		r.WaitIdle()
		wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
	}
}

func TestAWorkerThatRemembersNobodyAsksMembersOfTheStreamForEvidence(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
	r.Refresh(alive)
	r.Refresh(k)
	r.WaitIdle()
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	remove(t, r, k)
	r.StartWorker()
	r.Refresh(k)
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
}

func TestNoMoreThanDeleteLimitGoAtATime(t *testing.T) {
	t.Parallel()
	time := new(clock)
	r := refreshtest.New(t, refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.DeleteLimit = 1 },
		Wrap: func(_ int, d *refresh.Deps) {
			d.Now, d.Jitter = time.Now, func() float64 { return 0 } // what is held comes as soon as it may
		},
	})
	alive := r.AddMember(status("CONNECTED"))
	r.Refresh(alive)
	gone := []events.Key{r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))}
	for _, k := range gone {
		r.Refresh(k)
	}
	for _, k := range gone {
		remove(t, r, k)
		r.Refresh(k)
	}
	deleted := func() (n int) {
		for _, k := range gone {
			n += len(r.Events(k)) - 1
		}
		return n
	}
	w := r.Workers[0]
	r.Until("one is deleted and the other held back", func() bool {
		return deleted() == 1 && w.Health.Get(refresh.CheckDeletions) != nil
	})
	// The event is stored before the confirmation that it answers is acknowledged.
	r.Until("the confirmation of the member held back is kept, and no other", func() bool {
		return r.Messages(r.Subjects.BackgroundStream()) == 1
	})
	time.Advance(61e9)
	r.WaitIdle()
	if n := deleted(); n != 2 {
		t.Errorf("%d members deleted a minute later, want both", n)
	}
	if err := w.Health.Get(refresh.CheckDeletions); err != nil {
		t.Errorf("still not ready: %v", err)
	}
}
