package events_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// wantReadAlike wants both ways to read the same of b, if the canonical way takes
// it at all. It reports whether it did.
func wantReadAlike(tb testing.TB, b []byte) (taken bool) {
	tb.Helper()
	taken, err := events.Canonical(b)
	if err != nil {
		tb.Errorf("%q\n%v", b, err)
	}
	return taken
}

// wantDecodedAlike wants Decode to give what the general way gives, whichever
// way it takes.
func wantDecodedAlike(tb testing.TB, b []byte) {
	tb.Helper()
	e, err := events.Decode(b)
	want, wantErr := events.General(b)
	if !reflect.DeepEqual(e, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
		tb.Errorf("%q\ndecoded: %+v, %v\nwant:    %+v, %v", b, e, err, want, wantErr)
	}
}

// fullEvent has every field, every attribute, and every kind of former value.
func fullEvent(tb testing.TB) events.Event {
	tb.Helper()
	e := pendingEvent(tb)
	e.Prefix, e.Tracestate = "com.example.", "rojo=00f067aa0ba902b7"
	e.Data.Provisional, e.Data.Deleted = true, true
	e.Data.OAuthWindowURI = "https://mxbank.example/oauth/authorize"
	e.Data.Member.Name = new("Crédit Agricole 農協 🏦")
	e.Data.Member.Error = &events.Error{
		Code: new(2004), Type: new("MEMBER"), Message: new("MX names the trouble."), UserMessage: new("Authorize again."), Locale: new("en"),
	}
	e.Data.Previous = map[string]json.RawMessage{
		"name":              json.RawMessage(`null`),
		"connection_status": json.RawMessage(`"CONNECTED"`),
		"deleted":           json.RawMessage(`false`),
		"is_oauth":          json.RawMessage(`true`),
		"use_cases":         json.RawMessage(`["MONEY_MOVEMENT","PFM"]`),
		"error":             json.RawMessage(`{"error_code":3000,"error_type":"INSTITUTION","error_message":null,"user_message":"","locale":"en"}`),
		"number":            json.RawMessage(`-17`),
	}
	return e
}

func encoded(tb testing.TB, e events.Event) string {
	tb.Helper()
	b, err := e.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// TestWhatIsEncodedTakesTheCanonicalWay keeps a new field from putting events on
// the general way, which would read them and tell nobody.
func TestWhatIsEncodedTakesTheCanonicalWay(t *testing.T) {
	t.Parallel()
	cases := goldenEvents(t)
	full := fullEvent(t)
	cases["full"] = full
	for _, field := range zeros(reflect.ValueOf(full), "Event") {
		if field != "Event.Data.Member.Missing" { // never encoded
			t.Errorf("the full event has no %s: give it one", field)
		}
	}

	bare := events.Event{
		ID: "1", Type: events.TypeCreated, Source: "/mx", Key: key(t),
		Data: events.Data{Member: events.Member{GUID: memberGUID, UserGUID: userGUID}, Revision: 1},
	}
	cases["every field null"] = bare
	lists := bare
	lists.Data.Member.UseCases, lists.Data.Changed, lists.Data.Previous = []string{}, []string{}, map[string]json.RawMessage{}
	cases["lists empty"] = lists
	lists.Data.Changed = slices.Repeat([]string{"name"}, 20)
	lists.Data.Previous = map[string]json.RawMessage{"use_cases": json.RawMessage(`[]`)}
	cases["a long list"] = lists
	odd := full
	odd.Data.Member.Error, odd.Data.ObservedAt = &events.Error{}, observedAt.In(time.FixedZone("", -3600))
	odd.Data.Revision = 1<<64 - 1
	cases["error empty, zone not UTC, last revision"] = odd
	for _, set := range []func(e *events.Event){
		func(e *events.Event) { e.CorrelationID = "x" },
		func(e *events.Event) { e.Reason = "x" },
		func(e *events.Event) { e.Traceparent = "x" },
		func(e *events.Event) { e.Tracestate = "x" },
		func(e *events.Event) { e.Time = observedAt },
		func(e *events.Event) { e.Data.OAuthWindowURI = "x" },
	} {
		alone := bare
		set(&alone)
		cases[fmt.Sprintf("alone in %+v", alone)] = alone
	}

	for name, e := range cases {
		b := encoded(t, e)
		// These two hold characters that are written as escapes.
		escaped := name == "member.connected.prefixed" || name == "member.oauth_required"
		if taken := wantReadAlike(t, []byte(b)); taken == escaped {
			t.Errorf("%s: takes the canonical way: %v\n%s", name, taken, b)
		}
		wantDecodedAlike(t, []byte(b))
	}
}

// TestDecodeTriesTheCanonicalWayFirst tells the ways apart by what they allocate.
func TestDecodeTriesTheCanonicalWayFirst(t *testing.T) {
	b := []byte(encoded(t, pendingEvent(t)))
	allocations := func(decode func([]byte) (events.Event, error)) float64 {
		return testing.AllocsPerRun(10, func() {
			if _, err := decode(b); err != nil {
				t.Fatal(err)
			}
		})
	}
	if now, general := allocations(events.Decode), allocations(events.General); now > general*2/3 {
		t.Errorf("Decode allocates %v times, the general way %v times", now, general)
	}
}

// zeros names the fields of v, and of what it points to, that have their zero value.
func zeros(v reflect.Value, path string) (names []string) {
	switch {
	case v.IsZero():
		return []string{path}
	case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct:
		return zeros(v.Elem(), path)
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				names = append(names, zeros(v.Field(i), path+"."+f.Name)...)
			}
		}
	}
	return names
}

// TestWhatIsNearlyCanonicalIsReadInTheGeneralWay edits the full event.
func TestWhatIsNearlyCanonicalIsReadInTheGeneralWay(t *testing.T) {
	t.Parallel()
	full := encoded(t, fullEvent(t))
	edit := func(old, with string) []byte {
		if !strings.Contains(full, old) {
			t.Errorf("the full event has no %s", old)
		}
		return []byte(strings.Replace(full, old, with, 1))
	}
	for old, edits := range nearlyCanonical() {
		for _, with := range edits {
			b := edit(old, with)
			wantDecodedAlike(t, b)
			if wantReadAlike(t, b) {
				t.Errorf("%s instead of %s takes the canonical way", with, old)
			}
		}
	}
	for old, edits := range canonicalToo() {
		for _, with := range edits {
			b := edit(old, with)
			wantDecodedAlike(t, b)
			if !wantReadAlike(t, b) {
				t.Errorf("%s instead of %s does not take the canonical way", with, old)
			}
		}
	}

	// What an older version wrote lacks fields, and the member knows which.
	optional := []string{"time", "oauth_window_uri", "correlationid", "reason", "traceparent", "tracestate"}
	event := members(t, []byte(full))
	data := members(t, event["data"])
	for _, object := range []map[string]json.RawMessage{event, data, members(t, data["member"])} {
		for name, value := range object {
			b := edit(`"`+name+`":`+string(value), "")
			b = bytes.Replace(b, []byte(",,"), []byte(","), 1)
			b = bytes.Replace(b, []byte("{,"), []byte("{"), 1)
			b = bytes.Replace(b, []byte(",}"), []byte("}"), 1)
			if !json.Valid(b) {
				t.Errorf("without %s it is no JSON: %s", name, b)
			}
			wantDecodedAlike(t, b)
			if taken := wantReadAlike(t, b); taken != slices.Contains(optional, name) {
				t.Errorf("without %s, it takes the canonical way: %v", name, taken)
			}
		}
	}

	plain := `"data":` + string(event["data"])
	inBase64 := `"data_base64":"` + base64.StdEncoding.EncodeToString(event["data"]) + `"`
	for _, b := range [][]byte{
		edit(plain, inBase64), edit(plain, plain+","+inBase64), edit(`"correlationid"`, inBase64+`,"correlationid"`),
		[]byte(full + " "), []byte(full + "\n"), []byte(" " + full), []byte("\ufeff" + full), []byte(full + "x"), []byte(full + "}"),
		[]byte(full + "\x00"), []byte(full + full), []byte(strings.TrimSuffix(full, "}") + `,"reason":"late"}`), []byte("null"), nil,
	} {
		wantDecodedAlike(t, b)
		if wantReadAlike(t, b) {
			t.Errorf("%s takes the canonical way", b)
		}
	}
}

// members returns the members of an object as they stand there.
func members(tb testing.TB, object []byte) (all map[string]json.RawMessage) {
	tb.Helper()
	if err := json.Unmarshal(object, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

// nearlyCanonical returns parts of the full event and what to put in their place.
func nearlyCanonical() map[string][]string {
	times := func(name string) (edits []string) {
		for _, v := range []string{
			`null`, `""`, `"Z"`, `2026`, `"2026-03-14T24:00:00Z"`, `"2026-06-30T23:59:60Z"`, `"2026-02-29T00:00:00Z"`, `"2026-03-14t09:26:53Z"`,
			`"2026-03-14T09:26:53z"`, `"2026-03-14 09:26:53Z"`, `"2026-03-14T09:26:53"`, `"2026-03-14T09:26:53+0100"`, `"10000-01-01T00:00:00Z"`,
			`"2026-03-14T09:26:53+25:00"`, `"2026-03-14T09:26:53\u005a"`, `"2026-03-14T09:26:53Z "`, `"2026-13-14T09:26:53Z"`, `"-026-03-14T09:26:53Z"`,
		} {
			edits = append(edits, name+v)
		}
		return edits
	}
	return map[string][]string{
		// The order, the spelling and the number of keys.
		`{"specversion":"1.0","id":`:         {`{"id":"0","specversion":"1.0","id":`, `{"specversion":"0.3","id":`, `{"specversion":1.0,"id":`, `{"id":`, `[{"id":`},
		`,"id":`:                             {`,"ID":`, `,"Id":`, `,"i\u0064":`, `,"id":"0","id":`, `,"id" :`, `,"id": `, ` ,"id":`, `,,"id":`, `"id":`, `,id:`},
		`"provisional":true,"deleted":true`:  {`"deleted":true,"provisional":true`, `"provisional":true,"deleted":true,"deleted":false`},
		`"reason":"nightly check"`:           {`"reason":7`, `"reason":null`, `"reason":{}`, `"reason":"","reason":"x"`, `"severity":3,"reason":"x"`, `"Reason":"x"`},
		`"oauth_window_uri":`:                {`"weather":{"sun":[1]},"oauth_window_uri":`, `"oauth_window_uri":null,"oauth_window_uri":`},
		`"actor":"user","kind":"authorize"`:  {`"kind":"authorize","actor":"user"`, `"actor":"user"`, `"actor":null,"kind":"x"`, `"actor":"user","kind":"x","x":1`},
		`"datacontenttype":"application/js`:  {`"datacontenttype":"text/js`, `"datacontenttype":"application/vnd.x+js`, `"datacontenttype":"application\/js`},
		`"connection_status_message":"`:      {`"connection_status_message":"x","connection_status_message":"`, `"shoe_size":42,"connection_status_message":"`},
		`"guid":"` + memberGUID + `","id":`:  {`"id":"1","guid":"` + memberGUID + `","id":`, `"guid":null,"id":`, `"guid":1,"id":`},
		`,"error":{`:                         {`,"error":[{`, `,"error":{"error_class":1,`, `,"error":{}, "x":{`},
		`"data":{"member":{`:                 {`"data":"{"member":{`, `"data":null,"x":{"member":{`, `"data":{"member":null,"member":{`, `"data":[{"member":{`},
		`"user_message":"","locale":"en"}`:   {`"locale":"en","user_message":""}`, `"user_message":"","locale":"en","x":1}`, `"user_message":""}`},
		`"is_oauth":true,"needs`:             {`"is_oauth":"true","needs`, `"is_oauth":True,"needs`, `"is_oauth":1,"needs`, `"is_oauth":tru,"needs`, `"is_oauth":,"needs`},
		`"oauth_required":true`:              {`"oauth_required":null`, `"oauth_required":truefalse`},
		`"changed":["connection_status",`:    {`"changed":[null,`, `"changed":[1,`, `"changed":[,`, `"changed":["a""b",`, `"changed":[[],`, `"changed":{"a":`, `"changed":[ "a",`},
		`"oauth_required"],"action"`:         {`"oauth_required",],"action"`, `"oauth_required","action"`, `"oauth_required"}],"action"`, `"oauth_required"]],"action"`},
		`"previous":{`:                       {`"previous":{,`, `"previous":{}{`, `"previous":[`, `"previous":"{`, `"previous":{"a":`, `"previous":{"a":1 ,`, `"previous":{ `, `"previous":{1:2,`},
		`["MONEY_MOVEMENT","PFM"]},"changed`: {`["PFM"],},"changed`, `["PFM"}},"changed`, `["PFM"],"changed`, `["PFM",1]},"changed`, `[["PFM"]]},"changed`, `{}},"changed`, `{"a":1}},"changed`},

		// Strings.
		`Crédit`: {
			`Cr\u00e9dit`, `\"`, `\\`, `\/`, `\n`, `\x`, `\ud83c\udfe6`, `\ud83c`, `\udfe6\ud83c`, `\u0000`, "\x00", "\x1f", "\t", "\n", "\"",
			"\xff", "Cr\xe9dit", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		},
		`"subject":"`:  {"\"subject\":\"\xff", `"subject":"\u0041`, "\"subject\":\"\x01"}, // nobody reads it
		`"sequence":"`: {"\"sequence\":\"\xff", `"sequence":1,"x":"`, `"sequence":"\"`},
		`"CONNECTED"`:  {"\"\xff\"", `"\u0041"`, "\"\x01\"", `"\"`, `CONNECTED`},
		`"number":`:    {"\"n\xff\":", `"n\u0041":`, `number:`, `"number"`, `"number"::`},

		// Numbers.
		`"revision":2,`: {
			`"revision":02,`, `"revision":00,`, `"revision":-0,`, `"revision":-2,`, `"revision":+2,`, `"revision":2.0,`, `"revision":2e0,`, `"revision":2E+0,`,
			`"revision":18446744073709551616,`, `"revision":1000000000000000000000000000000,`,
			`"revision":"2",`, `"revision":null,`, `"revision":,`, `"revision":0x2,`, `"revision":2_0,`, `"revision":٢,`,
		},
		`"error_code":2004`: {
			`"error_code":02004`, `"error_code":-`, `"error_code":--1`, `"error_code":-02`, `"error_code":+1`, `"error_code":1.0`, `"error_code":1e3`,
			`"error_code":9223372036854775808`, `"error_code":-9223372036854775809`, `"error_code":"2004"`, `"error_code":nul`, `"error_code":true`,
		},
		`"number":-17`: {
			`"number":007`, `"number":-`, `"number":-00`, `"number":+1`, `"number":1.5`, `"number":1e5`, `"number":.5`, `"number":1.`, `"number":1e`,
			`"number":tru`, `"number":nulll`, `"number":NaN`, `"number":"`, `"number":[`, `"number":{`, `"number":1 `,
			`"number":nan`, `"number":[[]]`, `"number":[1]`, `"number":{"a":1}`, `"number":{}`, `"number":`,
		},

		// Times.
		`"time":"2026-03-14T09:26:53.589793Z"`:        times(`"time":`),
		`"observed_at":"2026-03-14T09:26:53.589793Z"`: times(`"observed_at":`),
		`"successfully_aggregated_at":"2026-03-13T22:15:41Z"`: slices.DeleteFunc(times(`"successfully_aggregated_at":`), func(s string) bool {
			return strings.HasSuffix(s, "null")
		}),
	}
}

// canonicalToo returns edits after which the event is one that could have been
// encoded, or says the same to both ways.
func canonicalToo() map[string][]string {
	times := []string{
		`"2026-03-14T09:26:53.000000001Z"`, `"2026-03-14T09:26:53.0000000001Z"`, `"2026-03-14T09:26:53.500Z"`, `"2026-03-14T09:26:53+00:00"`, `"2026-03-14T09:26:53-01:30"`,
		`"2026-03-14T09:26:53,5Z"`, `"2024-02-29T00:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59.999999999Z"`, `"0001-01-01T00:00:00Z"`,
	}
	edits := map[string][]string{
		`com.example.member.pending`: {
			`member.pending`, `member.quarantined`, `order.created`, `member.refresh`, ``, `member.`, `member.refresh.result`, `member.member.pending`,
		},
		`"guid":"MBR-`:      {`"guid":"MBR*`, `"guid":"a.b`, `"guid":" `, `"guid":"` + strings.Repeat("x", 64)},
		`"user_guid":"USR-`: {`"user_guid":"USR>`, `"user_guid":"é`},
		`"source":"/mx/users/` + userGUID + `/members/` + memberGUID + `"`: {`"source":""`},
		`"dataschema":"https://`:   {`"dataschema":"`},
		`Crédit`:                   {``, "\x7f", "\u2028", "\u0080", "\ufffd", "\U0010ffff", "<&>'/"},
		`"name":null`:              {`"deleted":null`, `"é":null`, `"":null`}, // of two with one name the last counts
		`"previous":{`:             {`"previous":{"zero":0,`, `"previous":{"zero":-0,`, `"previous":{"a":1234567890123456789012345678901234567890,`},
		`"revision":2,`:            {`"revision":0,`, `"revision":18446744073709551615,`},
		`"error_code":2004`:        {`"error_code":0`, `"error_code":-0`, `"error_code":-1`, `"error_code":9223372036854775807`, `"error_code":-9223372036854775808`, `"error_code":null`},
		`"reason":"nightly check"`: {`"reason":""`},
	}
	for _, v := range times {
		edits[`"time":"2026-03-14T09:26:53.589793Z"`] = append(edits[`"time":"2026-03-14T09:26:53.589793Z"`], `"time":`+v)
		edits[`"observed_at":"2026-03-14T09:26:53.589793Z"`] = append(edits[`"observed_at":"2026-03-14T09:26:53.589793Z"`], `"observed_at":`+v)
	}
	return edits
}

// TestEveryByteCountsOnTheCanonicalWay changes, adds and takes away each byte of an event.
func TestEveryByteCountsOnTheCanonicalWay(t *testing.T) {
	t.Parallel()
	full := encoded(t, fullEvent(t))
	for i := range full {
		wantReadAlike(t, []byte(full[:i]))
		wantReadAlike(t, []byte(full[:i]+full[i+1:]))
		for _, c := range []string{"\"", "\\", ",", "}", " ", "0", "n", "\x1f", "\xff"} {
			wantReadAlike(t, []byte(full[:i]+c+full[i+1:]))
			wantReadAlike(t, []byte(full[:i]+c+full[i:]))
		}
		if t.Failed() {
			return // the next thousand would say the same
		}
	}
}

func TestDecodedEventKeepsNothingOfTheInput(t *testing.T) {
	t.Parallel()
	b := []byte(encoded(t, fullEvent(t)))
	want, err := events.General(bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	if !wantReadAlike(t, b) {
		t.Fatal("the full event does not take the canonical way")
	}
	got, err := events.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 'x'
	}
	for name, was := range got.Data.Previous {
		got.Data.Previous[name] = append(was, "and more"...)[:len(was)] // nor do two values share memory
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("input overwritten, the event is %+v\nwant %+v", got, want)
	}
}

func TestTimeOfAnEventIsUTCInWhateverZoneItCame(t *testing.T) {
	t.Parallel()
	const written = `"time":"2026-03-14T09:26:53.589793Z"`
	full := encoded(t, fullEvent(t))
	for _, now := range []string{written, `"time":"2026-03-14T10:26:53.589793+01:00"`, `"time": "2026-03-14T08:26:53.589793-01:00"`} {
		e, err := events.Decode([]byte(strings.Replace(full, written, now, 1)))
		if err != nil || e.Time != observedAt {
			t.Errorf("%s is read as %s, %v; want %s", now, e.Time, err, observedAt)
		}
	}
}
