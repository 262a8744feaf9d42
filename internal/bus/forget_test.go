package bus_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// settling is longer than the simulator takes to answer, where a test does not slow it down.
const settling = 300 * time.Millisecond

func person(k events.Key) bus.Person { return bus.Person{User: k.User(), Member: k.Member()} }

func forget(t *testing.T, r *refreshtest.Rig, p bus.Person, wait time.Duration) bus.Removed {
	t.Helper()
	removed, err := bus.NewForgetter(r.JS, r.Subjects, wait).Forget(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return removed
}

// owned adds a user and members, all with ids of the partner's own.
func owned(t *testing.T, r *refreshtest.Rig, user string, members ...string) []events.Key {
	t.Helper()
	u, err := r.Sim.AddUser(mxsim.User{ID: &user})
	if err != nil {
		t.Fatal(err)
	}
	var keys []events.Key
	for _, id := range members {
		m, err := r.Sim.AddMember(u.GUID, mxsim.Patch{"id": id, "is_oauth": true})
		if err != nil {
			t.Fatal(err)
		}
		k, err := events.NewKey(u.GUID, m.GUID)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
		if got := r.Do(events.Command{User: user, Member: id}); got.Outcome != events.OutcomeChanged {
			t.Fatalf("%s of %s: %+v", id, user, got)
		}
	}
	return keys
}

// bury stores the dead letter of a command.
func bury(t *testing.T, r *refreshtest.Rig, subject, body string, headers map[string][]string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	raw, err := json.Marshal(events.DeadLetter{
		Headers: headers, Body: []byte(body), BodySize: len(body), BodySHA256: hex.EncodeToString(sum[:]),
		Subject: subject, Stream: r.Subjects.CommandStream(), Sequence: 1, Reason: "a reason", Category: events.CategoryInvalid,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.PublishMsg(&nats.Msg{Subject: r.Subjects.DeadLetter(events.CategoryInvalid), Data: raw})
}

// schedule has a read of a member wait for an hour.
func schedule(r *refreshtest.Rig, cause string, k events.Key) {
	r.PublishMsg(&nats.Msg{Subject: r.Subjects.BackgroundAt(cause, k), Data: []byte(`{"cause":"` + cause + `"}`), Header: nats.Header{
		"Nats-Schedule":        {"@at " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)},
		"Nats-Schedule-Target": {r.Subjects.BackgroundDueOf(k)},
	}})
}

// left is how many messages each stream holds.
func left(r *refreshtest.Rig) map[string]uint64 {
	all := map[string]uint64{}
	s := r.Subjects
	for _, stream := range []string{s.CommandStream(), s.BackgroundStream(), s.EventStream(), s.OAuthStream(), s.DeadLetterStream(), "KV_" + s.IDBucket()} {
		all[stream] = r.Messages(stream)
	}
	return all
}

func TestForgetRemovesEverythingAboutAMemberAndNothingElse(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	anna, bert := owned(t, r, "anna", "checking", "savings"), owned(t, r, "bert", "checking")
	for _, k := range []events.Key{anna[0], anna[1], bert[0]} {
		schedule(r, "confirm_deletion", k)
		schedule(r, "settle", k)
		bury(t, r, r.Subjects.Refresh()+"."+k.User()+"."+k.Member(), "", nil)
		bury(t, r, r.Subjects.Refresh(), `{"user":5,"note":"`+k.Member()+`"`, nil)
		bury(t, r, r.Subjects.Refresh(), `nothing`, map[string][]string{"ce-subject": {k.Member()}})
	}
	for _, body := range []string{
		`{"user":"anna","member":"checking","command_id":"*"}`, `{"user":"anna","member":"savings","command_id":"*"}`,
		`{"user":"bert","member":"checking","command_id":"*"}`,
		`{"specversion":"0.3","type":"member.refresh","id":"1","source":"/x","data":{"user":"anna","member":"checking"}}`,
		`{"user":"` + anna[0].User() + `","member":"checking"`, // not parsed, and no guid of the member
		`{"user":"anna","member":"` + anna[0].Member() + `0"}`, // another guid
	} {
		bury(t, r, r.Subjects.Refresh(), body, nil)
	}
	before := left(r)

	count, err := bus.NewForgetter(r.JS, r.Subjects, settling).Count(t.Context(), person(anna[0]))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, left(r)); diff != "" {
		t.Errorf("counting changed something (-before +after):\n%s", diff)
	}
	want := bus.Removed{Scheduled: 2, DeadLetters: 5, IDs: 1, Announcements: 1, Events: 1}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, forget(t, r, person(anna[0]), settling)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	after := left(r)
	for stream, n := range map[string]uint64{
		"MX_BACKGROUND": 2, "MX_DEADLETTERS": 5, "KV_MX_IDS": 1, "MX_OAUTH": 1, "MX_EVENTS": 1, "MX_COMMANDS": 0,
	} {
		if after[stream] != before[stream]-n {
			t.Errorf("%s had %d, has %d, want %d fewer", stream, before[stream], after[stream], n)
		}
	}
	if n := forget(t, r, person(anna[0]), settling).Total(); n != 0 {
		t.Errorf("%d removed the second time", n)
	}
	// Bert's is another member with the same id; Anna's other member is gone with her.
	if got := forget(t, r, bus.Person{User: anna[1].User()}, settling); got.Events != 1 || got.IDs != 1 || got.Announcements != 1 || got.Scheduled != 2 || got.DeadLetters != 6 {
		t.Errorf("of the user is removed %+v", got)
	}
	if got, err := bus.NewForgetter(r.JS, r.Subjects, settling).Count(t.Context(), bus.Person{User: bert[0].User()}); err != nil || got.Total() != 2+4+1+1+1 {
		t.Errorf("of the other user is left %+v, %v", got, err)
	}
}

func TestForgottenMemberBeginsANewLifeInWorkersThatRememberIt(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]mxsim.Patch{
		"nothing is new to the worker": nil,
		"something is new to it":       {"connection_status": "DENIED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{Bus: func(c *bus.Config) { c.FollowUpAfter = 20 * time.Millisecond }})
			k, other := r.AddMember(nil), r.AddMember(nil)
			r.Refresh(k)
			r.Refresh(other)
			r.Set(k, mxsim.Patch{"connection_status": "IMPEDED"})
			r.Refresh(k)
			r.WaitIdle()
			if n := forget(t, r, person(k), settling).Events; n != 2 {
				t.Errorf("%d events removed, want 2", n)
			}
			if change != nil {
				r.Set(k, change)
			}
			if got := r.Refresh(k); got.Outcome != events.OutcomeChanged || got.Revision != 1 {
				t.Errorf("result is %+v", got)
			}
			r.WaitIdle()
			all := r.Events(k)
			if len(all) != 1 || all[0].Data.Revision != 1 || all[0].Data.Previous != nil {
				t.Errorf("events of the new life: %+v", all)
			}
			report, err := oracle.Check(t.Context(), r.JS, oracle.Options{Truth: func(yield func(string, []byte) bool) {
				for _, k := range []events.Key{k, other} {
					truth, err := r.Sim.Truth(k.Member())
					if err != nil {
						t.Error(err)
						return
					}
					raw, err := json.Marshal(truth.Member)
					if err != nil || !yield(k.Member(), raw) {
						return
					}
				}
			}})
			if err != nil || !report.OK() {
				t.Errorf("%v\n%s", err, report)
			}
		})
	}
}

func TestForgetLetsACommandInHandEndAndRemovesWhatItWrote(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(nil)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 2 * settling})
	id := strconv.FormatUint(r.Publish(events.Command{User: k.User(), Member: k.Member()}), 10)
	r.Until("MX is asked", func() bool { return r.Sim.Stats().InFlight > 0 })
	got := forget(t, r, person(k), 10*settling)
	if diff := cmp.Diff(bus.Removed{Events: 1}, got); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if res := r.Results(id); len(res) != 1 || res[0].Outcome != events.OutcomeChanged {
		t.Errorf("results are %+v", res)
	}
	if n := r.Messages(r.Subjects.EventStream()); n != 0 {
		t.Errorf("%d events are left", n)
	}
}

func TestForgetComesBackForWhatARequestInHandWrites(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(nil)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: settling})
	ended := make(chan refresh.Verdict, 1)
	r.Workers[0].Service.Submit(&refresh.Job{
		Ref: "request", Command: events.Command{User: k.User(), Member: k.Member()}, ID: "request",
		Source: refresh.SourceRequest, Settle: func(v refresh.Verdict) { ended <- v },
	})
	// No message tells of it.
	if diff := cmp.Diff(bus.Removed{Events: 1}, forget(t, r, person(k), 3*settling)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if v := <-ended; v.Result.Outcome != events.OutcomeChanged {
		t.Errorf("verdict is %+v", v)
	}
	if n := r.Messages(r.Subjects.EventStream()); n != 0 {
		t.Errorf("%d events are left", n)
	}
}

func TestForgetTakesBackWhatNobodyCarriesOut(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1})
	k, other := r.AddMember(nil), r.AddMember(nil)
	for _, k := range []events.Key{k, other} {
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
		r.Publish(events.Command{User: "somebody", Member: k.Member()})
		r.PublishMsg(&nats.Msg{Subject: r.Subjects.Refresh() + "." + k.User() + "." + k.Member()})
		r.PublishMsg(&nats.Msg{Subject: r.Subjects.BackgroundDueOf(k), Data: []byte(`{"cause":"sweep"}`)})
	}
	r.Publish(events.Command{User: "anna", Member: "checking"})
	p := person(k)
	p.UserIDs, p.MemberIDs = []string{"anna"}, []string{"checking"}
	if diff := cmp.Diff(bus.Removed{Scheduled: 1, Commands: 4}, forget(t, r, p, settling)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
	if got := left(r); got["MX_COMMANDS"] != 3 || got["MX_BACKGROUND"] != 1 {
		t.Errorf("left is %v", got)
	}
}

func TestForgetWhileMXIsDownEnds(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(nil)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("MX is asked", func() bool { return r.Reads(k) > 0 })
	if diff := cmp.Diff(bus.Removed{Commands: 1}, forget(t, r, person(k), settling)); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

func TestForgetGivesUpWhenSomebodyKeepsWriting(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1})
	k := r.AddMember(nil)
	// One that stays until it is removed; the others push each other out.
	if _, err := r.JS.Publish(t.Context(), r.Subjects.Event(events.TypeDegraded, k), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = r.NC.Publish(r.Subjects.Event(events.TypeConnected, k), []byte("{}")) // Some are enough.
			}
		}
	}()
	removed, err := bus.NewForgetter(r.JS, r.Subjects, 100*time.Millisecond).Forget(t.Context(), person(k))
	stop()
	<-ended
	if !errors.Is(err, bus.ErrStillWritten) || removed.Events == 0 {
		t.Errorf("removed %+v, error %v", removed, err)
	}
}

func TestResentCommandIsCarriedOutOnceHoweverOftenItIsSent(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(nil)
	bury(t, r, r.Subjects.Refresh(), `{"user":"`+k.User()+`","member":"`+k.Member()+`","command_id":"again"}`, map[string][]string{"Nats-Msg-Id": {"x"}})
	box := bus.NewLetterbox(r.JS, r.Subjects)
	l, err := box.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := box.Resend(t.Context(), &l); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Result("again"); got.Outcome != events.OutcomeChanged {
		t.Errorf("result is %+v", got)
	}
	r.WaitIdle()
	if n := r.StreamInfo(r.Subjects.CommandStream()).State.LastSeq; n != 1 {
		t.Errorf("%d commands were stored", n)
	}
	if slices.ContainsFunc(r.DeadLetters(), func(events.DeadLetter) bool { return true }) {
		t.Error("the letter is still there")
	}
}
