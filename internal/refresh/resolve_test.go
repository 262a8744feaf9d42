package refresh_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestPartnerIDsCostOneReadMoreTheFirstTimeEvenAcrossARestart(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	u := addUser(t, r, "customer.7")
	k := addNamed(t, r, u, "account-7", "CONNECTED")
	command := events.Command{User: "customer.7", Member: "account-7"}
	reads := func(want int) {
		t.Helper()
		before := r.Reads(k)
		got := r.Do(command)
		if got.UserGUID != k.User() || got.MemberGUID != k.Member() {
			t.Errorf("result about %s/%s, want %s", got.UserGUID, got.MemberGUID, k)
		}
		if n := r.Reads(k) - before; n != want {
			t.Errorf("%d reads, want %d", n, want)
		}
	}
	reads(2) // to resolve, and to compare
	reads(1)
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	r.StartWorker()
	reads(1)

	if err := r.JS.DeleteKeyValue(t.Context(), r.Subjects.IDBucket()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: r.Subjects.IDBucket(), Storage: jetstream.FileStorage}); err != nil {
		t.Fatal(err)
	}
	if err := r.Workers[1].Stop(); err != nil {
		t.Fatal(err)
	}
	r.StartWorker()
	reads(2) // losing the bucket costs a read, never an event
	wantTypes(t, r, k, events.TypeConnected)
}

func TestAGuidAndAPartnerIDMayBeMixed(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	u := addUser(t, r, "customer-7")
	k := addNamed(t, r, u, "account-7", "CONNECTED")
	for _, c := range []events.Command{
		{User: k.User(), Member: "account-7"},
		{User: "customer-7", Member: k.Member()},
		{User: k.User(), Member: k.Member()},
	} {
		if got := r.Do(c); got.MemberGUID != k.Member() {
			t.Errorf("%+v was about %q", c, got.MemberGUID)
		}
	}
	wantTypes(t, r, k, events.TypeConnected)
}

func TestUnknownPartnerIDsAreNotFound(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	for range 2 {
		got := r.Do(events.Command{User: "nobody", Member: "nothing"})
		wantResult(t, events.Result{CommandID: got.CommandID, Outcome: events.OutcomeNotFound, Reason: "MX knows no such member"}, got)
	}
	r.WaitIdle()
	if n := r.Messages(r.Subjects.EventStream()) + r.Messages(r.Subjects.DeadLetterStream()); n != 0 {
		t.Errorf("%d messages stored about a member that does not exist", n)
	}
}

func TestAnUnknownMemberByGuidsIsNotFound(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	got := r.Do(events.Command{User: "USR-1", Member: "MBR-1"})
	wantResult(t, events.Result{
		CommandID: "1", Outcome: events.OutcomeNotFound, UserGUID: "USR-1", MemberGUID: "MBR-1", Reason: "MX knows no such member",
	}, got)
	r.WaitIdle()
	if n := r.Messages(r.Subjects.EventStream()) + r.StreamInfo(r.Subjects.BackgroundStream()).State.LastSeq; n != 0 {
		t.Errorf("%d messages stored about a member that does not exist", n)
	}
}

func TestPartnerIDsThatComeToMeanAnotherMemberAreResolvedAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	u := addUser(t, r, "customer-7")
	old := addNamed(t, r, u, "account-7", "CONNECTED")
	command := events.Command{User: "customer-7", Member: "account-7"}
	r.Do(command)
	remove(t, r, old)
	renewed := addNamed(t, r, u, "account-7", "CHALLENGED")
	if got := r.Do(command); got.MemberGUID != renewed.Member() || got.EventType != events.TypeChallenged {
		t.Errorf("result about %s (%s), want the renewed member %s", got.MemberGUID, got.EventType, renewed.Member())
	}
	r.WaitIdle()
	wantTypes(t, r, old, events.TypeConnected, events.TypeDeleted) // nobody will ask for it again
	wantTypes(t, r, renewed, events.TypeChallenged)
	before := r.Reads(old)
	r.Do(command)
	if r.Reads(old) != before {
		t.Error("the old member was asked for again: the new meaning was not remembered")
	}
}

func TestAMemberThatIsFoundByItsPartnersIDsIsNotGone(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: confirmLater})
	u := addUser(t, r, "customer-7")
	k := addNamed(t, r, u, "account-7", "CONNECTED")
	command := events.Command{User: "customer-7", Member: "account-7"}
	r.Do(command)
	r.WaitIdle()
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404, Member: k.Member(), Count: 1}) // for its guids alone
	if got := r.Do(command); got.Outcome != events.OutcomeUnchanged || got.Reason != "" {
		t.Errorf("outcome %s, reason %q", got.Outcome, got.Reason)
	}
	if n := r.Messages(r.Subjects.BackgroundStream()); n != 0 {
		t.Errorf("%d confirmations of its deletion", n)
	}
}

func TestPartnerIDThatALivingMemberLostIsResolvedAgain(t *testing.T) {
	t.Parallel()
	for _, aggregate := range []bool{false, true} {
		r := refreshtest.New(t, refreshtest.Options{})
		u := addUser(t, r, "customer-7")
		old := addNamed(t, r, u, "account-7", "CONNECTED")
		command := events.Command{User: "customer-7", Member: "account-7", Aggregate: aggregate}
		r.Do(events.Command{User: "customer-7", Member: "account-7"})

		r.Set(old, mxsim.Patch{"id": "closed-7"})
		if got := r.Do(command); got.Outcome != events.OutcomeNotFound {
			t.Errorf("aggregate %t: outcome %s of an id that nobody has", aggregate, got.Outcome)
		}
		renewed := addNamed(t, r, u, "account-7", "DENIED")
		if got := r.Do(command); got.MemberGUID != renewed.Member() {
			t.Errorf("aggregate %t: result about %s, want the member that has the id now, %s", aggregate, got.MemberGUID, renewed.Member())
		}
		before := r.Reads(old)
		r.Do(command)
		if r.Reads(old) != before {
			t.Errorf("aggregate %t: the old member was asked for again: the new meaning was not remembered", aggregate)
		}
		if got := r.Refresh(old); got.MemberGUID != old.Member() {
			t.Errorf("aggregate %t: by its guids the old member is %s", aggregate, got.MemberGUID)
		}
	}
}

func TestADeletedMemberIsFoundOutByPartnerIDsToo(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	alive := r.AddMember(status("CONNECTED"))
	u := addUser(t, r, "customer-7")
	k := addNamed(t, r, u, "account-7", "CONNECTED")
	r.Do(events.Command{User: "customer-7", Member: "account-7"})
	r.Refresh(alive)
	remove(t, r, k)
	r.Do(events.Command{User: "customer-7", Member: "account-7"})
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
}

func TestAPanicWhileIDsAreResolvedAgainLosesNoCommand(t *testing.T) {
	t.Parallel()
	var armed atomic.Bool
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		inner := d.MX
		d.MX = &readers{MX: inner, read: func(ctx context.Context, user, member string) (mx.Member, error) {
			if user == "customer-7" && armed.CompareAndSwap(true, false) {
				panic("resolving")
			}
			return inner.ReadMember(ctx, user, member)
		}}
	}})
	u := addUser(t, r, "customer-7")
	old := addNamed(t, r, u, "account-7", "CONNECTED")
	command := events.Command{User: "customer-7", Member: "account-7"}
	r.Do(command)
	remove(t, r, old)
	renewed := addNamed(t, r, u, "account-7", "CHALLENGED")
	armed.Store(true)
	if got := r.Do(command); got.MemberGUID != renewed.Member() {
		t.Errorf("result about %q", got.MemberGUID)
	}
	if armed.Load() {
		t.Error("nothing panicked")
	}
}
