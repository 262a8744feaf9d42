package events_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
)

// sameEvent compares all of two events; the key has no exported field.
var sameEvent = cmp.Comparer(func(a, b events.Key) bool { return a == b })

func TestEventSurvivesEncodingAndDecoding(t *testing.T) {
	t.Parallel()
	for name, e := range goldenEvents(t) {
		b, err := e.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := events.Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(e, got, sameEvent); diff != "" {
			t.Errorf("%s: decoded differs (-want +got):\n%s", name, diff)
		}
		again, err := got.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%s: encoded again (%v):\n%s\nwant\n%s", name, err, again, b)
		}
	}
}

func TestEventIsWhatTheCloudEventsSDKWrites(t *testing.T) {
	t.Parallel()
	for name, e := range goldenEvents(t) {
		wantSDKBytes(t, name, e)
		e.Time = time.Time{}
		wantSDKBytes(t, name+" without a time", e)
	}
	base := pendingEvent(t)
	rapid.Check(t, func(t *rapid.T) {
		e := base
		text := rapid.StringMatching(`[ -~\pL<>&"\\\x{2028}]{0,40}`)
		e.Prefix = rapid.StringMatching(`([a-z]{1,5}\.){0,3}`).Draw(t, "prefix")
		e.CorrelationID, e.Reason = text.Draw(t, "correlation"), text.Draw(t, "reason")
		e.Traceparent, e.Tracestate = text.Draw(t, "traceparent"), text.Draw(t, "tracestate")
		e.Time = time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanos"))
		e.Data.Member.Name = new(text.Draw(t, "name"))
		wantSDKBytes(t, "random", e)
	})
}

// tester is what testing.T and rapid.T have in common here.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

func wantSDKBytes(t tester, name string, e events.Event) {
	t.Helper()
	ce, err := e.CloudEvent()
	if err != nil {
		t.Fatalf("%s: CloudEvent: %v", name, err)
	}
	want, err := json.Marshal(ce)
	if err != nil {
		t.Fatalf("%s: encoding with the SDK: %v", name, err)
	}
	got, err := e.Encode()
	if err != nil || string(got) != string(want) {
		t.Fatalf("%s: Encode (%v):\n%s\nthe SDK:\n%s", name, err, got, want)
	}
	if got, err := e.AppendTo([]byte("before ")); err != nil || string(got) != "before "+string(want) {
		t.Fatalf("%s: AppendTo (%v):\n%s", name, err, got)
	}
}

func TestEventIsValidForTheCloudEventsSDK(t *testing.T) {
	t.Parallel()
	for name, e := range goldenEvents(t) {
		b, err := e.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ce event.Event
		if err := json.Unmarshal(b, &ce); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ce.SpecVersion() != "1.0" || ce.DataContentType() != "application/json" || ce.Subject() != memberGUID ||
			ce.DataSchema() != e.Type.SchemaID() || ce.Extensions()["partitionkey"] != memberGUID ||
			ce.Extensions()["sequence"] != e.Sequence() || !ce.Time().Equal(e.Data.ObservedAt) {
			t.Errorf("%s: attributes are %v", name, ce.Context)
		}
		parsed, err := events.Parse(ce)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(e, parsed, sameEvent); diff != "" {
			t.Errorf("%s: parsed differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestEventIDTellsMemberRevisionTypeAndTime(t *testing.T) {
	t.Parallel()
	s, k, d := subjects(t), key(t), pendingEvent(t).Data
	other, err := events.NewKey(userGUID, memberGUID+"x")
	if err != nil {
		t.Fatal(err)
	}
	later, next, elsewhere := d, d, d
	later.ObservedAt = d.ObservedAt.Add(time.Nanosecond)
	next.Revision++
	elsewhere.ObservedAt = d.ObservedAt.In(time.FixedZone("", 3600))

	id := events.New(s, events.TypePending, k, d).ID
	if len(id) != 32 {
		t.Errorf("id %q has %d characters, want 32", id, len(id))
	}
	if same := events.New(s, events.TypePending, k, elsewhere).ID; same != id {
		t.Errorf("the same instant in another zone gives id %s, want %s", same, id)
	}
	d.Member.Name = new("another name")
	if same := events.New(s, events.TypePending, k, d).ID; same != id {
		t.Errorf("other data give id %s, want %s", same, id)
	}
	seen := map[string]string{id: "the event itself"}
	for what, e := range map[string]events.Event{
		"member":   events.New(s, events.TypePending, other, d),
		"revision": events.New(s, events.TypePending, k, next),
		"type":     events.New(s, events.TypeConnected, k, d),
		"time":     events.New(s, events.TypePending, k, later),
	} {
		if seen[e.ID] != "" {
			t.Errorf("another %s gives the id of %s", what, seen[e.ID])
		}
		seen[e.ID] = what
	}
	// Ids are kept by consumers for ever: this one must not move from one version to the next.
	if want := "H06UFD754JDJRV127VGU3509UUBMO1KL"; id != want {
		t.Errorf("id is %s, want %s", id, want)
	}
}

func TestSequenceSortsAsRevisionsDo(t *testing.T) {
	t.Parallel()
	sequence := func(revision uint64) string { return events.Event{Data: events.Data{Revision: revision}}.Sequence() }
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		x, y := sequence(a), sequence(b)
		if len(x) != 20 || (x < y) != (a < b) {
			t.Fatalf("%d is %s, %d is %s", a, x, b, y)
		}
	})
}

func TestAnnouncementCarriesTheURIAndItsOwnID(t *testing.T) {
	t.Parallel()
	e := pendingEvent(t)
	a := e.Announcement("https://mxbank.example/authorize")
	if a.Type != events.TypeOAuthRequired || a.ID == e.ID || a.Data.OAuthWindowURI != "https://mxbank.example/authorize" {
		t.Errorf("announcement is %s %s with URI %q", a.Type, a.ID, a.Data.OAuthWindowURI)
	}
	if e.Data.OAuthWindowURI != "" {
		t.Error("announcing put the URI into the event")
	}
	if again := e.Announcement("https://mxbank.example/another"); again.ID != a.ID {
		t.Errorf("announced again with another URI, its id is %s, want %s", again.ID, a.ID)
	}
	a.Type, a.ID, a.Data.OAuthWindowURI = e.Type, e.ID, ""
	if diff := cmp.Diff(e, a, sameEvent); diff != "" {
		t.Errorf("announcement differs in more (-event +announcement):\n%s", diff)
	}
	b, err := e.Announcement("").Encode()
	if err != nil || strings.Contains(string(b), "oauth_window_uri") {
		t.Errorf("an announcement without a URI (%v) has the field: %s", err, b)
	}
}

func TestEventWithoutItsAttributesIsNotEncoded(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*events.Event){
		"id":     func(e *events.Event) { e.ID = "" },
		"source": func(e *events.Event) { e.Source = "" },
		"type":   func(e *events.Event) { e.Type = "" },
		"key":    func(e *events.Event) { e.Key = events.Key{} },
		"user":   func(e *events.Event) { e.Data.Member.UserGUID = "USR-9" },
		"member": func(e *events.Event) { e.Data.Member.GUID = "MBR-9" },
		"filter": func(e *events.Event) { e.Type = "member.*" },
		"tail":   func(e *events.Event) { e.Type = "member.x.>" },
		"other":  func(e *events.Event) { e.Type = "order.created" },
		"data":   func(e *events.Event) { e.Data.Previous["x"] = json.RawMessage("{") },
		"time":   func(e *events.Event) { e.Data.ObservedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		e := pendingEvent(t)
		spoil(&e)
		if b, err := e.Encode(); err == nil {
			t.Errorf("event with a bad %s encodes to %s", name, b)
		}
		if ce, err := e.CloudEvent(); err == nil {
			t.Errorf("event with a bad %s makes %s", name, ce)
		}
	}
	if b, err := (events.Event{}).Encode(); err == nil {
		t.Errorf("the zero event encodes to %s", b)
	}
}

func TestNewEventIsInUTC(t *testing.T) {
	t.Parallel()
	d := pendingEvent(t).Data
	d.ObservedAt = observedAt.In(time.FixedZone("", 3600))
	e := events.New(subjects(t), events.TypePending, key(t), d)
	if e.Data.ObservedAt.Location() != time.UTC || e.Time.Location() != time.UTC || e.ID != pendingEvent(t).ID {
		t.Errorf("observed at %s, time %s, id %s", e.Data.ObservedAt, e.Time, e.ID)
	}
	if raw := encoded(t, e); !strings.Contains(raw, `"observed_at":"2026-03-14T09:26:53.589793Z"`) {
		t.Errorf("encoded to\n%s", raw)
	}
}

// TestStatusThatCanBeNoTypeIsRefused: it would become a token of a subject.
func TestStatusThatCanBeNoTypeIsRefused(t *testing.T) {
	t.Parallel()
	for status, ok := range map[string]bool{
		`null`: true, `"CONNECTED"`: true, `"QUARANTINED_2"`: true, `"` + strings.Repeat("A", 64) + `"`: true,
		`""`: false, `"a.> b"`: false, `"*"`: false, `"connected"`: false, `"_A"`: false, `"` + strings.Repeat("A", 65) + `"`: false,
	} {
		raw := strings.Replace(minimal, `"guid"`, `"connection_status":`+status+`,"guid"`, 1)
		canonical := encoded(t, pendingEvent(t))
		canonical = strings.Replace(canonical, `"connection_status":"PENDING"`, `"connection_status":`+status, 1)
		for _, raw := range []string{strings.Replace(raw, "%s", "", 1), canonical} {
			e, err := events.Decode([]byte(raw))
			if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "member: connection_status: ") || e.ID != "") {
				t.Errorf("status %s is read: %v; want %t", status, err, ok)
			}
		}
	}
}

// minimal is the least that is an event; %s stands for more attributes.
const minimal = `{"specversion":"1.0","id":"1","source":"/mx","type":"member.connected",%s` +
	`"data":{"member":{"guid":"MBR-1","user_guid":"USR-1"},"revision":3}}`

func TestDecodeToleratesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	base := strings.Replace(minimal, "%s", "", 1)
	replace := func(old, with string) string { return strings.Replace(base, old, with, 1) }
	for name, tc := range map[string]struct {
		raw    string
		typ    events.Type
		prefix string
	}{
		"minimal":            {base, "member.connected", ""},
		"unknown type":       {replace("member.connected", "member.quarantined"), "member.quarantined", ""},
		"prefix":             {replace("member.connected", "com.example.member.connected"), "member.connected", "com.example."},
		"prefix like a type": {replace("member.connected", "member.member.connected"), "member.connected", "member."},
		"unknown field":      {replace(`"revision"`, `"weather":{"sun":[1]},"revision"`), "member.connected", ""},
		"unknown in member":  {replace(`"guid"`, `"shoe_size":42,"guid"`), "member.connected", ""},
		"newer attributes":   {replace(`"data"`, `"signature":"x","severity":3,"ok":true,"data"`), "member.connected", ""},
		"attribute of another type": {
			replace(`"data"`, `"reason":{"code":1},"correlationid":7,"data"`),
			"member.connected", "",
		},
		"media type with charset": {replace(`"data"`, `"datacontenttype":"application/json; charset=utf-8","data"`), "member.connected", ""},
		"media type +json":        {replace(`"data"`, `"datacontenttype":"application/vnd.x+json","data"`), "member.connected", ""},
		"white space":             {"\n " + replace(`"data":`, `"data" : `) + "\n", "member.connected", ""},
		"unknown action":          {replace(`"revision"`, `"action":{"actor":"robot","kind":"dance"},"revision"`), "member.connected", ""},
		"data in base64": {
			strings.Split(base, `"data":`)[0] + `"data_base64":"` +
				base64.StdEncoding.EncodeToString([]byte(`{"member":{"guid":"MBR-1","user_guid":"USR-1"},"revision":3}`)) + `"}`,
			"member.connected", "",
		},
	} {
		e, err := events.Decode([]byte(tc.raw))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if e.Type != tc.typ || e.Prefix != tc.prefix || e.Key.Member() != "MBR-1" || e.Key.User() != "USR-1" || e.Data.Revision != 3 {
			t.Errorf("%s: decoded to %+v", name, e)
		}
		if e.Reason != "" || e.CorrelationID != "" {
			t.Errorf("%s: an attribute that is no text was read as %q, %q", name, e.Reason, e.CorrelationID)
		}
	}
}

func TestDecodeRefusesWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	base := strings.Replace(minimal, "%s", "", 1)
	replace := func(old, with string) string { return strings.Replace(base, old, with, 1) }
	for name, tc := range map[string]struct{ raw, want string }{
		"nothing":            {"", "decoding cloudevent"},
		"no JSON":            {"{", "decoding cloudevent"},
		"more than one":      {base + base, "decoding cloudevent"},
		"an array":           {"[]", "decoding cloudevent"},
		"no specversion":     {replace(`"specversion":"1.0",`, ""), "specversion"},
		"other specversion":  {replace(`"1.0"`, `"0.3"`), "specversion"},
		"no id":              {replace(`"id":"1",`, ""), "id: missing"},
		"null id":            {replace(`"id":"1"`, `"id":null`), "id: missing"},
		"empty source":       {replace(`"/mx"`, `""`), "source: missing"},
		"data not JSON":      {replace(`"data"`, `"datacontenttype":"text/plain","data"`), "datacontenttype"},
		"no data":            {strings.Split(base, `,"data"`)[0] + "}", "member: user_guid"},
		"data null":          {strings.Split(base, `"data":`)[0] + `"data":null}`, "member: user_guid"},
		"data a string":      {strings.Split(base, `"data":`)[0] + `"data":"x"}`, "member.connected 1: "},
		"bad data in base64": {strings.Split(base, `"data":`)[0] + `"data_base64":"eA=="}`, "member.connected 1: "},
		"no member":          {replace(`"member":{"guid":"MBR-1","user_guid":"USR-1"},`, ""), "member: user_guid"},
		"no guid":            {replace(`"guid":"MBR-1",`, ""), "member: member_guid"},
		"guid with wildcard": {replace("MBR-1", "MBR-*"), "member: member_guid"},
		"user with dots":     {replace("USR-1", "a.b"), "member: user_guid"},
		"no revision":        {replace(`,"revision":3`, ""), "revision"},
		"negative revision":  {replace(`"revision":3`, `"revision":-3`), "revision"},
		"bad time":           {replace(`"data"`, `"time":"yesterday","data"`), "parsing time"},
	} {
		e, err := events.Decode([]byte(tc.raw))
		if err == nil {
			t.Errorf("%s: decoded to %+v", name, e)
			continue
		}
		if !strings.Contains(err.Error(), tc.want) || errors.Is(err, events.ErrNotMemberEvent) {
			t.Errorf("%s: error %q, want one that contains %q", name, err, tc.want)
		}
	}
}

func TestEventsOfOthersAreToldApart(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{
		"", "connected", "com.example.order", "member", "member.", "members.connected", "xmember.connected",
		"member.connected.", "member.a b", "member.refresh", "com.example.member.refresh", "member.refresh.result",
	} {
		raw := strings.Replace(strings.Replace(minimal, "%s", "", 1), "member.connected", typ, 1)
		if _, err := events.Decode([]byte(raw)); !errors.Is(err, events.ErrNotMemberEvent) {
			t.Errorf("type %q: Decode gives %v, want ErrNotMemberEvent", typ, err)
		}
		odd := strings.Split(raw, `"data":`)[0] + `"data":{"member":"x","revision":[]}}`
		if _, err := events.Decode([]byte(odd)); typ != "" && !errors.Is(err, events.ErrNotMemberEvent) {
			t.Errorf("type %q with data of its own: Decode gives %v, want ErrNotMemberEvent", typ, err)
		}
		ce := event.New()
		ce.SetType(typ)
		if _, err := events.Parse(ce); !errors.Is(err, events.ErrNotMemberEvent) {
			t.Errorf("type %q: Parse gives %v, want ErrNotMemberEvent", typ, err)
		}
	}
}

func TestParseRefusesAnInvalidCloudEvent(t *testing.T) {
	t.Parallel()
	good := func() event.Event {
		ce, err := pendingEvent(t).CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		return ce
	}
	for name, spoil := range map[string]func(*event.Event){
		"id":           func(ce *event.Event) { ce.SetID("") },
		"source":       func(ce *event.Event) { ce.SetSource("") },
		"data":         func(ce *event.Event) { ce.DataEncoded = []byte("{") },
		"no data":      func(ce *event.Event) { ce.DataEncoded = nil },
		"content type": func(ce *event.Event) { ce.SetDataContentType("text/plain") },
		"specversion":  func(ce *event.Event) { ce.SetSpecVersion("0.3") },
		"revision":     func(ce *event.Event) { ce.DataEncoded = []byte(`{"member":{"guid":"a","user_guid":"b"}}`) },
	} {
		ce := good()
		spoil(&ce)
		if e, err := events.Parse(ce); err == nil {
			t.Errorf("%s: parsed to %+v", name, e)
		}
	}
}
