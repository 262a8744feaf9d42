package bus_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestARefreshIsAnsweredWhenItIsDone(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(mxsim.Patch{"connection_status": "CHALLENGED"})
	r := of(k)
	r.CommandID, r.Reason = "signup-7", "the user looks at the page"
	var first, second events.RefreshResponse
	if code := a.send(events.APIRefresh, r, &first); code != "" {
		t.Fatalf("code %s", code)
	}
	all := a.Events(k)
	if len(all) != 1 {
		t.Fatalf("%d events", len(all))
	}
	e := all[0]
	if e.CorrelationID != "signup-7" || e.Reason != r.Reason {
		t.Errorf("the event has correlation id %q, reason %q", e.CorrelationID, e.Reason)
	}
	want := events.Result{
		CommandID: "signup-7", Outcome: events.OutcomeChanged, UserGUID: k.User(), MemberGUID: k.Member(),
		Revision: 1, EventID: e.ID, EventType: events.TypeChallenged, Reason: r.Reason, FinishedAt: first.Result.FinishedAt,
	}
	if diff := cmp.Diff(want, first.Result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if first.State == nil || cmp.Diff(e.Data, *first.State) != "" {
		t.Errorf("state %+v", first.State)
	}
	if code := a.send(events.APIRefresh, of(k), &second); code != "" || second.Result.Outcome != events.OutcomeUnchanged || second.State == nil {
		t.Errorf("again: code %s, %+v", code, second)
	}
	if n := a.Messages(a.Subjects.CommandStream()); n != 0 {
		t.Errorf("%d messages on the command stream", n)
	}
}

func TestGetTellsTheLastStateWithoutAskingMX(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(mxsim.Patch{"connection_status": "LOCKED", "id": "checking"})
	a.Refresh(k)
	want := a.Events(k)[0]
	var got events.GetResponse
	if code := a.send(events.APIGet, events.GetRequest{User: k.User(), Member: k.Member()}, &got); code != "" {
		t.Fatalf("code %s", code)
	}
	if got.EventID != want.ID || got.EventType != want.Type || cmp.Diff(want.Data, got.State) != "" {
		t.Errorf("got %+v", got)
	}
	own := events.GetRequest{User: k.User(), Member: "checking"}
	if code := a.send(events.APIGet, own, nil); code != events.APINotFound {
		t.Errorf("own ids are known before the service has seen them: %s", code)
	}
	a.Do(events.Command{User: own.User, Member: own.Member})
	before := a.Reads(k)
	if code := a.send(events.APIGet, own, &got); code != "" || got.MemberGUID != k.Member() {
		t.Errorf("by own ids: %s, %+v", code, got)
	}
	if n := a.Reads(k); n != before {
		t.Errorf("%d reads", n-before)
	}
}

func TestAFreshURIIsForTheCallerAlone(t *testing.T) {
	t.Parallel()
	var log bus.LockedBuffer
	to := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a := ask(t, refreshtest.New(t, refreshtest.Options{
		Wrap: func(_ int, d *refresh.Deps) { d.Log = to },
	}), func(o *bus.APIOptions) { o.Log = to })
	k := a.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	a.Refresh(k)
	secrets := make(map[string]bool)
	for _, r := range []events.OAuthURIRequest{
		{User: k.User(), Member: k.Member()},
		{User: k.User(), Member: k.Member(), ReferralSource: events.ReferralApp, ClientRedirectURL: "myapp://connected", EnableApp2App: new(true), SkipAggregation: new(false), UIMessageWebviewURLScheme: "myapp"},
	} {
		var got events.OAuthURIResponse
		if code := a.send(events.APIOAuthURI, r, &got); code != "" || !strings.HasPrefix(got.OAuthWindowURI, "https://") {
			t.Fatalf("code %s", code)
		}
		u, err := url.Parse(got.OAuthWindowURI)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{ // the simulator repeats what it was asked
			"referral_source": r.ReferralSource, "client_redirect_url": r.ClientRedirectURL, "ui_message_webview_url_scheme": r.UIMessageWebviewURLScheme,
			"enable_app2app": boolean(r.EnableApp2App), "skip_aggregation": boolean(r.SkipAggregation),
		} {
			if got := u.Query().Get(name); got != want {
				t.Errorf("MX was asked with %s=%q, want %q", name, got, want)
			}
		}
		secrets[got.OAuthWindowURI] = true
	}
	if len(secrets) != 2 {
		t.Error("the same URI twice")
	}
	a.Refresh(k)
	a.WaitIdle()
	for uri := range secrets {
		for stream := range a.JS.StreamNames(t.Context()).Name() {
			for _, m := range a.Stored(stream, ">") {
				if bytes.Contains(m.Data, []byte(uri)) {
					t.Errorf("the URI is stored on %s", m.Subject)
				}
			}
		}
		if strings.Contains(log.String(), uri) {
			t.Error("the URI is logged")
		}
	}
	if strings.Contains(log.String(), mxsim.DefaultAPIKey) {
		t.Error("the key is logged")
	}
}

func boolean(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func TestWhatCannotBeServedHasACode(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(mxsim.Patch{"connection_status": "CONNECTED"})
	id := `{"user":"` + k.User() + `","member":"` + k.Member() + `"`
	every := []string{events.APIRefresh, events.APIGet, events.APIOAuthURI}
	for _, c := range []struct {
		name, body string
		endpoints  []string
		code       events.APICode
		says       string
	}{
		{"nothing", "", every, events.APIInvalid, "body: is empty"},
		{"not JSON", "hello", every, events.APIInvalid, "body: is not JSON"},
		{"names in capitals", `{"USER":"USR-1","MEMBER":"MBR-1"}`, every, events.APIInvalid, "user: missing"},
		{"an array", "[]", every, events.APIInvalid, "want an object"},
		{"too big", `{"user":"` + strings.Repeat("u", 65<<10) + `"}`, every, events.APIInvalid, "body: has"},
		{"a CloudEvent", `{"specversion":"1.0","id":"1","source":"/app","type":"member.refresh","data":` + id + `}}`, every, events.APIInvalid, "user: missing"}, // requests are plain JSON
		{"no ids", "{}", every, events.APIInvalid, "user: missing; give MX's guid or your own id; member: missing"},
		{"bad ids", `{"user":"a b","member":".."}`, every, events.APIInvalid, "member:"},
		{"a guid for subjects", `{"user":"USR-1","member":"MBR-*"}`, every, events.APIInvalid, "member:"},
		{"a number for an id", `{"user":1}`, every, events.APIInvalid, "body: user: is a JSON number; want a string"},
		{"a text for a time", id + `,"timeout_ms":"1s"}`, every, events.APIInvalid, "body: timeout_ms: is a JSON string; want an integer"},
		{"no time", id + `,"timeout_ms":-1}`, every, events.APIInvalid, "timeout_ms:"},
		{"too much time", id + `,"timeout_ms":60001}`, every, events.APIInvalid, "timeout_ms:"},
		{"bad command id", id + `,"command_id":"*"}`, every[:1], events.APIInvalid, "command_id:"},
		{"bad referral", id + `,"referral_source":"PIGEON"}`, every[2:], events.APIInvalid, "referral_source:"},
		{"redirect without APP", id + `,"client_redirect_url":"myapp://x"}`, every[2:], events.APIInvalid, "client_redirect_url:"},
		{"bad scheme", id + `,"ui_message_webview_url_scheme":"a b"}`, every[2:], events.APIInvalid, "ui_message_webview_url_scheme:"},
		{"relative redirect", id + `,"referral_source":"APP","client_redirect_url":"x"}`, every[2:], events.APIInvalid, "client_redirect_url:"},
		{"unknown member", `{"user":"USR-1","member":"MBR-1"}`, every, events.APINotFound, ""},
		{"unknown own ids", `{"user":"nobody","member":"nothing"}`, every, events.APINotFound, ""},
		{"no OAuth bank", id + `}`, every[2:], events.APIConflict, "no uri"},
	} {
		for _, endpoint := range c.endpoints {
			var says string
			if code := a.send(endpoint, []byte(c.body), &says); code != c.code || !strings.Contains(says, c.says) {
				t.Errorf("%s to %s: %s %q, want %s %q", c.name, endpoint, code, says, c.code, c.says)
			}
		}
	}
}

func TestWhileMXIsDownWhoeverAsksIsToldToAskAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault     mxsim.Fault
		code, uri events.APICode
		opens     bool // asking for a URI opens the breaker
	}{
		"down":           {mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable}, events.APIUnavailable, events.APIUnavailable, true},
		"overloaded":     {mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusTooManyRequests}, events.APIUnavailable, events.APIUnavailable, true},
		"our key is bad": {mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusUnauthorized}, events.APIUnavailable, events.APIUnavailable, false},
		"one fails":      {mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusInternalServerError}, events.APIUnavailable, events.APIUnavailable, false},
		"nonsense":       {mxsim.Fault{Kind: mxsim.FaultNonJSON}, events.APIUnavailable, events.APIUnavailable, false},
		"not for us":     {mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusForbidden, Scope: "oauth_window_uri"}, "", events.APIForbidden, false},
		"blank":          {mxsim.Fault{Kind: mxsim.FaultNonJSON, Body: new(`{"member":{"oauth_window_uri":""}}`), Scope: "oauth_window_uri"}, "", events.APIConflict, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
			k := a.AddMember(mxsim.Patch{"is_oauth": true})
			id := a.Inject(c.fault)
			uri := events.OAuthURIRequest{User: k.User(), Member: k.Member()}
			if code := a.send(events.APIOAuthURI, uri, nil); code != c.uri {
				t.Errorf("URI: code %q, want %q", code, c.uri)
			}
			if suspended := a.Workers[0].Service.Flow().Suspended; suspended != c.opens {
				t.Errorf("after it the breaker is open: %t, want %t", suspended, c.opens)
			}
			if code := a.send(events.APIRefresh, of(k), nil); code != c.code {
				t.Errorf("refresh: code %q, want %q", code, c.code)
			}
			if n := len(a.DeadLetters()); n != 0 {
				t.Errorf("%d dead letters", n)
			}
			if name != "down" {
				return
			}
			a.Sim.ClearFaults(id)
			a.Until("MX is asked again", func() bool { return a.send(events.APIRefresh, of(k), nil) == "" })
			if code := a.send(events.APIOAuthURI, uri, nil); code != "" {
				t.Errorf("URI after the outage: code %s", code)
			}
		})
	}
}

func TestTheTimeOfARequestIsKept(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	id := a.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: time.Second})
	r := of(k)
	r.TimeoutMS = 20
	if code := a.send(events.APIRefresh, r, nil); code != events.APIDeadline {
		t.Errorf("refresh: code %q", code)
	}
	if code := a.send(events.APIOAuthURI, events.OAuthURIRequest{User: k.User(), Member: k.Member(), TimeoutMS: 20}, nil); code != events.APIDeadline {
		t.Errorf("URI: code %q", code)
	}
	a.Until("the refresh went on", func() bool { return len(a.Events(k)) == 1 })
	a.Sim.ClearFaults(id)
	if code := a.send(events.APIRefresh, r, nil); code == events.APIInvalid {
		t.Errorf("a short time is invalid: %q", code)
	}
}
