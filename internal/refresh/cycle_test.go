package refresh_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// status is a patch to a connection status.
func status(s string) mxsim.Patch { return mxsim.Patch{"connection_status": s} }

// wantTypes checks which events a member has.
func wantTypes(t *testing.T, r *refreshtest.Rig, k events.Key, want ...events.Type) {
	t.Helper()
	if diff := cmp.Diff(want, r.Types(k)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// wantResult checks a result but for the time it was finished at.
func wantResult(t *testing.T, want, got events.Result) {
	t.Helper()
	if got.FinishedAt.IsZero() {
		t.Error("the result does not say when it was finished")
	}
	want.FinishedAt = got.FinishedAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestFirstReadOfAMemberIsAnEventOfItsStatus(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CHALLENGED"))
	got := r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "c-1", Reason: "signup"})

	wantTypes(t, r, k, events.TypeChallenged)
	e := r.Events(k)[0]
	wantResult(t, events.Result{
		CommandID: "c-1", Outcome: events.OutcomeChanged, UserGUID: k.User(), MemberGUID: k.Member(),
		Revision: 1, EventID: e.ID, EventType: events.TypeChallenged, Reason: "signup",
	}, got)
	if e.Data.Previous != nil || e.Data.Revision != 1 || e.CorrelationID != "c-1" || e.Reason != "signup" {
		t.Errorf("previous %v, revision %d, correlation id %q, reason %q", e.Data.Previous, e.Data.Revision, e.CorrelationID, e.Reason)
	}
	if !slices.Contains(e.Data.Changed, "connection_status") || e.Data.Member.GUID != k.Member() {
		t.Errorf("changed %v of member %s", e.Data.Changed, e.Data.Member.GUID)
	}
}

func TestFirstReadIsADiscoveryWhenInitialEventsAreOffOrThereIsNoStatus(t *testing.T) {
	t.Parallel()
	off := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.InitialEvents = false }})
	k := off.AddMember(status("CHALLENGED"))
	off.Refresh(k)
	wantTypes(t, off, k, events.TypeDiscovered)

	on := refreshtest.New(t, refreshtest.Options{})
	k = on.AddMember(mxsim.Patch{"connection_status": nil})
	on.Refresh(k)
	wantTypes(t, on, k, events.TypeDiscovered)
}

func TestChangesArePublishedInOrderWithWhatWasBefore(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	for _, s := range []string{"DEGRADED", "DISCONNECTED", "CONNECTED"} {
		r.Set(k, status(s))
		if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
			t.Fatalf("outcome of the refresh to %s: %s", s, got.Outcome)
		}
	}
	wantTypes(t, r, k, events.TypeConnected, events.TypeDegraded, events.TypeDisconnected, events.TypeConnected)
	before := ""
	for i, e := range r.Events(k) {
		if e.Data.Revision != uint64(i+1) {
			t.Errorf("event %d has revision %d", i+1, e.Data.Revision)
		}
		if got := string(e.Data.Previous["connection_status"]); got != before {
			t.Errorf("event %d: status before was %s, want %s", i+1, got, before)
		}
		b, err := json.Marshal(e.Data.Member.ConnectionStatus)
		if err != nil {
			t.Fatal(err)
		}
		before = string(b)
	}
}

func TestNothingNewWritesNothing(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	reads := r.Reads(k)
	var before []uint64
	streams := []string{
		r.Subjects.EventStream(), r.Subjects.OAuthStream(), r.Subjects.BackgroundStream(),
		r.Subjects.DeadLetterStream(), "KV_" + r.Subjects.IDBucket(),
	}
	for _, s := range streams {
		before = append(before, r.StreamInfo(s).State.LastSeq)
	}
	r.Set(k, mxsim.Patch{"connection_status_message": "worded anew"}) // never a reason for an event
	const n = 5
	for i := range n {
		wantResult(t, events.Result{
			CommandID: decimal(i + 2), // no command_id: the stream sequence is the id
			Outcome:   events.OutcomeUnchanged, UserGUID: k.User(), MemberGUID: k.Member(), Revision: 1,
		}, r.Refresh(k))
	}
	for i, s := range streams {
		if after := r.StreamInfo(s).State.LastSeq; after != before[i] {
			t.Errorf("%d messages written to %s", after-before[i], s)
		}
	}
	if got := r.Reads(k) - reads; got != n {
		t.Errorf("%d reads for %d commands one after the other", got, n)
	}
	r.WaitIdle()
}

func TestANullStatusKeepsTheStatusThatIsKnown(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("DEGRADED"))
	r.Refresh(k)
	r.Set(k, mxsim.Patch{"connection_status": nil})
	if got := r.Refresh(k); got.Outcome != events.OutcomeUnchanged {
		t.Errorf("outcome %s, want unchanged", got.Outcome)
	}
	r.Set(k, status("DEGRADED"))
	r.Refresh(k)
	wantTypes(t, r, k, events.TypeDegraded)
}

func TestAnEventCarriesTheTraceOfItsCommandAndTheTypePrefix(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.EventTypePrefix = "com.example" }})
	k := r.AddMember(status("CONNECTED"))
	subject, err := r.Subjects.RefreshOf(k.User(), k.Member())
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.PublishMsg(&nats.Msg{Subject: subject, Header: nats.Header{"traceparent": {trace}, "tracestate": {"vendor=1"}}})
	r.Result("1")
	e := r.Events(k)[0]
	if e.Traceparent != trace || e.Tracestate != "vendor=1" || e.Prefix != "com.example." || e.CorrelationID != "1" {
		t.Errorf("traceparent %q, tracestate %q, prefix %q, correlation id %q", e.Traceparent, e.Tracestate, e.Prefix, e.CorrelationID)
	}
	m := r.Stored(r.Subjects.EventStream(), r.Subjects.EventsOf(k))[0]
	if got := m.Header["traceparent"]; !slices.Equal(got, []string{trace}) {
		t.Errorf("header traceparent %q", got)
	}
	if got := m.Header["Content-Type"]; !slices.Equal(got, []string{events.ContentType}) {
		t.Errorf("header Content-Type %q", got)
	}
}

func TestCommandsForOneMemberShareAReadAndGetAResultEach(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1, Sim: func(c *mxsim.Config) { c.Latency = 50 * time.Millisecond }})
	k := r.AddMember(status("CONNECTED"))
	const n = 200
	for range n {
		r.Publish(events.Command{User: k.User(), Member: k.Member(), Reason: "burst"})
	}
	r.StartWorker()
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected)
	if reads := r.Reads(k); reads > n/10 {
		t.Errorf("%d reads for %d commands that waited", reads, n)
	}
	for i := range n {
		id := r.Result(decimal(i + 1)).CommandID
		if got := r.Results(id); len(got) != 1 {
			t.Errorf("%d results of command %s", len(got), id)
		}
	}
	if e := r.Events(k)[0]; len(r.Results(e.CorrelationID)) != 1 || r.Result(e.CorrelationID).EventID != e.ID {
		t.Errorf("correlation id %q, want that of a command whose read it was", e.CorrelationID)
	}
}

func TestACommandThatComesAgainIsToldOfItsOwnEventAlone(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "nightly"})
	e := r.Events(k)[0]
	for name, tc := range map[string]struct {
		at         time.Duration // when it was stored, after the event was observed
		deliveries uint64
		want       events.Outcome
	}{
		"the one that made it":                        {-time.Second, 2, events.OutcomeChanged},
		"the one that made it, by a clock ahead":      {900 * time.Millisecond, 3, events.OutcomeChanged},
		"another with the same id":                    {1100 * time.Millisecond, 1, events.OutcomeUnchanged},
		"another with the same id, which comes again": {1100 * time.Millisecond, 2, events.OutcomeUnchanged},
	} {
		v := submit(t, r, refresh.Job{
			Ref: name, ID: "nightly", Command: events.Command{User: k.User(), Member: k.Member()}, At: e.Data.ObservedAt.Add(tc.at),
			Source: refresh.SourceCommand, Lane: refresh.Interactive, Deliveries: tc.deliveries,
		})
		if told := v.Result.EventID == e.ID; v.Result.Outcome != tc.want || told != (tc.want == events.OutcomeChanged) {
			t.Errorf("%s: outcome %s, event %q; want %s", name, v.Result.Outcome, v.Result.EventID, tc.want)
		}
	}
}

func TestAURIIsPublishedOnTheOAuthStreamAlone(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "metadata": "private text"})
	uri := uriOf(t, r, k)
	r.Refresh(k)
	if a := r.Announcements(k); len(a) != 1 || a[0].Data.OAuthWindowURI != uri {
		t.Fatal("the announcement does not hold the URI of the read")
	}
	for _, m := range r.Stored(r.Subjects.EventStream(), r.Subjects.Events()) {
		for _, secret := range []string{uri, "oauth_window_uri", "private text", "metadata"} {
			if contains(m.Data, secret) {
				t.Errorf("event on %s holds %q", m.Subject, secret)
			}
		}
	}
}
