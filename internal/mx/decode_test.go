package mx

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// anyRequest names the member by a partner's ids, so that every guid will do.
var anyRequest = &request{user: "u-1", member: "m-1"}

func decode(body string, r *request) (Member, error) {
	var s scanner
	s.reset([]byte(body))
	return decodeMember(&s, r)
}

// decodeLoosely decodes, and tells what was passed over.
func decodeLoosely(body string) (Member, []string, error) {
	var s scanner
	s.reset([]byte(body))
	m, err := decodeMember(&s, anyRequest)
	return m, s.unread, err
}

// answer is a minimal answer with further fields.
func answer(fields string) string {
	if fields != "" {
		fields = "," + fields
	}
	return `{"member":{"guid":"MBR-1","user_guid":"USR-1"` + fields + `}}`
}

// useCases is a list of n names of some length.
func useCases(n, length int) string {
	return `["` + strings.Join(slices.Repeat([]string{strings.Repeat("X", length)}, n), `","`) + `"]`
}

func instant(tb testing.TB, text string) *time.Time {
	tb.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		tb.Fatal(err)
	}
	return new(at.UTC())
}

func TestDecodeMemberReadsThePublishedExample(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/read_member.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(string(body), &request{
		user:   "USR-fa7537f3-48aa-a683-a02a-b18940482f54",
		member: "MBR-7c6f361b-e582-15b6-60c0-358f12466b4b",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Member{
		GUID:                            "MBR-7c6f361b-e582-15b6-60c0-358f12466b4b",
		UserGUID:                        "USR-fa7537f3-48aa-a683-a02a-b18940482f54",
		ID:                              new("unique_id"),
		UserID:                          new("u-1234"),
		Name:                            new("MX Bank"),
		InstitutionCode:                 new("mxbank"),
		InstitutionGUID:                 new("INST-12345678-90ab-cdef-1234-567890abcdef"),
		ConnectionStatus:                new("CONNECTED"),
		ConnectionStatusMessage:         new("Connected to MX Bank"),
		IsOAuth:                         new(false),
		IsManual:                        new(false),
		IsManagedByUser:                 new(false),
		IsBeingAggregated:               new(false),
		BackgroundAggregationIsDisabled: new(false),
		NeedsUpdatedCredentials:         new(false),
		AggregatedAt:                    instant(t, "2016-10-13T18:07:57Z"),
		SuccessfullyAggregatedAt:        instant(t, "2016-10-13T17:57:38Z"),
		UseCases:                        []string{"PFM"},
		OAuthWindowURI:                  URI(got.OAuthWindowURI.Reveal()), // Checked below: a difference must not print it.
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("member differs (-want +got):\n%s", diff)
	}
	if uri := got.OAuthWindowURI.Reveal(); !strings.HasPrefix(uri, "https://mxbank.mx.com/oauth/authorize?client_id=b8") ||
		!strings.HasSuffix(uri, "&state=d745bd4ee6f0f9c184757f574bcc2df2") {
		t.Error("the uri is not that of the example")
	}
}

func TestDecodeMemberTellsUnknownFromKnown(t *testing.T) {
	t.Parallel()
	base := Member{GUID: "MBR-1", UserGUID: "USR-1"}
	nulls := `"id":null,"user_id":null,"name":null,"institution_code":null,"institution_guid":null,"connection_status":null,` +
		`"connection_status_message":null,"is_oauth":null,"is_manual":null,"is_managed_by_user":null,"is_being_aggregated":null,` +
		`"background_aggregation_is_disabled":null,"needs_updated_credentials":null,"aggregated_at":null,` +
		`"successfully_aggregated_at":null,"use_cases":null,"error":null,"oauth_window_uri":null,"metadata":null`
	for _, c := range []struct {
		name, fields string
		want         func(*Member)
	}{
		{"every field absent", ``, func(*Member) {}},
		{"every field null", nulls, func(*Member) {}},
		{"blank status", `"connection_status":""`, func(*Member) {}},
		{"blank times", `"aggregated_at":"","successfully_aggregated_at":""`, func(*Member) {}},
		{"blank name is a name", `"name":""`, func(m *Member) { m.Name = new("") }},
		{"blank uri", `"oauth_window_uri":""`, func(*Member) {}},
		{"uri", `"oauth_window_uri":"https:\/\/bank.test\/a?b=c","name":"after"`, func(m *Member) {
			m.OAuthWindowURI = "https://bank.test/a?b=c"
			m.Name = new("after")
		}},
		{"unknown status", `"connection_status":"SOME_NEW_1"`, func(m *Member) { m.ConnectionStatus = new("SOME_NEW_1") }},
		{"no use cases", `"use_cases":[]`, func(m *Member) { m.UseCases = []string{} }},
		{"use cases", `"use_cases":["MONEY_MOVEMENT",null,"NEW_ONE","PFM"]`, func(m *Member) {
			m.UseCases = []string{"MONEY_MOVEMENT", "NEW_ONE", "PFM"}
		}},
		{"use cases without a name", `"use_cases":["","PFM",""]`, func(m *Member) { m.UseCases = []string{"PFM"} }},
		{"as many use cases as an event may hold", `"use_cases":` + useCases(64, 64), func(m *Member) {
			m.UseCases = slices.Repeat([]string{strings.Repeat("X", 64)}, 64)
		}},
		{"times in every form", `"aggregated_at":"2016-10-13T18:07:57.000Z","successfully_aggregated_at":"2016-10-13T20:07:53+02:00"`, func(m *Member) {
			m.AggregatedAt = instant(t, "2016-10-13T18:07:57Z")
			m.SuccessfullyAggregatedAt = instant(t, "2016-10-13T18:07:53Z")
		}},
		{"times in more forms", `"aggregated_at":"2016-10-13T18:07:23Z","successfully_aggregated_at":"2016-10-13T18:07:53+00:00"`, func(m *Member) {
			m.AggregatedAt = instant(t, "2016-10-13T18:07:23Z")
			m.SuccessfullyAggregatedAt = instant(t, "2016-10-13T18:07:53Z")
		}},
		{"flags", `"is_oauth":true,"is_manual":false,"needs_updated_credentials":true`, func(m *Member) {
			m.IsOAuth, m.IsManual, m.NeedsUpdatedCredentials = new(true), new(false), new(true)
		}},
		{"fields nobody needs, of any type", `"metadata":{"a":[1,{"b":null}]},"most_recent_job_detail_code":"x","most_recent_job_detail_text":17,` +
			`"most_recent_job_guid":[true],"invented_tomorrow":-1.5e+9,"id":"a"`, func(m *Member) { m.ID = new("a") }},
		{"metadata that is not json", `"metadata":"\\\"x\\\": {","id":"a"`, func(m *Member) { m.ID = new("a") }},
		{"escaped text", `"name":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83d!"`, func(m *Member) {
			m.Name = new("\"\\/\b\f\n\r\té😀\ufffd!")
		}},
		{"text that is not UTF-8", "\"name\":\"a\xff\xfeb\"", func(m *Member) { m.Name = new("a\ufffd\ufffdb") }},
		{"escaped key", `"\u006eame":"a"`, func(m *Member) { m.Name = new("a") }},
		{"a key twice", `"name":"a","name":"b"`, func(m *Member) { m.Name = new("b") }},
		{"white space everywhere", "\"name\" :\n\t\"a\" , \"use_cases\" : [ \"PFM\" , \"PFM\" ] ", func(m *Member) {
			m.Name, m.UseCases = new("a"), []string{"PFM", "PFM"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := decode(answer(c.fields), anyRequest)
			if err != nil {
				t.Fatal(err)
			}
			want := base
			c.want(&want)
			// What is absent has a test of its own.
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Member{}, "Absent")); diff != "" || want.OAuthWindowURI != got.OAuthWindowURI {
				t.Errorf("member differs (-want +got):\n%s", diff)
			}
			if at := got.SuccessfullyAggregatedAt; at != nil && at.Location() != time.UTC {
				t.Errorf("time is in %v", at.Location())
			}
			// nil and empty are different answers.
			if (want.UseCases == nil) != (got.UseCases == nil) {
				t.Errorf("use cases are %#v, want %#v", got.UseCases, want.UseCases)
			}
		})
	}
}

func TestDecodeMemberNamesTheTextsThatAreAbsent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, fields string
		want         []string
	}{
		{"all absent", ``, []string{
			"id", "user_id", "name", "institution_code", "institution_guid", "connection_status", "connection_status_message",
		}},
		{"none absent", `"id":null,"user_id":"u","name":"","institution_code":"c","institution_guid":null,` +
			`"connection_status":null,"connection_status_message":null`, nil},
		{"blank status is there", `"connection_status":"","id":"a","user_id":"u"`, []string{
			"name", "institution_code", "institution_guid", "connection_status_message",
		}},
	} {
		m, err := decode(answer(c.fields), anyRequest)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, m.Absent); diff != "" {
			t.Errorf("%s: absent differs (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestDecodeMemberReadsErrorsInEveryForm(t *testing.T) {
	t.Parallel()
	whole := &Error{Code: new(2004), Type: new("MEMBER"), Message: new("m"), UserMessage: new("u"), Locale: new("en")}
	for _, c := range []struct {
		name, value string
		want        *Error
	}{
		{"null", `null`, nil},
		{"empty object", `{}`, nil},
		{"empty string", `""`, nil},
		{"blank string", `"  "`, nil},
		{"string of an empty object", `"{}"`, nil},
		{"string of null", `"null"`, nil},
		{"object of nulls", `{"error_code":null,"error_type":null,"error_message":"","user_message":null}`, nil},
		{"object with a locale alone", `{"locale":"en"}`, nil},
		{"object", `{"error_code":2004,"error_type":"MEMBER","error_message":"m","user_message":"u","locale":"en"}`, whole},
		{"object in a string", `"{\"error_code\":2004,\"error_type\":\"MEMBER\",\"error_message\":\"m\",\"user_message\":\"u\",\"locale\":\"en\"}"`, whole},
		{"code in a string", `{"error_code":"2004"}`, &Error{Code: new(2004)}},
		{"code with a fraction of nothing", `{"error_code":2004.0}`, &Error{Code: new(2004)}},
		{"code with an exponent", `{"error_code":2.004E+3}`, &Error{Code: new(2004)}},
		{"code with a negative exponent", `{"error_code":-20040e-1}`, &Error{Code: new(-2004)}},
		{"blank code", `{"error_code":"","error_type":"MEMBER"}`, &Error{Type: new("MEMBER")}},
		{"further fields", `{"error_code":1000,"retry":{"in":[1,2]}}`, &Error{Code: new(1000)}},
		{"sentence", `"The bank is \"closed\"."`, &Error{Message: new(`The bank is "closed".`)}},
		{"almost json", `"{\"error_code\":2004"`, &Error{Message: new(`{"error_code":2004`)}},
		{"object and more", `"{} x"`, &Error{Message: new(`{} x`)}},
		{"json of another type", `"[2004]"`, &Error{Message: new(`[2004]`)}},
		{"string of json with a bad code", `"{\"error_code\":true}"`, &Error{Message: new(`{"error_code":true}`)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := decode(answer(`"error":`+c.value+`,"name":"after"`), anyRequest)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Error); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
			if got.Name == nil || *got.Name != "after" {
				t.Error("the field after the error was lost")
			}
		})
	}
}

func TestDecodeMemberCutsTextsThatNoEventCouldHold(t *testing.T) {
	t.Parallel()
	const most = 4096
	for _, c := range []struct {
		text string
		want int
	}{
		{strings.Repeat("x", most), most},
		{strings.Repeat("x", most+1), most},
		{strings.Repeat("ü", most), most - 1}, // no half of one is left
	} {
		m, err := decode(answer(fmt.Sprintf(`"name":%q,"connection_status_message":%[1]q,"error":{"error_message":%[1]q,"user_message":%[1]q}`, c.text)), anyRequest)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range []*string{m.Name, m.ConnectionStatusMessage, m.Error.Message, m.Error.UserMessage} {
			if len(*got) != c.want || !utf8.ValidString(*got) || strings.HasSuffix(*got, "…") != (len(c.text) > most) {
				t.Errorf("of %d bytes %d are left, want %d, ending in %q", len(c.text), len(*got), c.want, (*got)[len(*got)-5:])
			}
		}
	}
}

func TestDecodeMemberRefusesBadAnswersAndNamesTheField(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 65)
	for _, c := range []struct{ name, body, want string }{
		{"empty", ``, "not json"},
		{"white space", " \n", "not json"},
		{"html", `<html>`, "not json"},
		{"bare string", `"member"`, "want an object, have a string"},
		{"null", `null`, "want an object, have null"},
		{"array", `[]`, "want an object, have an array"},
		{"no member", `{"error":"x"}`, "member: missing"},
		{"member null", `{"member":null}`, "member: missing"},
		{"member a string", `{"member":"x"}`, "member: want an object, have a string"},
		{"trailing text", answer(``) + `x`, "not json"},
		{"second document", answer(``) + answer(``), "not json"},
		{"trailing comma", `{"member":{"guid":"MBR-1","user_guid":"USR-1",}}`, "not json"},
		{"no comma", `{"member":{"guid":"MBR-1" "user_guid":"USR-1"}}`, "not json"},
		{"no colon", `{"member" {}}`, "not json"},
		{"key without quotes", `{member:{}}`, "not json"},
		{"control character", answer("\"name\":\"a\nb\""), "not json"},
		{"bad escape", answer(`"metadata":"\x"`), "not json"},
		{"bad code point", answer(`"metadata":"\u12g4"`), "not json"},
		{"signed code point", answer(`"metadata":"\u+123"`), "not json"},
		{"bad literal", answer(`"metadata":nul`), "not json"},
		{"leading zero", answer(`"metadata":01`), "not json"},
		{"bare minus", answer(`"metadata":-`), "not json"},
		{"bare fraction", answer(`"metadata":1.`), "not json"},
		{"bare exponent", answer(`"metadata":1e+`), "not json"},
		{"mismatched brackets", answer(`"metadata":[1}`), "not json"},
		{"too deep", answer(`"metadata":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)), "too deep"},
		{"guid absent", `{"member":{"user_guid":"USR-1"}}`, "member.guid"},
		{"guid null", `{"member":{"guid":null,"user_guid":"USR-1"}}`, "member.guid"},
		{"guid a number", `{"member":{"guid":1,"user_guid":"USR-1"}}`, "member.guid: want a string or null, have a number"},
		{"guid with a dot", `{"member":{"guid":"a.b","user_guid":"USR-1"}}`, "member.guid"},
		{"guid with a wildcard", `{"member":{"guid":"*","user_guid":"USR-1"}}`, "member.guid"},
		{"guid too long", `{"member":{"guid":"` + long + `","user_guid":"USR-1"}}`, "member.guid"},
		{"user guid absent", `{"member":{"guid":"MBR-1"}}`, "member.user_guid"},
		{"user guid with a space", `{"member":{"guid":"MBR-1","user_guid":"a b"}}`, "member.user_guid"},
		{"status in lower case", answer(`"connection_status":"connected"`), "member.connection_status"},
		{"status with a dot", answer(`"connection_status":"A.B"`), "member.connection_status"},
		{"status that begins with a digit", answer(`"connection_status":"1A"`), "member.connection_status"},
		{"status too long", answer(`"connection_status":"` + long + `"`), "member.connection_status"},
		{"status a number", answer(`"connection_status":6`), "member.connection_status: want a string or null, have a number"},
		{"flag a string", answer(`"is_oauth":"yes"`), "member.is_oauth: want true, false or null, have a string"},
		{"uri an object", answer(`"oauth_window_uri":{}`), "member.oauth_window_uri"},
		{"error a number", answer(`"error":2004`), "member.error: want an object, a string or null, have a number"},
		{"error an array", answer(`"error":[]`), "member.error"},
		{"code a boolean", answer(`"error":{"error_code":true}`), "member.error.error_code: want an integer or null, have a boolean"},
		{"code a word", answer(`"error":{"error_code":"x"}`), "member.error.error_code"},
		{"code a fraction", answer(`"error":{"error_code":20.5}`), "member.error.error_code"},
		{"code that an exponent makes a fraction", answer(`"error":{"error_code":2004e-1}`), "member.error.error_code"},
		{"code that an exponent makes too large", answer(`"error":{"error_code":1e99}`), "member.error.error_code"},
		{"code beyond all numbers", answer(`"error":{"error_code":-1e999}`), "member.error.error_code"},
		{"code too large", answer(`"error":{"error_code":99999999999}`), "member.error.error_code"},
		{"nothing but a message that is none", answer(`"error":{"error_code":null,"error_message":5}`), "member.error.error_message: want a string or null, have a number"},
		{"a message that is none, then an id", answer(`"error":{"error_message":5,"id":1}`), "member.error.error_message: want a string or null, have a number"},
		{"a message that is none, then a list", answer(`"error":{"user_message":[],"of":[{"name":1}]}`), "member.error.user_message: want a string or null, have an array"},
		{"error type a number", answer(`"error":{"error_type":1}`), "member.error.error_type: want a string or null, have a number"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, err := decode(c.body, anyRequest)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error is %v, want one with %q", err, c.want)
			}
			if diff := cmp.Diff(Member{}, m); diff != "" {
				t.Errorf("a refused answer left something:\n%s", diff)
			}
		})
	}
}

func TestDecodeMemberPassesOverOptionalFieldsOfAnotherType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fields string
		want   []string
	}{
		{`"id":1`, []string{"member.id"}},
		{`"user_id":true`, []string{"member.user_id"}},
		{`"name":{"first":["x",{"y":"z"}]}`, []string{"member.name"}},
		{`"institution_code":7`, []string{"member.institution_code"}},
		{`"institution_guid":[]`, []string{"member.institution_guid"}},
		{`"connection_status_message":{}`, []string{"member.connection_status_message"}},
		{`"is_manual":"yes"`, []string{"member.is_manual"}},
		{`"is_managed_by_user":1`, []string{"member.is_managed_by_user"}},
		{`"is_being_aggregated":"no"`, []string{"member.is_being_aggregated"}},
		{`"background_aggregation_is_disabled":[true]`, []string{"member.background_aggregation_is_disabled"}},
		{`"needs_updated_credentials":0`, []string{"member.needs_updated_credentials"}},
		{`"aggregated_at":1476382077`, []string{"member.aggregated_at"}},
		{`"aggregated_at":"2016-10-13T18:07:57"`, []string{"member.aggregated_at"}},
		{`"successfully_aggregated_at":"2016-10-13"`, []string{"member.successfully_aggregated_at"}},
		{`"aggregated_at":"9999-12-31T23:59:59-05:00"`, []string{"member.aggregated_at"}}, // of a year 10000, which no event could say
		{`"aggregated_at":"0000-01-01T00:00:00+01:00"`, []string{"member.aggregated_at"}},
		{`"use_cases":"PFM"`, []string{"member.use_cases"}},
		{`"use_cases":["PFM",1,{"a":[2]}]`, []string{"member.use_cases"}},
		{`"use_cases":` + useCases(65, 1), []string{"member.use_cases"}},
		{`"use_cases":` + useCases(70_000, 3), []string{"member.use_cases"}},
		{`"use_cases":` + useCases(1, 65), []string{"member.use_cases"}},
		{`"name":1,"use_cases":{},"id":2`, []string{"member.name", "member.use_cases", "member.id"}},
	} {
		const others = `"connection_status":"DENIED","is_oauth":true,"error":{"error_code":102}`
		for _, body := range []string{answer(c.fields + "," + others), answer(others + "," + c.fields)} {
			got, unread, err := decodeLoosely(body)
			if err != nil {
				t.Errorf("%s: %v", body, err)
				continue
			}
			want := Member{GUID: "MBR-1", UserGUID: "USR-1", ConnectionStatus: new("DENIED"), IsOAuth: new(true), Error: &Error{Code: new(102)}}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Member{}, "Absent")); diff != "" || !slices.Equal(unread, c.want) {
				t.Errorf("%s: unread is %v, want %v (-want +got):\n%s", body, unread, c.want, diff)
			}
		}
	}
	got, unread, err := decodeLoosely(answer(`"error":{"locale":1,"error_code":102,"user_message":{},"error_message":[],"error_type":"MEMBER"},"name":"Gringotts"`))
	want := []string{"member.error.locale", "member.error.user_message", "member.error.error_message"}
	if err != nil || *got.Error.Code != 102 || *got.Error.Type != "MEMBER" || *got.Name != "Gringotts" || !slices.Equal(unread, want) {
		t.Errorf("of an error (%v): %+v, unread %v", err, got, unread)
	}
	absent, err := decode(answer(`"name":1`), anyRequest)
	if err != nil || !slices.Contains(absent.Absent, "name") {
		t.Errorf("a name that cannot be read is not told to be absent (%v): %v", err, absent.Absent)
	}
}

func TestDecodeMemberRefusesEveryTruncation(t *testing.T) {
	t.Parallel()
	body, err := os.ReadFile("testdata/read_member.json")
	if err != nil {
		t.Fatal(err)
	}
	whole := strings.TrimSpace(string(body))
	for n := range len(whole) {
		if _, err := decode(whole[:n], anyRequest); err == nil {
			t.Fatalf("the first %d bytes of %d were believed", n, len(whole))
		}
	}
}

func TestDecodeMemberComparesGuidsOnlyWhenAskedByGuid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		user, member string
		want         error
	}{
		{"USR-1", "MBR-1", nil},
		{"u-9", "m-9", nil},
		{"USR-1", "m-9", nil},
		{"USR-2", "MBR-1", errOtherUser},
		{"USR-1", "MBR-2", errOtherMember},
		{"u-9", "MBR-2", errOtherMember},
		{"USR-2", "m-9", errOtherUser},
	} {
		if _, err := decode(answer(``), &request{user: c.user, member: c.member}); err != c.want { //nolint:errorlint // Unwrapped.
			t.Errorf("asked for %s of %s: error is %v, want %v", c.member, c.user, err, c.want)
		}
	}
}

func TestDecodedMemberOutlivesItsBuffer(t *testing.T) {
	t.Parallel()
	body := []byte(answer(`"name":"kept","use_cases":["NEW_ONE"],"error":{"error_message":"kept"},"oauth_window_uri":"kept"`))
	var s scanner
	s.reset(body)
	m, err := decodeMember(&s, anyRequest)
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	clear(s.arena[:cap(s.arena)])
	if *m.Name != "kept" || m.UseCases[0] != "NEW_ONE" || *m.Error.Message != "kept" || m.OAuthWindowURI.Reveal() != "kept" || m.GUID != "MBR-1" {
		t.Error("the member changed with the buffer it was read from")
	}
}
