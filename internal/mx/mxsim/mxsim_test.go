package mxsim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands still until told otherwise.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// sim is a running simulator with an HTTP client that repeats nothing.
type sim struct {
	*mxsim.Server
	clock  *clock
	client *http.Client
}

func start(tb testing.TB, cfg mxsim.Config) *sim {
	tb.Helper()
	c := newClock()
	if cfg.Now == nil {
		cfg.Now = c.now
	}
	s, err := mxsim.Start(tb.Context(), "", cfg)
	if err != nil {
		tb.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return &sim{Server: s, clock: c, client: &http.Client{Transport: transport}}
}

// response is an HTTP response that was read to its end, or as far as it went.
type response struct {
	status int
	header http.Header
	body   []byte
	err    error // from reading the body
}

func (s *sim) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(mxsim.DefaultClientID, mxsim.DefaultAPIKey)
	req.Header.Set("Accept-Version", "v20250224")
	return req
}

func (s *sim) do(req *http.Request) (response, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return response{status: resp.StatusCode, header: resp.Header, body: body, err: err}, nil
}

func (s *sim) call(t *testing.T, method, path, body string) response {
	t.Helper()
	resp, err := s.do(s.request(t, method, path, body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp
}

func (s *sim) get(t *testing.T, path string) response {
	t.Helper()
	return s.call(t, http.MethodGet, path, "")
}

// object decodes a JSON object after checking the status it came with.
func (r response) object(t *testing.T, status int) map[string]any {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	var v map[string]any
	dec := json.NewDecoder(bytes.NewReader(r.body))
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("decoding %s: %v", r.body, err)
	}
	return v
}

// member is the member in an answer.
func (r response) member(t *testing.T, status int) map[string]any {
	t.Helper()
	m, ok := r.object(t, status)["member"].(map[string]any)
	if !ok {
		t.Fatalf("no member in %s", r.body)
	}
	return m
}

// read reads a member that must be there.
func (s *sim) read(t *testing.T, m mxsim.Member) map[string]any {
	t.Helper()
	return s.get(t, path(m)).member(t, http.StatusOK)
}

func (s *sim) wantStatuses(t *testing.T, m mxsim.Member, want ...any) {
	t.Helper()
	for i, status := range want {
		if got := s.read(t, m)["connection_status"]; got != status {
			t.Errorf("read %d: connection_status %v, want %v", i+1, got, status)
		}
	}
}

func path(m mxsim.Member) string { return "/users/" + m.UserGUID + "/members/" + m.GUID }

// add adds a user with one member.
func (s *sim) add(t *testing.T, p mxsim.Patch) mxsim.Member {
	t.Helper()
	u, err := s.AddUser(mxsim.User{})
	if err != nil {
		t.Fatal(err)
	}
	return s.addTo(t, u.GUID, p)
}

func (s *sim) addTo(t *testing.T, userGUID string, p mxsim.Patch) mxsim.Member {
	t.Helper()
	m, err := s.AddMember(userGUID, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (s *sim) inject(t *testing.T, f mxsim.Fault) string {
	t.Helper()
	id, err := s.Inject(f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// as is v, which must be a T.
func as[T any](t *testing.T, v any) T {
	t.Helper()
	out, ok := v.(T)
	if !ok {
		t.Fatalf("%v is a %T", v, v)
	}
	return out
}
