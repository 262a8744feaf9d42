package mxsim_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// control calls the control API, without credentials.
func (s *sim) control(t *testing.T, method, path, body string) response {
	t.Helper()
	req := s.request(t, method, "/_sim/"+path, body)
	req.Header = http.Header{}
	resp, err := s.do(req)
	must(t, err)
	return resp
}

func lines(t *testing.T, resp response) []map[string]any {
	t.Helper()
	var out []map[string]any
	scanner := bufio.NewScanner(bytes.NewReader(resp.body))
	for scanner.Scan() {
		var v map[string]any
		must(t, json.Unmarshal(scanner.Bytes(), &v))
		out = append(out, v)
	}
	return out
}

func TestControlMirrorsALife(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	user := s.control(t, "POST", "users", `{"id":"u","email":"a@b.example"}`).object(t, 201)
	guid := as[string](t, user["guid"])
	m := s.control(t, "POST", "users/"+guid+"/members", `{"id":"m","guid":"MBR-1","is_oauth":true}`).member(t, 201)
	if m["guid"] != "MBR-1" || m["connection_status"] != "PENDING" || m["oauth_window_uri"] == nil {
		t.Fatalf("created %v", m)
	}
	for _, tt := range []struct{ method, path, body, status string }{
		{"POST", "members/MBR-1/authorize", `{"outcome":"IMPAIRED"}`, "CREATED"},
		{"POST", "members/MBR-1/settle", ``, "IMPAIRED"},
		{"PATCH", "members/MBR-1", `{"connection_status":"CHALLENGED"}`, "CHALLENGED"},
		{"POST", "members/MBR-1/answer", ``, "RESUMED"},
		{"POST", "members/MBR-1/settle", ``, "CONNECTED"},
		{"PATCH", "members/MBR-1", `{"connection_status":"CHALLENGED"}`, "CHALLENGED"},
		{"POST", "members/MBR-1/expire", ``, "EXPIRED"},
		{"POST", "members/MBR-1/script", `["LOCKED",null,{"connection_status":"CLOSED","error":{"error_code":1001}}]`, "EXPIRED"},
		{"GET", "members/MBR-1", ``, "EXPIRED"},
	} {
		got := s.control(t, tt.method, tt.path, tt.body).member(t, 200)
		if got["connection_status"] != tt.status {
			t.Errorf("%s %s: %v, want %s", tt.method, tt.path, got["connection_status"], tt.status)
		}
	}
	for _, want := range []any{"LOCKED", nil, "CLOSED"} {
		if got := s.get(t, "/users/u/members/m").member(t, 200); got["connection_status"] != want {
			t.Errorf("script: %v, want %v", got["connection_status"], want)
		}
	}
	for _, tt := range []struct {
		method, path string
		status, read int
	}{
		{"DELETE", "members/MBR-1", 204, 404},
		{"POST", "members/MBR-1/restore", 200, 200},
		{"DELETE", "users/" + guid, 204, 404},
	} {
		if resp := s.control(t, tt.method, tt.path, ""); resp.status != tt.status {
			t.Errorf("%s %s: status %d: %s", tt.method, tt.path, resp.status, resp.body)
		}
		if resp := s.get(t, "/users/u/members/m"); resp.status != tt.read {
			t.Errorf("after %s %s a read answers %d", tt.method, tt.path, resp.status)
		}
	}
}

func TestControlLoadsFlipsAndTellsTheTruth(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	if got := s.control(t, "POST", "bulk", `{"users":4,"members_per_user":5,"status":"DENIED","id_prefix":"x-"}`).object(t, 201); got["members"] != 20.0 {
		t.Errorf("bulk %v", got)
	}
	s.get(t, "/users/x-user-4/members/x-member-20").member(t, 200)
	if got := s.control(t, "POST", "flip", `{"from":"DENIED","to":"CONNECTED","half":1}`).object(t, 200); got["flipped"] != 10.0 {
		t.Errorf("flip %v", got)
	}
	s.get(t, "/users/x-user-1/members/PENDING").member(t, 200)
	refs := lines(t, s.control(t, "GET", "members", ""))
	if len(refs) != 20 {
		t.Fatalf("%d refs", len(refs))
	}
	must(t, s.Delete(as[string](t, refs[0]["member_guid"])))
	truths := lines(t, s.control(t, "GET", "truth", ""))
	if len(truths) != 21 {
		t.Fatalf("%d truths", len(truths))
	}
	if first := truths[0]; first["status"] != 404.0 || first["member"] != nil || first["member_guid"] != refs[0]["member_guid"] {
		t.Errorf("deleted: %v", first)
	}
	for i, line := range truths[1:20] {
		want := []string{"CONNECTED", "DENIED"}[i%2]
		m := as[map[string]any](t, line["member"])
		if m["connection_status"] != want || line["user_guid"] != refs[i+1]["user_guid"] || m["oauth_window_uri_blank"] != true {
			t.Errorf("truth %d: %v", i+1, line)
		}
	}
	if m := as[map[string]any](t, truths[20]["member"]); m["connection_status"] != "PENDING" || m["oauth_window_uri_blank"] != false {
		t.Errorf("synthetic: %v", m)
	}
}

func TestControlInjectsShowsAndClearsFaults(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	injected := s.control(t, "POST", "faults", `{"kind":"status","status":429,"retry_after":"3","for":"1m30s","scope":"read","body":""}`)
	id := as[string](t, injected.object(t, 201)["id"])
	if resp := s.get(t, path(m)); resp.status != 429 || resp.header.Get("Retry-After") != "3" || len(resp.body) != 0 {
		t.Errorf("fault: %d %q", resp.status, resp.body)
	}
	shown := as[[]any](t, s.control(t, "GET", "faults", "").object(t, 200)["faults"])
	f := as[map[string]any](t, shown[0])
	if f["id"] != id || f["hits"] != 1.0 || f["for"] != "1m30s" || f["body"] != "" {
		t.Errorf("fault %v", f)
	}
	if got := s.control(t, "DELETE", "faults/"+id, "").object(t, 200); got["cleared"] != 1.0 {
		t.Errorf("cleared %v", got)
	}
	s.read(t, m)
	if got := s.control(t, "DELETE", "faults", "").object(t, 200); got["cleared"] != 0.0 {
		t.Errorf("cleared %v", got)
	}
}

func TestControlServesJournalStatsAndSettings(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	s.read(t, m)
	if resp := s.control(t, "PUT", "log", `{"mode":"all"}`); resp.status != 204 {
		t.Errorf("log mode: %d", resp.status)
	}
	s.control(t, "POST", "stats/reset", `{"phase":"two"}`).object(t, 200)
	s.read(t, m)
	s.read(t, m)
	for query, want := range map[string]int{"": 2, "?member=" + m.GUID: 2, "?member=" + m.GUID + "&after=1": 1, "?after=2": 0, "?member=none": 0} {
		got := s.control(t, "GET", "log"+query, "").object(t, 200)
		if entries := as[[]any](t, got["entries"]); len(entries) != want || got["dropped"] != 0.0 {
			t.Errorf("log%s: %v", query, got)
		}
	}
	phase := as[map[string]any](t, s.control(t, "GET", "stats", "").object(t, 200)["phase"])
	if phase["name"] != "two" || phase["requests"] != 2.0 {
		t.Errorf("phase %v", phase)
	}
	got := s.control(t, "PATCH", "config", `{"nasty":true,"settle_after":"3s","api_key":"new","accept_versions":["v9"]}`).object(t, 200)
	if got["nasty"] != true || got["settle_after"] != "3s" || got["api_key"] != nil {
		t.Errorf("settings %v", got)
	}
	if resp := s.get(t, path(m)); resp.status != 401 {
		t.Errorf("with the old key: %d", resp.status)
	}
	req := s.request(t, "GET", path(m), "")
	req.SetBasicAuth(mxsim.DefaultClientID, "new")
	if resp, err := s.do(req); err != nil || resp.status != 406 {
		t.Errorf("with the old version: %d, %v", resp.status, err)
	}
}

func TestControlExplainsWhatItRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"id": "one"})
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"PATCH", "members/" + m.GUID, `{"status":"X"}`, 400},
		{"PATCH", "members/" + m.GUID, `{`, 400},
		{"PATCH", "members/MBR-none", `{}`, 404},
		{"POST", "members/" + m.GUID + "/authorize", `{}`, 400},
		{"POST", "users/" + m.UserGUID + "/members", `{"id":"one"}`, 409},
		{"POST", "users", `{"guid":"` + m.UserGUID + `"}`, 409},
		{"POST", "users", `{"id":"USR-mine"}`, 400}, // no id begins as a guid does
		{"POST", "users", `{"id":"MBR-mine"}`, 400},
		{"PUT", "users/" + m.UserGUID, `{"id":"USR-mine"}`, 400},
		{"POST", "users/" + m.UserGUID + "/members", `{"id":"MBR-mine"}`, 400},
		{"POST", "users/" + m.UserGUID + "/members", `{"id":"USR-mine"}`, 400},
		{"PATCH", "members/" + m.GUID, `{"id":"MBR-mine"}`, 400},
		{"POST", "bulk", `{"users":1,"members_per_user":1,"id_prefix":"MBR-"}`, 400},
		{"POST", "users/USR-none/members", `{}`, 404},
		{"POST", "faults", `{"kind":"status","status":700}`, 400},
		{"POST", "faults", `{"kind":"latency","delay":"soon"}`, 400},
		{"PUT", "log", `{"mode":"x"}`, 400},
		{"GET", "log?after=x", ``, 400},
		{"POST", "bulk", `{"users":-1}`, 400},
		{"POST", "members/" + m.GUID + "/script", `[7]`, 400},
	} {
		resp := s.control(t, tt.method, tt.path, tt.body)
		if why, ok := resp.object(t, tt.status)["error"].(string); !ok || why == "" {
			t.Errorf("%s %s: %s", tt.method, tt.path, resp.body)
		}
	}
	if resp := s.control(t, "GET", "nothing", ""); resp.status != 404 {
		t.Errorf("unknown route: %d", resp.status)
	}
}
