package oracle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(embeddedtest.Connect(t, embeddedtest.Start(t)))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// reads are the answers that the clean story was made of, with nonsense between.
func reads(s *story) []oracle.Read {
	answer := func(member, status string) oracle.Read {
		return oracle.Read{Member: member, Status: 200, Body: fmt.Appendf(nil, `{"guid":%q,"connection_status":%q}`, member, status)}
	}
	return []oracle.Read{
		answer(plainMember, "CONNECTED"), answer(plainMember, "DISCONNECTED"),
		{Member: plainMember, Status: 500, Body: []byte("oops")},
		{Member: plainMember, Status: 404},
		{Member: plainMember, Status: 404},
		answer(oauthMember, "PENDING"), answer(plainMember, "DELETED"),
		{Member: plainMember, Status: 200, Body: s.truth()[plainMember]},
		{Member: oauthMember, Status: 200, Body: s.truth()[oauthMember]},
		{Member: oauthMember, Status: 200, Body: []byte(`{"guid":"MBR-9","connection_status":"CONNECTED"}`)},
		{Member: oauthMember, Status: 200, Body: []byte(`<html>`)},
	}
}

// options check all there is to check.
func options(s *story, prefix string) oracle.Options {
	return oracle.Options{
		Prefix: prefix, SameClock: true, Secrets: []string{"hunter2"},
		Truth: maps.All(s.truth()), Reads: slices.Values(reads(s)),
		Validate: func(raw []byte) error {
			if bytes.Contains(raw, []byte("unschematic")) {
				return errors.New("does not match the schema")
			}
			return nil
		},
	}
}

func check(t *testing.T, js jetstream.JetStream, opts oracle.Options) oracle.Report {
	t.Helper()
	r, err := oracle.Check(t.Context(), js, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStoryInWhichEveryPromiseIsKeptPasses(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	s.publish(t, js, "mx", 0)
	r := check(t, js, options(s, ""))
	want := "every promise kept in 11 events of 2 members (9 transitions, 2 needs to authorize, 1 announcements, 1 of them without URI)"
	if r.String() != want || !r.OK() {
		t.Errorf("verdict is\n%s\nwant\n%s", r, want)
	}
	only := options(s, "mx")
	only.Member = oauthMember
	if r := check(t, js, only); r.Events != 3 || r.Members != 1 || r.Announcements != 1 || !r.OK() {
		t.Errorf("verdict on one member is\n%s\nwant it kept in 3 events of 1 member", r)
	}
	only.Member = "MBR-3"
	if r := check(t, js, only); r.Events != 0 || !r.OK() {
		t.Errorf("verdict on a stranger is\n%s\nwant it kept in 0 events", r)
	}
	stream, err := js.Stream(t.Context(), "MX_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("checking left %d consumers behind", n)
	}
}

func TestTruthIsComparedByTheRulesOfMX(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	s.publish(t, js, "mx", 0)
	for name, tc := range map[string]struct {
		member string
		answer string // fields of the member object
		want   string // in the first reason; "" for none
	}{
		"nothing said":                        {plainMember, ``, ""},
		"null is no information":              {plainMember, `"connection_status":null,"is_manual":null,"use_cases":null,"is_being_aggregated":null`, ""},
		"a text taken away":                   {plainMember, `"id":null`, `id: MX says null, the last event "mine"`},
		"another status":                      {plainMember, `"connection_status":"CLOSED"`, `connection_status: MX says "CLOSED", the last event "DELETED"`},
		"another id":                          {plainMember, `"id":"x"`, `id: MX says "x"`},
		"another flag":                        {plainMember, `"is_manual":true`, "is_manual: MX says true, the last event null"},
		"use cases in another order":          {plainMember, `"use_cases":["PFM","MONEY_MOVEMENT","PFM"]`, ""},
		"a use case less":                     {plainMember, `"use_cases":["PFM"]`, "use_cases: MX says"},
		"another wording":                     {plainMember, `"connection_status_message":"Hi"`, ""},
		"a time that is not compared":         {plainMember, `"successfully_aggregated_at":"2026-03-01T00:00:00+00:00"`, ""},
		"an aggregation's begin":              {plainMember, `"is_being_aggregated":true`, ""},
		"no error as an empty object":         {plainMember, `"error":{}`, ""},
		"no error as an empty text":           {plainMember, `"error":""`, ""},
		"no error in an object of nulls":      {plainMember, `"error":{"error_code":null,"error_type":null,"error_message":"","user_message":null}`, ""},
		"an error with a message alone":       {plainMember, `"error":{"error_message":"Down."}`, `error: MX says null null, the last event none`},
		"an error":                            {plainMember, `"error":{"error_code":1,"error_type":"MEMBER"}`, `error: MX says 1 "MEMBER", the last event none`},
		"the error as an object":              {oauthMember, `"error":{"error_type":"MEMBER","error_code":2004,"error_message":"any"}`, ""},
		"the error as a text":                 {oauthMember, `"error":"{\"error_code\":2004,\"error_type\":\"MEMBER\"}"`, ""},
		"an error that cannot be read":        {oauthMember, `"error":"whatever"`, ""},
		"an error of another code":            {oauthMember, `"error":{"error_code":2005,"error_type":"MEMBER"}`, `error: MX says 2005 "MEMBER", the last event 2004 "MEMBER"`},
		"the error gone":                      {oauthMember, `"id":null`, `error: MX says none, the last event 2004 "MEMBER"`},
		"a URI for a member without OAuth":    {plainMember, `"oauth_window_uri":"https://x"`, ""},
		"OAuth and a URI for a broken member": {plainMember, `"is_oauth":true,"oauth_window_uri":"https://x"`, "is_oauth: MX says true"},
		"nonsense":                            {plainMember, `"x"`, "the member is not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := oracle.Options{Truth: maps.All(map[string][]byte{tc.member: []byte("{" + tc.answer + "}")})}
			r := check(t, js, opts)
			switch {
			case tc.want == "" && !r.OK():
				t.Errorf("verdict is\n%s\nwant it kept", r)
			case tc.want != "" && (r.OK() || r.Offenses[0].Invariant != oracle.I0 || !strings.Contains(r.Offenses[0].Reason, tc.want)):
				t.Errorf("verdict is\n%s\nwant I0: …%s…", r, tc.want)
			}
		})
	}
}

func TestURIOfMXMakesANeed(t *testing.T) {
	t.Parallel()
	js, s := open(t), newStory()
	s.happen(plainMember, "degraded", obj{"connection_status": "DEGRADED", "is_oauth": true})
	s.publish(t, js, "mx", 0)
	for answer, ok := range map[string]bool{
		`{"oauth_window_uri":""}`:                                                true,
		`{"oauth_window_uri":null}`:                                              true,
		`{"oauth_window_uri":"https://x"}`:                                       false,
		`{"oauth_window_uri":"https://x","is_being_aggregated":true}`:            true,
		`{"oauth_window_uri":"https://x","connection_status":"CONNECTED"}`:       false, // for the status
		`{"member":{"oauth_window_uri":"https://x","is_being_aggregated":null}}`: false,
	} {
		if r := check(t, js, oracle.Options{Truth: maps.All(map[string][]byte{plainMember: []byte(answer)})}); r.OK() != ok {
			t.Errorf("after %s the verdict is\n%s\nwant ok: %t", answer, r, ok)
		}
	}
}

func TestAggregationsAreComparedWhenTheyMakeEvents(t *testing.T) {
	t.Parallel()
	js, s := open(t), newStory()
	s.happen(plainMember, "connected", obj{"connection_status": "CONNECTED"})
	s.happen(plainMember, "aggregated", obj{"successfully_aggregated_at": "2026-02-01T00:00:00Z"})
	s.publish(t, js, "mx", 0)
	for at, ok := range map[string]bool{"2026-02-01T01:00:00+01:00": true, "2026-01-01T00:00:00Z": true, "2026-02-01T00:00:01.000Z": false} {
		truth := map[string][]byte{plainMember: fmt.Appendf(nil, `{"successfully_aggregated_at":%q}`, at)}
		if r := check(t, js, oracle.Options{Aggregated: true, Truth: maps.All(truth)}); r.OK() != ok {
			t.Errorf("after %s the verdict is\n%s\nwant ok: %t", at, r, ok)
		}
	}
}

func TestTrimmedHistoryMayHaveGaps(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	s.events = slices.Delete(slices.Delete(s.events, settled, raised), first, first+1)
	s.publish(t, js, "mx", 0)
	opts := options(clean(), "mx")
	opts.Trimmed = true
	if r := check(t, js, opts); !r.OK() || r.Events != 9 {
		t.Errorf("verdict is\n%s\nwant it kept in 9 events", r)
	}
}

// One announcement is kept of each member, and the event of a later need may be trimmed
// before that of an earlier one, which is of another type.
func TestAnAnnouncementOfATrimmedEventStandsForEarlierNeeds(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	need := len(s.events) - 1
	s.happen(oauthMember, "error_cleared", obj{"error": nil, "oauth_required": false})
	s.events = slices.Delete(s.events, need, need+1)
	s.publish(t, js, "mx", 0)
	if r := check(t, js, oracle.Options{SameClock: true, Trimmed: true}); !r.OK() || r.Announcements != 1 {
		t.Errorf("verdict is\n%s\nwant it kept with one announcement", r)
	}
}

func TestTypePrefixMayEndWithADotOrNot(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	for _, m := range slices.Concat(s.events, s.announcements) {
		m.attrs["type"] = "com.example." + as[string](m.attrs["type"])
	}
	s.publish(t, js, "mx", 0)
	for _, prefix := range []string{"com.example", "com.example."} {
		if r := check(t, js, oracle.Options{EventTypePrefix: prefix}); !r.OK() {
			t.Errorf("with %s the verdict is\n%s\nwant it kept", prefix, r)
		}
	}
}

func TestNeedOlderThanTheStreamKeepsNeedsNoAnnouncement(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	s.publish(t, js, "mx", 100*time.Millisecond) // the shortest age that the server takes
	for r := check(t, js, oracle.Options{}); !r.OK() || r.Announcements > 0; r = check(t, js, oracle.Options{}) {
		if t.Context().Err() != nil {
			t.Fatalf("verdict is still\n%s", r)
		}
	}
}

func TestReportKeepsTheFirstOffensesAndCountsAll(t *testing.T) {
	t.Parallel()
	js, s := open(t), clean()
	for _, m := range s.events {
		m.header.Set("ce-id", "1")
	}
	s.publish(t, js, "mx", 0)
	r := check(t, js, oracle.Options{MaxOffenses: 2})
	if r.Faults != 11 || len(r.Offenses) != 2 || r.OK() {
		t.Fatalf("%d offenses, %d kept; want 11 and 2", r.Faults, len(r.Offenses))
	}
	want := `11 offenses in 11 events of 2 members (9 transitions, 2 needs to authorize, 1 announcements, 1 of them without URI)
	form MX_EVENTS #1 USR-1/MBR-1: header ce-id makes some readers take the event for binary
	form MX_EVENTS #2 USR-2/MBR-2: header ce-id makes some readers take the event for binary
	and 9 more`
	if r.String() != want {
		t.Errorf("verdict is\n%s\nwant\n%s", r, want)
	}
}

func TestCheckReportsStreamsItCannotRead(t *testing.T) {
	t.Parallel()
	js := open(t)
	if _, err := oracle.Check(t.Context(), js, oracle.Options{}); !errors.Is(err, jetstream.ErrStreamNotFound) || !strings.Contains(err.Error(), "MX_EVENTS") {
		t.Errorf("without streams the error is %v, want stream not found with its name", err)
	}
	clean().publish(t, js, "mx", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := oracle.Check(ctx, js, oracle.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended the error is %v, want that", err)
	}
}

func TestStatusWithTheNameOfTheCommandHasATypeOfItsOwn(t *testing.T) {
	t.Parallel()
	js := open(t)
	for prefix, want := range map[string]int{"status_refresh": 0, "refresh": 1} {
		s := newStory()
		s.happen(plainMember, prefix, obj{"connection_status": "REFRESH"})
		s.publish(t, js, prefix, 0)
		if r := check(t, js, oracle.Options{Prefix: prefix}); r.Faults != want {
			t.Errorf("as member.%s the verdict is\n%s\nwant %d offenses", prefix, r, want)
		}
	}
}

func TestActionFollowsFromTheStatus(t *testing.T) {
	t.Parallel()
	table := strings.Fields(`
		CREATED none/wait  PREVENTED user/update_credentials  DENIED user/update_credentials  CHALLENGED user/answer_challenge
		REJECTED user/answer_challenge  LOCKED user/visit_institution  CONNECTED none/none  IMPEDED user/visit_institution
		RECONNECTED user/answer_challenge  DEGRADED none/wait  DISCONNECTED support/contact_support  DISCONTINUED none/none
		CLOSED none/none  DELAYED none/wait  FAILED none/wait  UPDATED none/wait  DISABLED support/contact_support
		IMPORTED user/update_credentials  RESUMED none/wait  EXPIRED user/answer_challenge  IMPAIRED user/update_credentials
		PENDING user/authorize  QUARANTINED none/none`)
	js := open(t)
	for prefix, other := range map[string]bool{"as-it-is": false, "another": true} {
		s := newStory()
		for i := 0; i < len(table); i += 2 {
			m := s.happen(fmt.Sprintf("MBR-%d", i), strings.ToLower(table[i]), obj{"connection_status": table[i]})
			actor, kind, _ := strings.Cut(table[i+1], "/")
			if other {
				actor, kind, _ = strings.Cut(table[(i+3)%len(table)], "/")
				if table[i+1] == table[(i+3)%len(table)] {
					actor = "robot"
				}
			}
			m.data["action"] = obj{"actor": actor, "kind": kind}
		}
		s.publish(t, js, prefix, 0)
		want := 0
		if other {
			want = len(table) / 2
		}
		if r := check(t, js, oracle.Options{Prefix: prefix}); r.Faults != want {
			t.Errorf("with the action of another status: %t, verdict is\n%s\nwant %d offenses", other, r, want)
		}
	}
}
