package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/memberwatch/memberwatch/events"
)

const (
	user   = "USR-eaf4ac68-d17d-5e9b-7b46-959a5b315a9e"
	member = "MBR-48d9a481-f2a2-7e13-2685-62869cf0d33a"
)

// door is a handler whose commands the test sees.
type door struct {
	*Handler
	commands []events.Command
	refuse   error
	log      bytes.Buffer
}

func newDoor(c Config) *door {
	d := &door{}
	d.Handler = NewHandler(&c, func(ctx context.Context, c events.Command) error {
		if _, bounded := ctx.Deadline(); !bounded {
			return errors.New("storing may take for ever")
		}
		if d.refuse != nil {
			return d.refuse
		}
		d.commands = append(d.commands, c)
		return nil
	}, slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return d
}

// post sends a webhook with good credentials, as edit changes it.
func (d *door) post(body io.Reader, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, Path, body)
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Authorization", "Bearer open")
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func token() Config { return Config{Addr: "127.0.0.1:0", Token: "open"} }

func TestAWebhookBecomesACommandToReadItsMember(t *testing.T) {
	t.Parallel()
	guids := `"user_guid":"` + user + `","member_guid":"` + member + `"`
	for name, c := range map[string]struct {
		path, body string
		reason     string
	}{
		"status":              {Path, `{"action":"CHANGED","connection_status":"CHALLENGED","connection_status_id":3,"type":"CONNECTION_STATUS",` + guids + `}`, "webhook CONNECTION_STATUS"},
		"member, by its guid": {Path, `{"type":"MEMBER","action":"deleted","aggregated_at":1785578400,"guid":"` + member + `","user_guid":"` + user + `"}`, "webhook MEMBER"},
		"aggregation":         {Path + "/", `{"type":"AGGREGATION","job_guid":"JOB-1",` + guids + `}`, "webhook AGGREGATION"},
		"type of the future":  {Path, `{"type":"TELEPATHY","thought":{"of":[1]},"version":null,` + guids + `}`, "webhook TELEPATHY"},
		"type in the path":    {Path + "/connection_status", `{` + guids + `}`, "webhook CONNECTION_STATUS"},
		"guid of an account":  {Path, `{"type":"ACCOUNT","guid":"ACT-1",` + guids + `}`, "webhook ACCOUNT"},
		"a guid of any form":  {Path, `{"type":"ACCOUNT","guid":{"of":"ACT-1"},` + guids + `}`, "webhook ACCOUNT"},
		"names in other case": {Path, `{"type":"BALANCE",` + guids + `,"Type":"X","USER_GUID":"USR-2","Member_GUID":"MBR-2","GUID":7}`, "webhook BALANCE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(token())
			resp := d.post(strings.NewReader(c.body), func(r *http.Request) { r.URL.Path = c.path })
			if resp.Code != http.StatusNoContent {
				t.Fatalf("status %d", resp.Code)
			}
			want := []events.Command{{User: user, Member: member, Reason: c.reason}}
			if diff := cmp.Diff(want, d.commands); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			if err := d.commands[0].Validate(); err != nil {
				t.Errorf("the command is refused: %v", err)
			}
		})
	}
}

func TestWhatIsNoWebhookIsRefusedAndMakesNoCommand(t *testing.T) {
	t.Parallel()
	good := `{"type":"CONNECTION_STATUS","user_guid":"` + user + `","member_guid":"` + member + `"}`
	without := func(s string) string { return strings.ReplaceAll(good, s, "") }
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		body  string
		edit  func(*http.Request)
		code  int
		says  string
		label string
	}{
		"no credentials":         {good, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "credentials", "none"},
		"wrong token":            {good, set("Authorization", "Bearer close"), 401, "credentials", "none"},
		"a token's beginning":    {good, set("Authorization", "Bearer ope"), 401, "credentials", "none"},
		"an empty token":         {good, set("Authorization", "Bearer "), 401, "credentials", "none"},
		"a scheme not set up":    {good, func(r *http.Request) { r.SetBasicAuth("", "open") }, 401, "credentials", "none"},
		"GET":                    {"", func(r *http.Request) { r.Method = http.MethodGet }, 405, "POST", "none"},
		"another path":           {good, func(r *http.Request) { r.URL.Path = "/webhooks/mxyz" }, 404, Path, "none"},
		"no type in the path":    {good, func(r *http.Request) { r.URL.Path = Path + "/a/b" }, 404, Path, "none"},
		"no content type":        {good, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "Content-Type", "none"},
		"a form":                 {good, set("Content-Type", "application/x-www-form-urlencoded"), 415, "application/json", "none"},
		"10 MB":                  {strings.Repeat(" ", 10<<20), nil, 413, "body", "none"},
		"nothing":                {"", nil, 400, "body", "none"},
		"not JSON":               {"hello", nil, 400, "body: is not JSON", "none"},
		"half":                   {good[:40], nil, 400, "body: is not JSON", "none"},
		"an array":               {"[]", nil, 400, "want an object", "none"},
		"a number for a guid":    {strings.Replace(good, `"`+user+`"`, "7", 1), nil, 400, "user_guid: is a JSON number; want a string", "CONNECTION_STATUS"},
		"an object for a member": {`{"type":"MEMBER","guid":{},"user_guid":"` + user + `"}`, nil, 400, "guid: is a JSON object; want a string", "MEMBER"},
		"an unreadable member":   {`{"type":"ACCOUNT","member_guid":[],"user_guid":"` + user + `"}`, nil, 400, "member_guid: is a JSON array", "other"},
		"a type that is none":    {`{"type":3,"member_guid":"` + member + `"}`, nil, 400, "type: is a JSON number", "none"},
		"another case":           {strings.Replace(good, "member_guid", "Member_GUID", 1), nil, 400, "member_guid: missing", "CONNECTION_STATUS"},
		"no type":                {without(`"type":"CONNECTION_STATUS",`), nil, 400, "type: missing", "none"},
		"a type with line ends":  {strings.Replace(good, "CONNECTION_STATUS", `A\nB`, 1), nil, 400, "type:", "none"},
		"no user":                {without(user), nil, 400, "user_guid: missing", "CONNECTION_STATUS"},
		"no member":              {without(`,"member_guid":"` + member + `"`), nil, 400, "member_guid: missing", "CONNECTION_STATUS"},
		"neither":                {`{"type":"member"}`, nil, 400, "user_guid: missing\nmember_guid: missing", "MEMBER"},
		"a partner's own id":     {strings.Replace(good, member, "checking", 1), nil, 400, "member_guid: is not one of MX's guids", "CONNECTION_STATUS"},
		"a guid with a dot":      {strings.Replace(good, member, "MBR-a.b", 1), nil, 400, "member_guid:", "CONNECTION_STATUS"},
		"a guid for subjects":    {strings.Replace(good, user, "USR->", 1), nil, 400, "user_guid:", "CONNECTION_STATUS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(token())
			resp := d.post(strings.NewReader(c.body), c.edit)
			says := resp.Body.String()
			if resp.Code != c.code || !strings.Contains(says, c.says) {
				t.Errorf("%d: %q, want %d and %q", resp.Code, says, c.code, c.says)
			}
			if len(d.commands) > 0 {
				t.Errorf("commands %v", d.commands)
			}
			if c.code == 401 && resp.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
			if c.code == 405 && resp.Header().Get("Allow") != http.MethodPost {
				t.Error("no Allow")
			}
			if n := testutil.ToFloat64(d.taken.WithLabelValues(c.label, strconv.Itoa(c.code))); n != 1 {
				t.Errorf("counted %v times as %s", n, c.label)
			}
		})
	}
}

func TestAWebhookAboutNoMemberIsIgnored(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"type":"USER","guid":"` + user + `","action":"deleted"}`,
		`{"type":"ACCOUNT","guid":{"account":"ACT-1"},"user_guid":["` + user + `"]}`,
		`{"type":"ACCOUNT","guid":7,"user_guid":null,"member_guid":null}`,
		`{"type":"ACCOUNT","Member_GUID":"` + member + `","user_guid":"` + user + `"}`,
	} {
		d := newDoor(token())
		resp := d.post(strings.NewReader(body), nil)
		if resp.Code != http.StatusNoContent || len(d.commands) != 0 {
			t.Errorf("%s: status %d, commands %v", body, resp.Code, d.commands)
		}
		if testutil.ToFloat64(d.ignored) != 1 || testutil.ToFloat64(d.taken.WithLabelValues("other", "204")) != 1 {
			t.Errorf("%s: it is not counted", body)
		}
	}
}

func TestAWebhookThatCannotBeStoredIsAskedForAgain(t *testing.T) {
	t.Parallel()
	d := newDoor(token())
	d.refuse = errors.New("no responders")
	body, err := Sample(TypeMember, user, member)
	if err != nil {
		t.Fatal(err)
	}
	resp := d.post(bytes.NewReader(body), nil)
	if resp.Code != http.StatusServiceUnavailable || resp.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, headers %v", resp.Code, resp.Header())
	}
	if log := d.log.String(); !strings.Contains(log, "no responders") || strings.Contains(log, "open") {
		t.Errorf("log: %s", log)
	}
}

func TestASenderThatHangsUpDoesNotUndoItsWebhook(t *testing.T) {
	t.Parallel()
	var seen error
	c := token()
	h := NewHandler(&c, func(ctx context.Context, _ events.Command) error {
		seen = ctx.Err()
		return nil
	}, slog.New(slog.DiscardHandler))
	body, err := Sample(TypeAggregation, user, member)
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	r := httptest.NewRequestWithContext(gone, http.MethodPost, Path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer open")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusNoContent || seen != nil {
		t.Errorf("status %d, stored under %v", w.Code, seen)
	}
}

func TestEitherOfTheSchemesThatAreSetUpIsEnough(t *testing.T) {
	t.Parallel()
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	both := Config{User: "mx", Password: "pass:word", Token: "open"}
	for name, c := range map[string]struct {
		config Config
		edit   func(*http.Request)
		code   int
	}{
		"password":                   {both, basic("mx", "pass:word"), 204},
		"token":                      {both, bearer("Bearer open"), 204},
		"token, scheme in lower":     {both, bearer("bearer open"), 204},
		"wrong password":             {both, basic("mx", "pass"), 401},
		"wrong user":                 {both, basic("MX", "pass:word"), 401},
		"token as password":          {both, basic("mx", "open"), 401},
		"password without a user":    {both, basic("", "pass:word"), 401},
		"colon moved":                {both, basic("mx:pass", "word"), 204}, // HTTP Basic cannot tell; no user of ours has a colon
		"neither":                    {both, bearer(""), 401},
		"token where there is none":  {Config{User: "mx", Password: "p"}, bearer("Bearer "), 401},
		"a certificate is enough":    {Config{TLSClientCA: "ca.pem"}, bearer(""), 204},
		"a certificate and password": {Config{TLSClientCA: "ca.pem", User: "mx", Password: "p"}, bearer(""), 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(c.config)
			body, err := Sample("ANY", user, member)
			if err != nil {
				t.Fatal(err)
			}
			if resp := d.post(bytes.NewReader(body), c.edit); resp.Code != c.code {
				t.Errorf("status %d, want %d", resp.Code, c.code)
			}
		})
	}
}
