package events_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
)

func TestMissingFieldsOfASnapshotAreNoted(t *testing.T) {
	t.Parallel()
	full, err := json.Marshal(events.Member{GUID: "MBR-1", UserGUID: "USR-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range events.MemberFields() {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(full, &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, field)
		fields["next_to_"+field] = json.RawMessage(`"` + field + `"`) // neither a longer name nor a value is the field
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var m events.Member
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Missing, []string{field}) || !m.Lacks(field) {
			t.Errorf("without %s, %v are missing", field, m.Missing)
		}
	}
	var m events.Member
	if err := json.Unmarshal(full, &m); err != nil || m.Missing != nil {
		t.Errorf("a whole snapshot (%v) lacks %v", err, m.Missing)
	}
}

func TestUnknownErrorIsNotNoError(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct {
		lacks bool
		err   *events.Error
	}{
		`{"guid":"m"}`:                                {true, nil},
		`{"guid":"m","error":null}`:                   {false, nil},
		`{"guid":"m","error":{"error_code":2004}}`:    {false, &events.Error{Code: new(2004)}},
		`{"guid":"m","error" : {"error_type":"NEW"}}`: {false, &events.Error{Type: new("NEW")}},
	} {
		m := events.Member{Error: &events.Error{Locale: new("left over")}, Missing: []string{"left over"}}
		if err := json.Unmarshal([]byte(raw), &m); err != nil {
			t.Fatal(err)
		}
		if m.Lacks("error") != want.lacks {
			t.Errorf("%s: Lacks(error) = %v", raw, m.Lacks("error"))
		}
		if diff := cmp.Diff(want.err, m.Error); diff != "" {
			t.Errorf("%s: error differs (-want +got):\n%s", raw, diff)
		}
	}
}

func TestSnapshotOfTheWrongFormIsRefused(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`[]`, `"m"`, `{"guid":1}`, `{"error":"x"}`, `{"error":{"error_code":"2004"}}`, `{"aggregated_at":"yesterday"}`} {
		var m events.Member
		if err := json.Unmarshal([]byte(raw), &m); err == nil {
			t.Errorf("%s decodes to %+v", raw, m)
		}
	}
}

func TestMemberFieldsAreThoseOfTheStructInTheirOrder(t *testing.T) {
	t.Parallel()
	var want []string
	for f := range reflect.TypeFor[events.Member]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			want = append(want, name)
		}
	}
	if diff := cmp.Diff(want, events.MemberFields()); diff != "" {
		t.Errorf("fields (-struct +MemberFields):\n%s", diff)
	}
}
