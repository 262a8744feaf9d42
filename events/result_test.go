package events_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
)

func TestResultSurvivesEncodingAndDecoding(t *testing.T) {
	t.Parallel()
	for name, r := range goldenResults() {
		b, err := r.Encode(subjects(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := events.DecodeResult(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s: decoded differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestResultIsWhatTheCloudEventsSDKWrites(t *testing.T) {
	t.Parallel()
	for name, r := range goldenResults() {
		got, err := r.Encode(subjects(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ce := event.New()
		ce.SetID(r.CommandID + "-20260314T092653.839793000Z")
		ce.SetSource("/mx/commands/member/refresh")
		ce.SetType("member.refresh.result")
		ce.SetSubject(r.CommandID)
		ce.SetTime(r.FinishedAt)
		ce.SetDataSchema("https://github.com/memberwatch/memberwatch/schemas/v1/member.refresh.result.json")
		ce.SetExtension("correlationid", r.CommandID)
		if err := ce.SetData(event.ApplicationJSON, r); err != nil {
			t.Fatal(err)
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err := json.Marshal(ce)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: Encode:\n%s\nthe SDK:\n%s", name, got, want)
		}
		if got, err := r.AppendTo([]byte("before "), subjects(t)); err != nil || string(got) != "before "+string(want) {
			t.Errorf("%s: AppendTo (%v):\n%s", name, err, got)
		}
	}
}

func TestResultWithoutACommandIsNotEncoded(t *testing.T) {
	t.Parallel()
	if b, err := (events.Result{Outcome: events.OutcomeFailed}).Encode(subjects(t)); err == nil {
		t.Errorf("encoded to %s", b)
	}
	late := events.Result{CommandID: "c", FinishedAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if b, err := late.Encode(subjects(t)); err == nil {
		t.Errorf("a time that JSON cannot hold encoded to %s", b)
	}
}

func TestDecodeResultRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	good := `{"specversion":"1.0","id":"1","source":"/mx","type":"member.refresh.result","more":1,"data":{"command_id":"c","more":{}}}`
	if r, err := events.DecodeResult([]byte(good)); err != nil || r.CommandID != "c" {
		t.Errorf("a result with more in it gives %+v, %v", r, err)
	}
	for _, tc := range [][2]string{
		{`"1.0"`, `"2.0"`},
		{`"id":"1",`, ``},
		{`"/mx"`, `""`},
		{`.result"`, `.results"`},
		{`"c"`, `7`},
		{`}}`, `}`},
		{`"more":1`, `"datacontenttype":"text/xml"`},
	} {
		bad := strings.Replace(good, tc[0], tc[1], 1)
		if r, err := events.DecodeResult([]byte(bad)); err == nil {
			t.Errorf("%s decodes to %+v", bad, r)
		}
	}
}
