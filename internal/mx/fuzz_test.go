package mx

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"
	"unicode/utf8"
)

func fuzzSeeds(f *testing.F) {
	f.Helper()
	example, err := os.ReadFile("testdata/read_member.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, fields := range []string{
		``,
		`"error":"{\"error_code\":\"2004\"}"`,
		`"error":{"error_code":1000,"error_type":"MEMBER","x":[{},[],-0.5e-7]}`,
		`"name":"\ud83d\ude00\ud83d\u0000\"","connection_status":"","use_cases":["PFM",null,"","X"]`,
		`"name":null,"name":"b","is_oauth":true,"is_oauth":null`,
		`"aggregated_at":"2016-10-13T18:07:53+02:00"`,
		`"name":"a","oauth_window_uri":null,"error":null,"use_cases":null,"id":"b","connection_status":null`,
		"\"name\":\"\xff\"",
	} {
		f.Add([]byte(answer(fields)))
	}
	f.Add([]byte(`{"member":{"guid":"a","user_guid":"b"},"member":null}`))
	f.Add([]byte(` [ 1 , -0.0E+1 , "\/" , {"a":{"b":[true,false,null]}} ] `))
	f.Add(bytes.Repeat([]byte("["), maxDepth+1))
}

// FuzzScannerSkip holds the scanner against encoding/json: both must agree on what JSON is.
func FuzzScannerSkip(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s scanner
		s.reset(data)
		s.skip()
		err := s.done()
		if errors.Is(err, errTooDeep) {
			return
		}
		if valid := json.Valid(data); valid != (err == nil) {
			t.Fatalf("valid is %t, the scanner says %v", valid, err)
		}
		if err == nil && s.depth != 0 {
			t.Fatalf("the document ended at depth %d", s.depth)
		}
	})
}

// FuzzDecodeMember checks that nothing but whole JSON with well-formed guids is believed, and that every field read is what
// encoding/json reads there.
func FuzzDecodeMember(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s scanner
		s.reset(data)
		m, err := decodeMember(&s, anyRequest)
		if err != nil {
			return
		}
		var plain struct{ Member map[string]any }
		var top map[string]json.RawMessage // Keys by their exact case, unlike a struct's.
		if err := json.Unmarshal(data, &top); err != nil {
			t.Fatalf("believed what is not json: %v", err)
		}
		if err := json.Unmarshal(top["member"], &plain.Member); err != nil {
			t.Fatalf("believed a member that is none: %v", err)
		}
		if !validGUID(m.GUID) || !validGUID(m.UserGUID) || m.GUID != plain.Member["guid"] || m.UserGUID != plain.Member["user_guid"] {
			t.Fatalf("guids are %q and %q", m.GUID, m.UserGUID)
		}
		for key, got := range map[string]*string{
			"id": m.ID, "user_id": m.UserID, "name": m.Name, "institution_code": m.InstitutionCode,
			"institution_guid": m.InstitutionGUID, "connection_status_message": m.ConnectionStatusMessage,
		} {
			want, known := plain.Member[key].(string)
			if known != (got != nil) || known && want != *got {
				t.Fatalf("%s is %v, want %q (%t)", key, got, want, known)
			}
			if known && !utf8.ValidString(*got) {
				t.Fatalf("%s is not UTF-8", key)
			}
		}
		for key, got := range map[string]*bool{
			"is_oauth": m.IsOAuth, "is_manual": m.IsManual, "is_managed_by_user": m.IsManagedByUser,
			"is_being_aggregated":                m.IsBeingAggregated,
			"background_aggregation_is_disabled": m.BackgroundAggregationIsDisabled,
			"needs_updated_credentials":          m.NeedsUpdatedCredentials,
		} {
			want, known := plain.Member[key].(bool)
			if known != (got != nil) || known && want != *got {
				t.Fatalf("%s is %v, want %t (%t)", key, got, want, known)
			}
		}
		if m.ConnectionStatus != nil && (*m.ConnectionStatus != plain.Member["connection_status"] || !validStatus(*m.ConnectionStatus)) {
			t.Fatalf("status is %q", *m.ConnectionStatus)
		}
		if uri, _ := plain.Member["oauth_window_uri"].(string); uri != m.OAuthWindowURI.Reveal() {
			t.Fatal("the uri differs")
		}
		if _, known := plain.Member["use_cases"].([]any); known != (m.UseCases != nil) && !slices.Contains(s.unread, "member.use_cases") {
			t.Fatalf("use cases are %v", m.UseCases)
		}
		if len(m.UseCases) > maxUseCases || slices.ContainsFunc(m.UseCases, func(c string) bool { return c == "" || len(c) > maxNameLen }) {
			t.Fatalf("no event can hold the use cases %q", m.UseCases)
		}
		if m.Error != nil && plain.Member["error"] == nil {
			t.Fatal("an error came from nowhere")
		}
	})
}
