package mxsim_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// shapes reads a member often and notes how a field was written.
func shapes(t *testing.T, s *sim, m mxsim.Member, field string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for range 60 {
		var raw struct {
			Member map[string]json.RawMessage `json:"member"`
		}
		resp := s.get(t, path(m))
		if err := json.Unmarshal(resp.body, &raw); err != nil {
			t.Fatalf("%v in %s", err, resp.body)
		}
		value, ok := raw.Member[field]
		if !ok {
			out["absent"]++
			continue
		}
		out[string(value)]++
	}
	return out
}

func TestNastyUsesEveryForm(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Nasty: true})
	m := s.add(t, nil)
	bad := s.add(t, mxsim.Patch{"is_oauth": true, "error": map[string]any{"error_code": 2004}})

	if got := shapes(t, s, m, "error"); len(got) != 3 || got["absent"] == 0 || got["null"] == 0 || got["{}"] == 0 {
		t.Errorf("no error: %v", got)
	}
	objects, texts := 0, 0
	for shape, n := range shapes(t, s, bad, "error") {
		switch shape[0] {
		case '{':
			objects += n
		case '"':
			texts += n
		}
	}
	if objects == 0 || texts == 0 || objects+texts != 60 {
		t.Errorf("error: %d objects, %d texts", objects, texts)
	}
	want := map[string]bool{`"2026-03-01T12:00:00.000Z"`: true, `"2026-03-01T12:00:00Z"`: true, `"2026-03-01T12:00:00+00:00"`: true}
	times := shapes(t, s, m, "successfully_aggregated_at")
	for shape := range times {
		if !want[shape] {
			t.Errorf("time %s", shape)
		}
	}
	if len(times) != 3 {
		t.Errorf("times %v", times)
	}
	if got := shapes(t, s, m, "oauth_window_uri"); len(got) != 2 || got["null"] == 0 || got[`""`] == 0 {
		t.Errorf("blank URI: %v", got)
	}
	if got := shapes(t, s, bad, "oauth_window_uri"); len(got) != 60 {
		t.Errorf("%d URIs in 60 reads", len(got))
	}
	for _, field := range []string{"metadata", "most_recent_job_guid", "most_recent_job_detail_code", "most_recent_job_detail_text", "connection_status_message", "connection_status_id"} {
		if got := shapes(t, s, m, field); len(got) < 2 {
			t.Errorf("%s: %v", field, got)
		}
	}
}

func TestNastyNeverChangesTheMeaning(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Nasty: true, Seed: 99})
	m := s.add(t, mxsim.Patch{
		"id": "x", "use_cases": []string{"PFM", "MONEY_MOVEMENT"}, "is_manual": nil, "institution_code": nil,
		"error": map[string]any{"error_code": 3001}, "aggregated_at": "2026-02-03T04:05:06.789Z",
	})
	meaning := func() map[string]any {
		got := s.read(t, m)
		for _, name := range []string{
			"metadata", "most_recent_job_guid", "most_recent_job_detail_code", "most_recent_job_detail_text", "connection_status_message",
			"connection_status_id", "actionable_errors", "last_update_time", "is_sim",
		} {
			delete(got, name)
		}
		if text, ok := got["error"].(string); ok {
			var e map[string]any
			must(t, json.Unmarshal([]byte(text), &e))
			got["error"] = e
		}
		if uri, ok := got["oauth_window_uri"]; ok && (uri == nil || uri == "") {
			got["oauth_window_uri"] = nil
		}
		for _, name := range []string{"aggregated_at", "successfully_aggregated_at"} {
			at, err := time.Parse(time.RFC3339Nano, as[string](t, got[name]))
			must(t, err)
			got[name] = at.UTC().String()
		}
		set := map[any]bool{}
		for _, use := range as[[]any](t, got["use_cases"]) {
			set[use] = true
		}
		got["use_cases"] = set
		return got
	}
	first := meaning()
	for range 100 {
		if next := meaning(); !reflect.DeepEqual(first, next) {
			t.Fatalf("meant\n%v, then\n%v", first, next)
		}
	}
}

func TestASeedDecidesEverything(t *testing.T) {
	t.Parallel()
	play := func(seed uint64) string {
		s := start(t, mxsim.Config{Nasty: true, Seed: seed})
		_, err := s.AddBulk(mxsim.Bulk{Users: 3, MembersPerUser: 3, Member: mxsim.Patch{"is_oauth": true}})
		must(t, err)
		var out strings.Builder
		for ref := range s.Refs() {
			for range 3 {
				p := "/users/" + ref.UserGUID + "/members/" + ref.GUID
				fmt.Fprintf(&out, "%s%s%s", s.get(t, p).body, s.get(t, p+"/oauth_window_uri").body, s.get(t, p+"none").body)
			}
		}
		return out.String()
	}
	one := play(1)
	if one != play(1) {
		t.Error("the same seed played otherwise")
	}
	if one == play(2) {
		t.Error("another seed played the same")
	}
	guid := regexp.MustCompile(`"guid":"MBR-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)
	if n := len(guid.FindAllString(one, -1)); n != 54 {
		t.Errorf("%d well-formed guids in 54 answers", n)
	}
}

func TestNastyErrorBodiesAreNotAlwaysJSON(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Nasty: true})
	valid, empty, other := 0, 0, 0
	for range 40 {
		resp := s.get(t, "/users/nobody/members/none")
		switch {
		case resp.status != 404:
			t.Fatalf("status %d", resp.status)
		case len(resp.body) == 0:
			empty++
		case json.Valid(resp.body):
			valid++
		default:
			other++
		}
	}
	if valid == 0 || empty == 0 || other == 0 {
		t.Errorf("%d JSON, %d empty, %d other", valid, empty, other)
	}
}

func TestNastyBulkForgetsSomeFieldsButNotWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{Nasty: true})
	_, err := s.AddBulk(mxsim.Bulk{Users: 10, MembersPerUser: 10, Member: mxsim.Patch{"is_manual": false}})
	must(t, err)
	noID, noCases := 0, 0
	for truth := range s.Truths() {
		m := truth.Member
		if m.ID == nil {
			noID++
		}
		if m.UseCases == nil {
			noCases++
		}
		if m.IsManual == nil || m.ConnectionStatus == nil {
			t.Errorf("forgot too much: %+v", m)
		}
	}
	if noID == 0 || noID > 50 || noCases == 0 || noCases > 60 {
		t.Errorf("of 100: %d without id, %d without use cases", noID, noCases)
	}
}
