package mx_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx"
)

func TestOAuthWindowURIAsksAsConfiguredUnlessTold(t *testing.T) {
	t.Parallel()
	var line string
	c := config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		line = r.RequestURI
		_, _ = io.WriteString(w, `{"member":{"guid":"MBR-1","oauth_window_uri":"https://bank.test/?a=b&c=d"}}`)
	}))
	app := c
	app.ReferralSource, app.ClientRedirectURL = mx.ReferralApp, "myapp://done?x=1&y=2"
	const path = "/users/USR-1/members/MBR-1/oauth_window_uri"
	for _, k := range []struct {
		config mx.Config
		opts   mx.OAuthOptions
		want   string
	}{
		{c, mx.OAuthOptions{}, path},
		{app, mx.OAuthOptions{}, path + "?client_redirect_url=myapp%3A%2F%2Fdone%3Fx%3D1%26y%3D2&referral_source=APP"},
		{app, mx.OAuthOptions{ReferralSource: mx.ReferralBrowser}, path + "?referral_source=BROWSER"},
	} {
		uri, err := newClient(t, k.config).OAuthWindowURI(t.Context(), "USR-1", "MBR-1", k.opts)
		if err != nil || uri != "https://bank.test/?a=b&c=d" {
			t.Errorf("uri is %q, error %v", uri, err)
		}
		if line != k.want {
			t.Errorf("asked for %s, want %s", line, k.want)
		}
	}
}

func TestOAuthWindowURIRefusesWhatMXWouldNotHeed(t *testing.T) {
	t.Parallel()
	client := newClient(t, config(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })))
	for _, opts := range []mx.OAuthOptions{
		{ReferralSource: "app"},
		{ClientRedirectURL: "myapp://done"},
		{ReferralSource: mx.ReferralBrowser, ClientRedirectURL: "myapp://done"},
		{ReferralSource: mx.ReferralApp, ClientRedirectURL: "done"},
	} {
		if _, err := client.OAuthWindowURI(t.Context(), "u", "m", opts); mx.KindOf(err) != mx.BadRequest {
			t.Errorf("options %+v: error is %v, want a bad request", opts, err)
		}
	}
}

func TestOAuthWindowURITellsBlankFromWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body  string
		blank bool
		ok    bool
	}{
		{`{"member":{"guid":"MBR-1","oauth_window_uri":"https://b.test"}}`, false, true},
		{`{"member":{"oauth_window_uri":"https://b.test"}}`, false, true},
		{`{"member":{"guid":"MBR-1","oauth_window_uri":null}}`, true, false},
		{`{"member":{"guid":"MBR-1","oauth_window_uri":""}}`, true, false},
		{`{"member":{"guid":"MBR-1"}}`, true, false},
		{`{"member":null}`, true, false},
		{`{}`, true, false},
		{`{"member":{"guid":"MBR-2","oauth_window_uri":"https://b.test"}}`, false, false},
		{`{"member":{"guid":"MBR-1","oauth_window_uri":7}}`, false, false},
		{`{"member":{"guid":"MBR-1","oauth_window_uri":"https://b.test"}`, false, false},
	} {
		uri, err := newClient(t, config(serve(t, respond(200, c.body)))).OAuthWindowURI(t.Context(), "USR-1", "MBR-1", mx.OAuthOptions{})
		if (err == nil) != c.ok || (uri != "") != c.ok || errors.Is(err, mx.ErrNoURI) != c.blank || !c.ok && mx.KindOf(err) != mx.BadAnswer {
			t.Errorf("body %s: uri is %q, error %v", c.body, uri, err)
		}
	}
}

func TestAggregateTakesAnotherJobForNoError(t *testing.T) {
	t.Parallel()
	var status int
	var seen string
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = fmt.Sprint(r.Method, " ", r.RequestURI, " ", r.ContentLength)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "whatever")
	})))
	for _, c := range []struct {
		status  int
		started bool
		kind    mx.Kind
	}{
		{202, true, mx.None},
		{409, false, mx.None},
		{404, false, mx.NotFound},
		{429, false, mx.RateLimited},
		{500, false, mx.ServerFailed},
	} {
		status = c.status
		started, err := client.Aggregate(t.Context(), "USR-1", "MBR-1")
		if started != c.started || mx.KindOf(err) != c.kind || (err == nil) != (c.kind == mx.None) {
			t.Errorf("status %d: started is %t, error %v", c.status, started, err)
		}
	}
	if want := "POST /users/USR-1/members/MBR-1/aggregate 0"; seen != want {
		t.Errorf("request is %s, want %s", seen, want)
	}
}

func TestListsWalkEveryPage(t *testing.T) {
	t.Parallel()
	var asked []string
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI)
		page := r.URL.Query().Get("page")
		switch r.URL.Path {
		case "/users":
			_, _ = fmt.Fprintf(w, `{"users":[{"guid":"USR-%s","id":null,"email":"x","metadata":{}},{"guid":"USR-x","id":"u","is_disabled":true}],
				"pagination":{"current_page":%s,"per_page":250,"total_entries":4,"total_pages":2}}`, page, page)
		default:
			_, _ = fmt.Fprintf(w, `{"pagination":{"current_page":%s,"total_pages":2},"members":[{"guid":"MBR-%s","user_guid":"USR-1"},
				{"guid":"MBR-b","user_guid":"USR-1","is_oauth":"yes"},{"guid":"MBR-c","user_guid":"USR-2"},{"guid":"MBR-d","user_guid":"USR-1"}]}`, page, page)
		}
	})))
	var users []string
	for u, err := range client.Users(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if disabled := u.GUID == "USR-x"; disabled != (u.IsDisabled != nil && *u.IsDisabled) || disabled != (u.ID != nil && *u.ID == "u") {
			t.Errorf("user is %+v", u)
		}
		users = append(users, u.GUID)
	}
	if got := strings.Join(users, " "); got != "USR-1 USR-x USR-2 USR-x" {
		t.Errorf("users are %s", got)
	}
	var members []string
	for m, err := range client.Members(t.Context(), "USR-1") {
		if err != nil {
			if mx.KindOf(err) != mx.BadAnswer {
				t.Fatal(err)
			}
			members = append(members, "bad")
			continue
		}
		members = append(members, m.GUID)
	}
	if got := strings.Join(members, " "); got != "MBR-1 bad bad MBR-d MBR-2 bad bad MBR-d" {
		t.Errorf("members are %s", got)
	}
	want := "/users?page=1&records_per_page=250 /users?page=2&records_per_page=250 " +
		"/users/USR-1/members?page=1&records_per_page=250 /users/USR-1/members?page=2&records_per_page=250"
	if got := strings.Join(asked, " "); got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

func TestListsEndOnTheirErrorAndWhenTheCallerHasEnough(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		calls, got int
		kind       mx.Kind
	}{
		{"no pagination, an empty page", `{"users":[]}`, 1, 0, mx.None},
		{"no pages", `{"users":[],"pagination":{"current_page":1,"total_pages":0}}`, 1, 0, mx.None},
		{"a page that never moves", `{"users":[{"guid":"USR-1"}],"pagination":{"current_page":1,"total_pages":9}}`, 2, 1, mx.BadAnswer},
		{"no list", `{"pagination":{}}`, 1, 0, mx.BadAnswer},
		{"list null", `{"users":null}`, 1, 0, mx.BadAnswer},
		{"list an object", `{"users":{}}`, 1, 0, mx.BadAnswer},
		{"truncated", `{"users":[{"guid":"USR-1"}`, 1, 0, mx.BadAnswer},
	} {
		calls, got, kind := 0, 0, mx.None
		client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
			calls++
			_, _ = io.WriteString(w, c.body)
		})))
		for _, err := range client.Users(t.Context()) {
			if err != nil {
				kind = mx.KindOf(err)
				continue
			}
			got++
		}
		if calls != c.calls || got != c.got || kind != c.kind {
			t.Errorf("%s: %d calls gave %d users and kind %v, want %d, %d and %v", c.name, calls, got, kind, c.calls, c.got, c.kind)
		}
	}
	calls := 0
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = io.WriteString(w, `{"users":[{"guid":"USR-1"},{"guid":"USR-2"}]}`)
	})))
	for _, err := range client.Users(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if calls != 1 {
		t.Errorf("%d calls were made for the first user", calls)
	}
}
