package stack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// Sim steers a simulated MX through its control API. Each method does one
// request and ends the test when it is refused.
type Sim struct {
	base    string
	http    *http.Client
	answers answers
}

// NewSim returns a Sim for the simulator at base. A nil transport is the usual one.
func NewSim(base string, transport http.RoundTripper) *Sim {
	return &Sim{base: base + "/_sim/", http: &http.Client{Transport: transport, Timeout: Patience}}
}

// AddUser adds a user; id is the partner's own, empty for none.
func (s *Sim) AddUser(tb testing.TB, id string) (guid string) {
	tb.Helper()
	u := mxsim.User{}
	if id != "" {
		u.ID = &id
	}
	s.do(tb, http.MethodPost, "users", u, &u)
	return u.GUID
}

// AddMember adds a member to a user; what p leaves open is as in one that works.
func (s *Sim) AddMember(tb testing.TB, user string, p mxsim.Patch) mxsim.Member {
	tb.Helper()
	var t mxsim.Truth
	s.do(tb, http.MethodPost, "users/"+user+"/members", p, &t)
	return t.Member
}

// AddBulk adds a user with n members, all CONNECTED.
func (s *Sim) AddBulk(tb testing.TB, n int) []mxsim.Ref {
	tb.Helper()
	before := s.Members(tb)
	s.do(tb, http.MethodPost, "bulk", mxsim.Bulk{Users: 1, MembersPerUser: n, NoIDs: true, Member: mxsim.Patch{}}, nil)
	known := make(map[mxsim.Ref]bool)
	for _, r := range before {
		known[r] = true
	}
	var added []mxsim.Ref
	for _, r := range s.Members(tb) {
		if !known[r] {
			added = append(added, r)
		}
	}
	return added
}

// Set changes a member.
func (s *Sim) Set(tb testing.TB, member string, p mxsim.Patch) {
	tb.Helper()
	s.do(tb, http.MethodPatch, "members/"+member, p, nil)
}

// Do does to a member what the control API calls it: authorize, answer, expire, settle, restore.
func (s *Sim) Do(tb testing.TB, member, what string) {
	tb.Helper()
	s.do(tb, http.MethodPost, "members/"+member+"/"+what, nil, nil)
}

// Delete deletes a member.
func (s *Sim) Delete(tb testing.TB, member string) {
	tb.Helper()
	s.do(tb, http.MethodDelete, "members/"+member, nil, nil)
}

// Inject puts a fault in force until the test ends, or its own end.
func (s *Sim) Inject(tb testing.TB, f mxsim.Fault) {
	tb.Helper()
	var in struct{ ID string }
	s.do(tb, http.MethodPost, "faults", f, &in)
	tb.Cleanup(func() { s.do(tb, http.MethodDelete, "faults/"+in.ID, nil, nil) })
}

// Clear ends every fault.
func (s *Sim) Clear(tb testing.TB) {
	tb.Helper()
	s.do(tb, http.MethodDelete, "faults", nil, nil)
}

// InFlight is how many requests are being answered.
func (s *Sim) InFlight(tb testing.TB) int64 {
	tb.Helper()
	var stats mxsim.Stats
	s.do(tb, http.MethodGet, "stats", nil, &stats)
	return stats.InFlight
}

// SetKey changes the API key that is accepted.
func (s *Sim) SetKey(tb testing.TB, key string) {
	tb.Helper()
	s.do(tb, http.MethodPatch, "config", map[string]string{"api_key": key}, nil)
}

// Log is what was answered about a member, oldest first; empty: about all.
func (s *Sim) Log(tb testing.TB, member string) []mxsim.Entry {
	tb.Helper()
	var log struct {
		Dropped uint64
		Entries []mxsim.Entry
	}
	s.do(tb, http.MethodGet, "log?member="+url.QueryEscape(member), nil, &log)
	if log.Dropped > 0 {
		tb.Fatalf("the simulator has forgotten %d of its answers", log.Dropped)
	}
	return log.Entries
}

// ReadsOf is how often a member was read.
func (s *Sim) ReadsOf(tb testing.TB, member string) (n int) {
	tb.Helper()
	for _, e := range s.Log(tb, member) {
		if e.Endpoint == "read" {
			n++
		}
	}
	return n
}

// NewPhase begins a phase, whose counts Phase tells.
func (s *Sim) NewPhase(tb testing.TB, name string) {
	tb.Helper()
	s.do(tb, http.MethodPost, "stats/reset", map[string]string{"phase": name}, nil)
}

// Phase is what was answered since NewPhase.
func (s *Sim) Phase(tb testing.TB) mxsim.Counts {
	tb.Helper()
	var stats mxsim.Stats
	s.do(tb, http.MethodGet, "stats", nil, &stats)
	return stats.Phase
}

// Members are all that are alive.
func (s *Sim) Members(tb testing.TB) []mxsim.Ref {
	tb.Helper()
	return lines[mxsim.Ref](tb, s, "members")
}

// Truth is what MX would say of a member.
type Truth struct {
	MemberGUID string          `json:"member_guid"`
	Member     json.RawMessage `json:"member"` // null when it is deleted
}

// Truths are those about all members, deleted ones included.
func (s *Sim) Truths(tb testing.TB) []Truth {
	tb.Helper()
	return lines[Truth](tb, s, "truth")
}

// lines reads an answer of one JSON value a line.
func lines[T any](tb testing.TB, s *Sim, path string) []T {
	tb.Helper()
	var all []T
	scan := bufio.NewScanner(bytes.NewReader(s.do(tb, http.MethodGet, path, nil, nil)))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		var v T
		if err := json.Unmarshal(scan.Bytes(), &v); err != nil {
			tb.Fatalf("reading %s of simulator: %v", path, err)
		}
		all = append(all, v)
	}
	return all
}

// do makes a request, and decodes the answer into out unless that is nil.
func (s *Sim) do(tb testing.TB, method, path string, in, out any) []byte {
	tb.Helper()
	// A test that has ended still takes back what it did; the client has a time limit.
	text, err := s.request(context.WithoutCancel(tb.Context()), method, path, in)
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		tb.Fatalf("simulator: %s %s: %v", method, path, err)
	}
	return text
}

// Ask makes a request of the control API, for who may not end the test: in is
// the body, and the answer is decoded into out, unless they are nil.
func (s *Sim) Ask(ctx context.Context, method, path string, in, out any) error {
	text, err := s.request(ctx, method, path, in)
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return fmt.Errorf("simulator: %s %s: %w", method, path, err)
	}
	return nil
}

func (s *Sim) request(ctx context.Context, method, path string, in any) ([]byte, error) {
	body := []byte{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return text, err
}
