package refresh_test

import (
	"context"
	"errors"
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

// pending is a member that waits to be authorized, and whose read shows no URI.
func pending() mxsim.Patch {
	return mxsim.Patch{"is_oauth": true, "connection_status": "PENDING", "oauth_window_uri": nil}
}

// announcement returns the member's only announcement, which must be the first
// that was ever stored.
func announcement(t *testing.T, r *refreshtest.Rig, k events.Key) events.Event {
	t.Helper()
	a := r.Announcements(k)
	if n := r.StreamInfo(r.Subjects.OAuthStream()).State.LastSeq; len(a) != 1 || n != 1 {
		t.Fatalf("%d announcements of the member, %d ever stored; want 1", len(a), n)
	}
	return a[0]
}

func TestANeedIsAnnouncedWithTheURIOfTheRead(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	uri := uriOf(t, r, k)
	r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "c-1"})
	a := announcement(t, r, k)
	e := r.Events(k)[0]
	if a.Type != events.TypeOAuthRequired || a.Data.OAuthWindowURI != uri || a.ID != e.Announcement("").ID || a.CorrelationID != "c-1" {
		t.Errorf("type %s, id %s, correlation id %q, the read's URI: %t", a.Type, a.ID, a.CorrelationID, a.Data.OAuthWindowURI == uri)
	}
	if n := len(r.Answers(k, "oauth_window_uri")); n != 0 {
		t.Errorf("asked for another URI %d times", n)
	}
	r.Refresh(k)
	announcement(t, r, k) // the need persists, which is no news
}

func TestANeedIsAnnouncedWithAURIFromItsEndpointWhenTheReadHasNone(t *testing.T) {
	t.Parallel()
	for name, blank := range map[string]any{"null": nil, "empty": "", "white space": " \t"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "PENDING", "oauth_window_uri": blank})
			r.Refresh(k)
			if a := announcement(t, r, k); !strings.HasPrefix(a.Data.OAuthWindowURI, "https://") {
				t.Error("no URI")
			}
			if n := len(r.Answers(k, "oauth_window_uri")); n != 1 {
				t.Errorf("asked for a URI %d times, want once", n)
			}
		})
	}
}

func TestANeedIsAnnouncedWithoutAURIWhenMXWillNotGiveOne(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault mxsim.Fault
		calls int
	}{
		"400":       {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 400}, 1},
		"401":       {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 401}, 1},
		"403":       {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 403}, 1},
		"404":       {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404}, 1},
		"406":       {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 406}, 1},
		"500 twice": {mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500}, 2},
		"no JSON":   {mxsim.Fault{Kind: mxsim.FaultNonJSON}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			tc.fault.Scope = "oauth_window_uri"
			r.Inject(tc.fault)
			k := r.AddMember(pending())
			if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
				t.Errorf("outcome %s: the status waited for a URI", got.Outcome)
			}
			if a := announcement(t, r, k); a.Data.OAuthWindowURI != "" {
				t.Error("a URI from nowhere")
			}
			if n := len(r.Answers(k, "oauth_window_uri")); n != tc.calls {
				t.Errorf("asked for a URI %d times, want %d", n, tc.calls)
			}
			w := r.Workers[0]
			if err := w.Health.Get(refresh.CheckCredentials); err != nil || w.Service.Flow().Suspended {
				t.Errorf("the endpoint's refusal touched readiness (%v) or the breaker", err)
			}
		})
	}
}

func TestAURIThatFailsOnceIsAskedForAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Scope: "oauth_window_uri", Count: 1})
	k := r.AddMember(pending())
	r.Refresh(k)
	if a := announcement(t, r, k); a.Data.OAuthWindowURI == "" {
		t.Error("no URI")
	}
}

func TestAnAnnouncementWaitsOnceForAnMXThatIsBusyOrDown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		again  bool // when MX is asked next
	}{
		"429": {429, false}, "429 twice": {429, true},
		"503": {503, false}, "503 twice": {503, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			fault := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: tc.status, Scope: "oauth_window_uri"})
			k := r.AddMember(pending())
			id := r.Publish(events.Command{User: k.User(), Member: k.Member()})
			w := r.Workers[0]
			r.Until("MX is not asked any more", func() bool { return w.Service.Flow().Suspended })
			r.Until("the command is handed back", func() bool { return w.Service.Flow().Hand == 0 })
			wantTypes(t, r, k, events.TypePending) // the status did not wait
			if n := r.Messages(r.Subjects.OAuthStream()); n != 0 {
				t.Errorf("%d announcements although MX was asked once", n)
			}
			if n := r.Messages(r.Subjects.CommandStream()); n != 1 {
				t.Errorf("%d commands kept, want the one whose need is not announced", n)
			}
			if !tc.again {
				r.Sim.ClearFaults(fault)
			}
			got := r.Result(decimal(int(id)))
			if e := r.Events(k)[0]; got.Outcome != events.OutcomeChanged || got.EventID != e.ID {
				t.Errorf("outcome %s, event %q: the redelivered command's event is its own", got.Outcome, got.EventID)
			}
			if a := announcement(t, r, k); (a.Data.OAuthWindowURI == "") != tc.again {
				t.Errorf("announced with a URI: %t", a.Data.OAuthWindowURI != "")
			}
			if n := len(r.Answers(k, "oauth_window_uri")); n != 2 {
				t.Errorf("asked for a URI %d times, want twice", n)
			}
			wantTypes(t, r, k, events.TypePending)
			if err := w.Health.Get(refresh.CheckCredentials); err != nil {
				t.Errorf("readiness: %v", err)
			}
		})
	}
}

// uris lets a test answer for the endpoint that gives URIs.
type uris struct {
	refresh.MX
	give func(ctx context.Context) (string, error)
}

func (u *uris) OAuthWindowURI(ctx context.Context, _, _ string, _ mx.OAuthOptions) (string, error) {
	return u.give(ctx)
}

func TestANeedIsAnnouncedWithoutAURIThatHasNoRoomInNATS(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	small := r.StreamInfo(r.Subjects.OAuthStream()).Config
	small.MaxMsgSize = 4096
	if _, err := r.JS.UpdateStream(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "PENDING", "oauth_window_uri": "https://oauth.example/" + strings.Repeat("x", 4096)})
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s (%s)", got.Outcome, got.Reason)
	}
	wantTypes(t, r, k, events.TypePending)
	if all := r.Announcements(k); len(all) != 1 || all[0].Data.OAuthWindowURI != "" {
		t.Errorf("announcements %+v; want one without URI", all)
	}
}

func TestACallThatWasGivenUpIsNoRefusalOfAURI(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		d.MX = &uris{d.MX, func(context.Context) (string, error) {
			switch calls.Add(1) {
			case 1, 2:
				return "", &mx.CallError{Kind: mx.Canceled, Op: mx.OpOAuthWindowURI}
			case 3:
				return "", &mx.CallError{Kind: mx.RateLimited, Op: mx.OpOAuthWindowURI}
			}
			return "https://bank.test/", nil
		}}
	}})
	k := r.AddMember(pending())
	r.Refresh(k)
	if a := announcement(t, r, k); a.Data.OAuthWindowURI == "" || calls.Load() != 4 {
		t.Errorf("announced with a URI: %t, after %d calls; want it after one refusal", a.Data.OAuthWindowURI != "", calls.Load())
	}
}

func TestAnEndpointThatFailsAndIsThenBusyHasFailedTwice(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		d.MX = &uris{d.MX, func(context.Context) (string, error) {
			kind := mx.ServerFailed
			if calls.Add(1) == 2 {
				kind = mx.RateLimited
			}
			return "", &mx.CallError{Kind: kind, Op: mx.OpOAuthWindowURI}
		}}
	}})
	k := r.AddMember(pending())
	r.Refresh(k)
	if a := announcement(t, r, k); a.Data.OAuthWindowURI != "" || calls.Load() != 2 {
		t.Errorf("announced after %d calls, want 2", calls.Load())
	}
}

// cannotAnnounce is a worker whose announcements are refused while it holds.
func cannotAnnounce(broken *atomic.Bool) func(*refresh.Deps) {
	return func(d *refresh.Deps) {
		inner := d.Announcements
		d.Announcements = &announcements{inner, func(ctx context.Context, e events.Event) error {
			if broken.Load() {
				return errors.New("refused by the test")
			}
			return inner.Announce(ctx, e)
		}}
	}
}

func TestAnAnnouncementThatACrashPreventedIsMadeGoodByAnyWorker(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	r := refreshtest.New(t, refreshtest.Options{AckWait: time.Second, Wrap: func(worker int, d *refresh.Deps) {
		if worker == 0 {
			cannotAnnounce(&broken)(d)
		}
	}})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the event is stored", func() bool { return len(r.Events(k)) == 1 })
	r.Workers[0].Kill()
	if n := r.Messages(r.Subjects.OAuthStream()); n != 0 {
		t.Fatalf("%d announcements; the test shows nothing", n)
	}
	r.StartWorker()
	r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "another"})
	if a := announcement(t, r, k); a.Data.OAuthWindowURI == "" {
		t.Error("no URI")
	}
	if got := r.Result("1"); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s of the command that was in hand at the crash", got.Outcome)
	}
	announcement(t, r, k)
	wantTypes(t, r, k, events.TypePending)
}

func TestAnAnnouncementIsNotMadeWhenNobodyCouldUseItAnyMore(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	time := new(clock)
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		cannotAnnounce(&broken)(d)
		d.Now = time.Now
	}})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the event is stored", func() bool { return len(r.Events(k)) == 1 })
	broken.Store(false)
	time.Advance(30 * 60e9)
	r.WaitIdle()
	if n := r.Messages(r.Subjects.OAuthStream()); n != 0 {
		t.Errorf("%d announcements, older than OAUTH_URI_TTL", n)
	}
	if got := r.Refresh(k); got.Outcome != events.OutcomeUnchanged {
		t.Errorf("outcome %s", got.Outcome)
	}
}

func TestANeedIsAnnouncedOnceByHoweverManyWorkers(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: 3, Bus: followSoon, Refresh: func(c *refresh.Config) { c.StateCache = 0 }})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	for range 50 {
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.WaitIdle()
	announcement(t, r, k)
	wantTypes(t, r, k, events.TypePending)
}

func TestANeedThatArisesAgainIsAnnouncedAgain(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	r.Refresh(k)
	first := announcement(t, r, k)
	r.Set(k, mxsim.Patch{"oauth_window_uri": ""}) // while status and error stay, that does not end the need
	r.Refresh(k)
	announcement(t, r, k)

	r.Set(k, mxsim.Patch{"connection_status": "CONNECTED", "oauth_window_uri": nil})
	r.Refresh(k)
	r.Set(k, status("IMPAIRED"))
	r.Refresh(k)
	a := r.Announcements(k)
	if len(a) != 1 || a[0].ID == first.ID || a[0].Data.Revision != 3 {
		t.Fatalf("announcements %+v, want one of revision 3", a)
	}
	if e := r.Events(k)[2]; !e.Data.OAuthRequired || !slices.Contains(e.Data.Changed, events.FieldOAuthRequired) {
		t.Errorf("the event: need %t, changed %v", e.Data.OAuthRequired, e.Data.Changed)
	}
}
