package events_test

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/memberwatch/memberwatch/events"
)

// TestOnlyExactNamesCount puts fields into the full event whose names are ours but
// for their case, which encoding/json would take for ours.
func TestOnlyExactNamesCount(t *testing.T) {
	t.Parallel()
	full := encoded(t, fullEvent(t))
	want, err := events.Decode([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	for before, foreign := range map[string]string{
		`"datacontenttype":`:   `"ID":"0","Source":7,"TYPE":"member.closed","Data":"none","Data_Base64":"eA==",`,
		`"previous":{`:         `"Deleted":false,"Revision":"x","Member":{"guid":"MBR-9"},"Oauth_Window_URI":"x",`,
		`,"id":"partner`:       `,"GUID":"MBR-9","User_Guid":7`,
		`,"use_cases":["MONEY`: `,"Error":"text","Name":"x","\u0049d":"x","u\u017fer_guid":"x","u\u017fe_cases":7`,
		`"error_type":`:        `"Error_Code":"none",`,
		`"kind":`:              `"Actor":7,`,
	} {
		if !strings.Contains(full, before) {
			t.Errorf("the full event has no %s", before)
		}
		raw := strings.Replace(full, before, foreign+before, 1)
		if got, err := events.Decode([]byte(raw)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("with %s it is read as %+v, %v\nwant %+v", foreign, got, err, want)
		}
		data := members(t, []byte(raw))["data"]
		inBase64 := `"data_base64":"` + base64.StdEncoding.EncodeToString(data) + `"`
		if got, err := events.Decode([]byte(strings.Replace(raw, `"data":`+string(data), inBase64, 1))); err != nil || !reflect.DeepEqual(got.Data, want.Data) {
			t.Errorf("with %s in base64 it is read as %+v, %v\nwant %+v", foreign, got, err, want)
		}
		ce := event.New()
		if err := json.Unmarshal([]byte(full), &ce); err != nil {
			t.Fatal(err)
		}
		ce.DataEncoded = data
		if got, err := events.Parse(ce); err != nil || !reflect.DeepEqual(got.Data, want.Data) {
			t.Errorf("with %s it is parsed as %+v, %v\nwant %+v", foreign, got, err, want)
		}
	}
	var m events.Member
	if err := json.Unmarshal([]byte(`{"guid":"MBR-1","GUID":"MBR-9","error":{"error_code":1,"Error_Code":2}}`), &m); err != nil || m.GUID != "MBR-1" || *m.Error.Code != 1 {
		t.Errorf("a member alone is read as %+v, %v", m, err)
	}
}

// TestFormerValuesKeepTheirNames: what previous has is for the consumer, who may know it.
func TestFormerValuesKeepTheirNames(t *testing.T) {
	t.Parallel()
	full := encoded(t, fullEvent(t))
	raw := strings.Replace(full, `"previous":{`, `"previous":{"Shoe":{"Size":[42, "<"]},`, 1)
	e, err := events.Decode([]byte(strings.Replace(raw, `"actor":`, `"Actor":"x","actor":`, 1)))
	if err != nil || string(e.Data.Previous["Shoe"]) != `{"Size":[42, "<"]}` || len(e.Data.Previous) != len(fullEvent(t).Data.Previous)+1 {
		t.Errorf("previous is %s, %v", e.Data.Previous, err)
	}
}

func TestResultIsReadByExactNames(t *testing.T) {
	t.Parallel()
	raw := `{"specversion":"1.0","id":"1","source":"/mx","type":"member.refresh.result","Type":"x","data":` +
		`{"command_id":"c-1","Command_ID":"c-2","outcome":"changed","Revision":"x","finished_at":"2026-03-01T12:00:00Z"}}`
	r, err := events.DecodeResult([]byte(raw))
	if err != nil || r.CommandID != "c-1" || r.Revision != 0 {
		t.Errorf("decoded to %+v, %v", r, err)
	}
}

// TestMissingFieldsAreThoseOfTheMemberItself: a name in a new object is not the member's own.
func TestMissingFieldsAreThoseOfTheMemberItself(t *testing.T) {
	t.Parallel()
	var m events.Member
	raw := ` { "guid" : "MBR-1", "user_guid":"USR-1", "bank":{"name":"x","id":[{"is_oauth":true}]}, "note":"\"user_id\":", "is_manu\u0061l":true, "error" : null } `
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range events.MemberFields() {
		if there := slices.Contains([]string{"guid", "user_guid", "error", "is_manual"}, name); m.Lacks(name) == there {
			t.Errorf("%s is there: %v; the member lacks %v", name, there, m.Missing)
		}
	}
	if m.IsManual == nil || !*m.IsManual {
		t.Error("a name written as an escape was not read")
	}
	if err := json.Unmarshal([]byte(`{}`), &m); err != nil || len(m.Missing) != len(events.MemberFields()) {
		t.Errorf("an empty member lacks %v, %v", m.Missing, err)
	}
}
