package mx_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/mx"
)

const (
	clientID = "client-0123"
	apiKey   = "key-4567-secret"
	member1  = `{"member":{"guid":"MBR-1","user_guid":"USR-1","connection_status":"CONNECTED"}}`
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(base string) mx.Config {
	return mx.Config{
		BaseURL: base, ClientID: clientID, APIKey: apiKey, AcceptVersion: "v20250224", Timeout: time.Minute, MaxInFlight: 8,
	}
}

// serve starts a server and returns its URL.
func serve(tb testing.TB, handler http.HandlerFunc) string {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return server.URL
}

func newClient(tb testing.TB, c mx.Config, options ...mx.Option) *mx.Client {
	tb.Helper()
	client, err := mx.New(c, options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

// respond answers every request with a status and a body.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func callError(tb testing.TB, err error) *mx.CallError {
	tb.Helper()
	call, ok := errors.AsType[*mx.CallError](err)
	if !ok {
		tb.Fatalf("error is %v, want a CallError", err)
	}
	return call
}

func TestReadMemberSendsWhatMXAsksFor(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		_, _ = io.WriteString(w, member1)
	})))
	m, err := client.ReadMember(t.Context(), "USR-1", "MBR-1")
	if err != nil {
		t.Fatal(err)
	}
	if m.GUID != "MBR-1" || *m.ConnectionStatus != "CONNECTED" {
		t.Errorf("member is %+v", m)
	}
	if seen.Method != http.MethodGet || seen.RequestURI != "/users/USR-1/members/MBR-1" || seen.Proto != "HTTP/1.1" {
		t.Errorf("request is %s %s %s", seen.Method, seen.RequestURI, seen.Proto)
	}
	if id, key, ok := seen.BasicAuth(); !ok || id != clientID || key != apiKey {
		t.Error("credentials are not those configured")
	}
	for name, want := range map[string]string{
		"Accept": "application/json", "Accept-Version": "v20250224", "User-Agent": "memberwatch", "Accept-Encoding": "",
	} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestClientEscapesIdsExactlyOnce(t *testing.T) {
	t.Parallel()
	var line string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		line = r.RequestURI
		_, _ = io.WriteString(w, member1)
	})
	for _, c := range []struct{ base, user, member, want string }{
		{base, "a~b.c@d", "e_f-g", "/users/a~b.c@d/members/e_f-g"},
		{base, "a/b", "..%2f..", "/users/a%2Fb/members/..%252f.."},
		{base, "a b?c#d", "ü+&", "/users/a%20b%3Fc%23d/members/%C3%BC+&"},
		{base, "...", ".a", "/users/.../members/.a"},
		{base, "\x00\r\n", "\xff", "/users/%00%0D%0A/members/%FF"},
		{base + "/mx/", "u", "m%", "/mx/users/u/members/m%25"},
	} {
		client := newClient(t, config(c.base))
		if _, err := client.ReadMember(t.Context(), c.user, c.member); err != nil {
			t.Errorf("reading %q of %q: %v", c.member, c.user, err)
		}
		if line != c.want {
			t.Errorf("reading %q of %q asked for %s, want %s", c.member, c.user, line, c.want)
		}
	}
}

func TestClientRefusesIdsThatWouldChangeThePath(t *testing.T) {
	t.Parallel()
	client := newClient(t, config(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })))
	for _, id := range []string{"", ".", ".."} {
		_, err1 := client.ReadMember(t.Context(), id, "m")
		_, err2 := client.OAuthWindowURI(t.Context(), "u", id, mx.OAuthOptions{})
		_, err3 := client.Aggregate(t.Context(), id, "m")
		var err4 error
		for _, err4 = range client.Members(t.Context(), id) {
			break
		}
		for _, err := range []error{err1, err2, err3, err4} {
			if mx.KindOf(err) != mx.BadRequest {
				t.Errorf("id %q: error is %v, want a bad request", id, err)
			}
		}
	}
}

func TestEveryStatusHasItsKind(t *testing.T) {
	t.Parallel()
	var status int
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = io.WriteString(w, "<p>sorry</p>")
		}
	})))
	for _, c := range []struct {
		status int
		want   mx.Kind
	}{
		{201, mx.BadAnswer},
		{202, mx.BadAnswer},
		{204, mx.BadAnswer},
		{301, mx.BadAnswer},
		{302, mx.BadAnswer},
		{304, mx.BadAnswer},
		{307, mx.BadAnswer},
		{400, mx.BadRequest},
		{401, mx.Unauthorized},
		{402, mx.BadAnswer},
		{403, mx.Forbidden},
		{404, mx.NotFound},
		{405, mx.BadAnswer},
		{406, mx.NotAcceptable},
		{409, mx.Conflict},
		{410, mx.BadAnswer},
		{418, mx.BadAnswer},
		{422, mx.Unprocessable},
		{429, mx.RateLimited},
		{500, mx.ServerFailed},
		{502, mx.ServerFailed},
		{503, mx.Unavailable},
		{504, mx.ServerFailed},
		{599, mx.ServerFailed},
		{600, mx.BadAnswer},
	} {
		status = c.status
		_, err := client.ReadMember(t.Context(), "USR-1", "MBR-1")
		got := callError(t, err)
		if got.Kind != c.want || got.StatusCode != c.status || got.Op != mx.OpReadMember || mx.KindOf(err) != c.want {
			t.Errorf("status %d: error is %v, want kind %v", c.status, err, c.want)
		}
		if shown := got.Excerpt != ""; shown != (c.status >= 400) {
			t.Errorf("status %d: excerpt is %q", c.status, got.Excerpt)
		}
	}
	if mx.KindOf(nil) != mx.None || mx.KindOf(io.EOF) != mx.None {
		t.Error("errors of others have a kind")
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var header string
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if header != "absent" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(http.StatusTooManyRequests)
	})), mx.WithClock(func() time.Time { return now }))
	for _, c := range []struct {
		header string
		want   time.Duration
	}{
		{"absent", 0},
		{"", 0},
		{"0", 0},
		{"7", 7 * time.Second},
		{"600", 10 * time.Minute},
		{"86400", 10 * time.Minute},
		{"99999999999999999999", 10 * time.Minute},
		{"-5", 0},
		{"1.5", 0},
		{"soon", 0},
		{"Sun, 01 Mar 2026 12:00:30 GMT", 30 * time.Second},
		{"Sunday, 01-Mar-26 12:00:30 GMT", 30 * time.Second},
		{"Sun, 01 Mar 2026 11:00:00 GMT", 0},
		{"Sun, 01 Mar 2037 11:00:00 GMT", 10 * time.Minute},
	} {
		header = c.header
		_, err := client.ReadMember(t.Context(), "USR-1", "MBR-1")
		if got := callError(t, err).RetryAfter; got != c.want {
			t.Errorf("Retry-After %q is %v, want %v", c.header, got, c.want)
		}
	}
}

func TestClientRefusesToFollowRedirects(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	var status int
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere+"/users/USR-1/members/MBR-1?code=5ecret", status)
	})))
	for _, status = range []int{301, 302, 303, 307, 308} {
		_, err := client.ReadMember(t.Context(), "USR-1", "MBR-1")
		if mx.KindOf(err) != mx.BadAnswer || strings.Contains(err.Error(), "5ecret") {
			t.Errorf("status %d: error is %v", status, err)
		}
	}
}

func TestClientBoundsTheAnswer(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("x", 1<<20)
	for name, handler := range map[string]http.HandlerFunc{
		"announced": respond(200, `{"member":{"guid":"MBR-1","user_guid":"USR-1","name":"`+filler+`"}}`),
		"chunked": func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, `{"member":{"guid":"MBR-1","user_guid":"USR-1","name":"`+filler+`"}}`)
		},
	} {
		_, err := newClient(t, config(serve(t, handler))).ReadMember(t.Context(), "USR-1", "MBR-1")
		if call := callError(t, err); call.Kind != mx.BadAnswer || call.StatusCode != 200 {
			t.Errorf("%s: error is %v, want a bad answer", name, err)
		}
	}
	_, err := newClient(t, config(serve(t, respond(500, filler+filler)))).ReadMember(t.Context(), "USR-1", "MBR-1")
	if mx.KindOf(err) != mx.ServerFailed {
		t.Errorf("large error body: error is %v, want server failed", err)
	}
	_, err = newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Filler", filler)
	}))).ReadMember(t.Context(), "USR-1", "MBR-1")
	if mx.KindOf(err) != mx.Connection {
		t.Errorf("large header: error is %v, want a connection error", err)
	}
	// Believing this length would take a terabyte.
	_, err = newClient(t, config(wire(t, "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n{"))).ReadMember(t.Context(), "USR-1", "MBR-1")
	if mx.KindOf(err) != mx.BadAnswer {
		t.Errorf("a terabyte: error is %v, want a bad answer", err)
	}
	large := `{"member":{"guid":"MBR-1","user_guid":"USR-1","metadata":"` + filler[:1<<19] + `"}}`
	if _, err := newClient(t, config(serve(t, respond(200, large)))).ReadMember(t.Context(), "USR-1", "MBR-1"); err != nil {
		t.Errorf("an answer within the bound: %v", err)
	}
}

func TestBadAnswersSayNothingOfTheirContent(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"<html>5ecret</html>",
		`{"member":{"guid":"MBR-1","user_guid":"USR-1","oauth_window_uri":"https://5ecret`,
		`{"member":{"guid":"5ecret.","user_guid":"USR-1"}}`,
		`{"member":{"guid":"MBR-5ecret","user_guid":"USR-1"}}`,
		`{"member":{"guid":"MBR-1","user_guid":"USR-1","is_oauth":"5ecret"}}`,
		`{"member":{"guid":"MBR-1","user_guid":"USR-1","connection_status":"5ecret"}}`,
	} {
		_, err := newClient(t, config(serve(t, respond(200, body)))).ReadMember(t.Context(), "USR-1", "MBR-1")
		if mx.KindOf(err) != mx.BadAnswer || strings.Contains(err.Error(), "5ecret") {
			t.Errorf("body %s: error is %v", body, err)
		}
	}
}

func TestUnreadFieldsAreTold(t *testing.T) {
	t.Parallel()
	var got []string
	body := `{"member":{"guid":"MBR-1","user_guid":"USR-1","use_cases":{},"error":{"error_code":102,"locale":1}}}`
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })),
		mx.WithUnread(func(field string) { got = append(got, field) }))
	for range 2 {
		if _, err := client.ReadMember(t.Context(), "USR-1", "MBR-1"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"member.use_cases", "member.error.locale", "member.use_cases", "member.error.locale"}; !slices.Equal(got, want) {
		t.Errorf("told of %v, want %v", got, want)
	}
	got, body = nil, `{"member":{"guid":"MBR-1","user_guid":"USR-1","use_cases":{},"is_oauth":1}}`
	if _, err := client.ReadMember(t.Context(), "USR-1", "MBR-1"); mx.KindOf(err) != mx.BadAnswer || len(got) != 0 {
		t.Errorf("of an answer that is refused (%v): told of %v", err, got)
	}
}

func TestObserverSeesEveryCallOnce(t *testing.T) {
	t.Parallel()
	type seen struct {
		op     string
		status int
		kind   mx.Kind
		d      time.Duration
	}
	var got []seen
	var now time.Time
	status := 200
	client := newClient(t, config(serve(t, func(w http.ResponseWriter, _ *http.Request) {
		now = now.Add(time.Second)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, member1)
	})), mx.WithClock(func() time.Time { return now }), mx.WithObserver(func(op string, status int, kind mx.Kind, d time.Duration) {
		got = append(got, seen{op, status, kind, d})
	}))
	_, _ = client.ReadMember(t.Context(), "USR-1", "MBR-1")
	_, _ = client.ReadMember(t.Context(), "USR-1", "MBR-2")
	status = 503
	_, _ = client.Aggregate(t.Context(), "USR-1", "MBR-2")
	want := []seen{
		{"read_member", 200, mx.None, time.Second},
		{"read_member", 200, mx.BadAnswer, time.Second},
		{"aggregate", 503, mx.Unavailable, time.Second},
	}
	if len(got) != len(want) {
		t.Fatalf("%d calls were observed, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("call %d was observed as %v, want %v", i, got[i], want[i])
		}
	}
}

func TestKindsHaveDistinctNames(t *testing.T) {
	t.Parallel()
	seen := map[string]mx.Kind{}
	for k := mx.None; k <= mx.Canceled; k++ {
		name := k.String()
		if other, ok := seen[name]; ok || strings.HasPrefix(name, "kind_") {
			t.Errorf("kind %d is called %q, as is kind %d", k, name, other)
		}
		seen[name] = k
	}
}
