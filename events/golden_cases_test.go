package events_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// goldenCases returns what the golden files are made of, by file name.
func goldenCases(t *testing.T) map[string][]byte {
	t.Helper()
	cases := map[string][]byte{}
	for name, e := range goldenEvents(t) {
		b, err := e.Encode()
		if err != nil {
			t.Fatalf("encoding %s: %v", name, err)
		}
		cases[name+".json"] = b
	}
	for name, r := range goldenResults() {
		b, err := r.Encode(subjects(t))
		if err != nil {
			t.Fatalf("encoding %s: %v", name, err)
		}
		cases[events.ResultType+"."+name+".json"] = b
	}
	for name, v := range goldenPlain(cases) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("encoding %s: %v", name, err)
		}
		cases[name+".json"] = b
	}
	return cases
}

// goldenPlain returns what is sent as JSON that is no CloudEvent. Answers have
// the state of an event among cases.
func goldenPlain(cases map[string][]byte) map[string]any {
	refresh := events.Command{User: userGUID, Member: memberGUID, CommandID: "cmd-7f3a", Aggregate: true, Reason: "the user asked"}
	results := goldenResults()
	state := func(name string) *events.Data {
		e, err := events.Decode(cases[name+".json"])
		if err != nil {
			panic(err)
		}
		return &e.Data
	}
	pending := state("member.pending")
	return map[string]any{
		"member.refresh":         refresh,
		"member.refresh.minimal": events.Command{User: "anna@example.com", Member: "checking_17"},
		"member.refresh.of":      map[string]any{"aggregate": true, "command_id": "cmd-7f3b"}, // its subject names the member
		"deadletter":             goldenDeadLetter(),

		"api.refresh.request":           events.RefreshRequest{Command: refresh, TimeoutMS: 30_000},
		"api.refresh.response":          events.RefreshResponse{Result: results["changed"], State: pending},
		"api.refresh.response.no_state": events.RefreshResponse{Result: results["unchanged"]},
		"api.get.request":               events.GetRequest{User: userGUID, Member: memberGUID},
		"api.get.response":              events.GetResponse{UserGUID: userGUID, MemberGUID: memberGUID, EventID: results["changed"].EventID, EventType: events.TypePending, State: *pending},
		"api.oauth_uri.request":         goldenOAuthURIRequest(),
		"api.oauth_uri.request.minimal": events.OAuthURIRequest{User: "anna@example.com", Member: "checking_17"},
		"api.oauth_uri.response":        events.OAuthURIResponse{OAuthWindowURI: "https://mxbank.example/oauth/authorize?client_id=b8Oik&state=d745bd4e&scope=openid"},
		"api.error":                     events.APIError{Code: events.APIInvalid, Message: "member: missing; give MX's guid or your own id"},
	}
}

func goldenOAuthURIRequest() events.OAuthURIRequest {
	return events.OAuthURIRequest{
		User: userGUID, Member: memberGUID,
		ReferralSource: events.ReferralApp, ClientRedirectURL: "myapp://bank-connected",
		EnableApp2App: new(true), SkipAggregation: new(false), UIMessageWebviewURLScheme: "myapp", TimeoutMS: 20_000,
	}
}

// change is a field that changed, with its former value.
type change struct {
	field string
	was   any
}

// scene is how a member came to a status.
type scene struct {
	status, from events.Status
	actor        events.Actor
	kind         events.ActionKind
	code         int // of an error that appeared with it; 0: none
	errType      string
	oauth        bool
	provisional  bool
}

func goldenEvents(t *testing.T) map[string]events.Event {
	t.Helper()
	cases := map[string]events.Event{}
	for i, s := range []scene{ // a new one goes to the end, since its place makes its revision
		{events.StatusPrevented, events.StatusDenied, events.ActorUser, events.ActionUpdateCredentials, 2005, "MEMBER", false, false},
		{events.StatusDenied, events.StatusCreated, events.ActorUser, events.ActionUpdateCredentials, 2005, "MEMBER", false, false},
		{events.StatusChallenged, events.StatusCreated, events.ActorUser, events.ActionAnswerChallenge, 0, "", false, true},
		{events.StatusRejected, events.StatusResumed, events.ActorUser, events.ActionAnswerChallenge, 2002, "MEMBER", false, false},
		{events.StatusLocked, events.StatusConnected, events.ActorUser, events.ActionVisitInstitution, 1002, "ACCOUNT", false, false},
		{events.StatusConnected, events.StatusUpdated, events.ActorNone, events.ActionNone, 0, "", true, true},
		{events.StatusImpeded, events.StatusConnected, events.ActorUser, events.ActionVisitInstitution, 0, "", false, false},
		{events.StatusReconnected, events.StatusConnected, events.ActorUser, events.ActionAnswerChallenge, 0, "", false, false},
		{events.StatusDegraded, events.StatusConnected, events.ActorNone, events.ActionWait, 3002, "INSTITUTION", false, false},
		{events.StatusDisconnected, events.StatusDegraded, events.ActorSupport, events.ActionContactSupport, 0, "", false, false},
		{events.StatusDiscontinued, events.StatusDisconnected, events.ActorNone, events.ActionNone, 0, "", false, false},
		{events.StatusClosed, events.StatusConnected, events.ActorNone, events.ActionNone, 0, "", false, false},
		{events.StatusDelayed, events.StatusCreated, events.ActorNone, events.ActionWait, 0, "", false, true},
		{events.StatusFailed, events.StatusDelayed, events.ActorNone, events.ActionWait, 1000, "ACCOUNT", false, false},
		{events.StatusUpdated, events.StatusPending, events.ActorNone, events.ActionWait, 0, "", true, true},
		{events.StatusDisabled, events.StatusConnected, events.ActorSupport, events.ActionContactSupport, 0, "", false, false},
		{events.StatusImported, events.StatusCreated, events.ActorUser, events.ActionUpdateCredentials, 0, "", false, false},
		{events.StatusResumed, events.StatusChallenged, events.ActorNone, events.ActionWait, 0, "", false, true},
		{events.StatusExpired, events.StatusChallenged, events.ActorUser, events.ActionAnswerChallenge, 2003, "MEMBER", false, false},
		{events.StatusImpaired, events.StatusConnected, events.ActorUser, events.ActionAuthorize, 2004, "MEMBER", true, false},
		// A status that MX added after this version.
		{"QUARANTINED", events.StatusConnected, events.ActorNone, events.ActionNone, 0, "", false, false},
	} {
		e := goldenStatus(t, s, uint64(i)+2)
		cases[string(e.Type)] = e
	}
	cases["member.created"] = goldenFirstSight(t)
	pending := pendingEvent(t)
	cases["member.pending"] = pending
	cases["member.oauth_required"] = pending.Announcement("https://mxbank.example/oauth/authorize?client_id=b8Oik&state=d745bd4e&scope=openid")
	cases["member.oauth_required.without_uri"] = pending.Announcement("")

	prefixed := cases["member.connected"]
	prefixed.Prefix, prefixed.Tracestate = "com.example.", "rojo=00f067aa0ba902b7"
	prefixed.Reason = "Käse & <Wein> \"zurück\""
	cases["member.connected.prefixed"] = prefixed

	cases["member.discovered"] = goldenDiscovered(t)
	fault := &events.Error{
		Code: new(3000), Type: new("INSTITUTION"), Message: new("The institution is down."),
		UserMessage: new("Please try again later."), Locale: new("en"),
	}
	connected := snapshot(events.StatusConnected)
	faulty := connected
	faulty.Error = fault
	idle := connected
	idle.IsOAuth, idle.UseCases = new(false), []string{}
	wait := events.Action{Actor: events.ActorNone, Kind: events.ActionNone}
	for typ, d := range map[events.Type]events.Data{
		events.TypeErrorRaised: changed(t, events.Data{Member: faulty, Action: wait, Revision: 8}, change{"error", nil}),
		events.TypeErrorCleared: changed(t, events.Data{Member: connected, Action: wait, Revision: 9},
			change{"error", fault}, change{"aggregated_at", "2026-03-14T03:00:00Z"}),
		events.TypeAttributesChanged: changed(t, events.Data{Member: idle, Action: wait, Revision: 10},
			change{"id", nil}, change{"name", "MX Bank"}, change{"is_being_aggregated", true},
			change{"is_oauth", true}, change{"use_cases", []string{"PFM"}}, change{"provisional", true}),
		events.TypeAggregated: changed(t, events.Data{Member: connected, Action: wait, Revision: 11},
			change{"aggregated_at", "2026-03-13T22:15:00Z"}, change{"successfully_aggregated_at", nil}),
		events.TypeDeleted: changed(t, events.Data{Member: faulty, Action: wait, Deleted: true, Revision: 12}, change{"deleted", false}),
	} {
		cases[string(typ)] = goldenEvent(t, typ, d)
	}
	cases["member.connected.reappeared"] = goldenEvent(t, events.TypeConnected,
		changed(t, events.Data{Member: connected, Action: wait, Revision: 13}, change{"deleted", true}))
	return cases
}

// goldenStatus is the event of a change of status.
func goldenStatus(t *testing.T, s scene, revision uint64) events.Event {
	t.Helper()
	m := snapshot(s.status)
	m.IsOAuth, m.IsBeingAggregated = new(s.oauth), new(s.provisional)
	changes := []change{{"connection_status", s.from}, {"connection_status_message", "MX Bank says: " + string(s.from)}}
	if s.code != 0 {
		m.Error = &events.Error{Code: new(s.code), Type: new(s.errType), Message: new("MX names the trouble."), Locale: new("en")}
		changes = append(changes, change{"error", nil})
	}
	if s.provisional {
		changes = append(changes, change{"is_being_aggregated", false})
	}
	need := s.kind == events.ActionAuthorize
	if need {
		changes = append(changes, change{"oauth_required", false})
	}
	if s.provisional {
		changes = append(changes, change{"provisional", false})
	}
	return goldenEvent(t, s.status.Type(), changed(t, events.Data{
		Member: m, Action: events.Action{Actor: s.actor, Kind: s.kind},
		OAuthRequired: need, Provisional: s.provisional, Revision: revision,
	}, changes...))
}

// goldenFirstSight is a member of which MX says no more than it must.
func goldenFirstSight(t *testing.T) events.Event {
	t.Helper()
	return goldenEvent(t, events.TypeCreated, events.Data{
		Member: events.Member{
			GUID: memberGUID, UserGUID: userGUID, ConnectionStatus: new(events.StatusCreated), IsOAuth: new(false),
		},
		Changed: []string{"guid", "user_guid", "connection_status", "is_oauth"},
		Action:  events.Action{Actor: events.ActorNone, Kind: events.ActionWait}, Revision: 1,
	})
}

// goldenDiscovered is a manual member, which has no status.
func goldenDiscovered(t *testing.T) events.Event {
	t.Helper()
	return goldenEvent(t, events.TypeDiscovered, events.Data{
		Member: events.Member{
			GUID: memberGUID, UserGUID: userGUID, Name: new("Manual account"), IsManual: new(true), UseCases: []string{"PFM"},
		},
		Changed: []string{"guid", "user_guid", "name", "is_manual", "use_cases"},
		Action:  events.Action{Actor: events.ActorNone, Kind: events.ActionNone}, Revision: 1,
	})
}

// goldenEvent is the event of type typ that carries d; an odd revision has no
// command behind it, as those of the slow lane.
func goldenEvent(t *testing.T, typ events.Type, d events.Data) events.Event {
	t.Helper()
	d.ObservedAt = observedAt.Add(time.Duration(d.Revision) * time.Hour)
	e := events.New(subjects(t), typ, key(t), d)
	if d.Revision%2 == 0 {
		e.CorrelationID = "cmd-7f3a"
		e.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	}
	return e
}

// changed fills in what changed in d.
func changed(t *testing.T, d events.Data, changes ...change) events.Data {
	t.Helper()
	d.Previous = map[string]json.RawMessage{}
	for _, c := range changes {
		was, err := json.Marshal(c.was)
		if err != nil {
			t.Fatal(err)
		}
		d.Previous[c.field] = was
		d.Changed = append(d.Changed, c.field)
	}
	return d
}

func goldenResults() map[string]events.Result {
	at := observedAt.Add(250 * time.Millisecond)
	return map[string]events.Result{
		"changed": {
			CommandID: "cmd-7f3a", Outcome: events.OutcomeChanged, UserGUID: userGUID, MemberGUID: memberGUID, Revision: 2,
			EventID: "0PQ1L1S9HFJ4E1NJ2UDMTFMC1EC3QKJ5", EventType: events.TypePending, Reason: "nightly check", FinishedAt: at,
		},
		"unchanged": {CommandID: "90071", Outcome: events.OutcomeUnchanged, UserGUID: userGUID, MemberGUID: memberGUID, Revision: 2, FinishedAt: at},
		"not_found": {CommandID: "90072", Outcome: events.OutcomeNotFound, FinishedAt: at},
		"failed":    {CommandID: "90073", Outcome: events.OutcomeFailed, Reason: "member: missing; give MX's guid or your own id", FinishedAt: at},
	}
}

func goldenDeadLetter() events.DeadLetter {
	body := []byte(`{"user":"USR-1"}`)
	sum := sha256.Sum256(body)
	return events.DeadLetter{
		Headers: map[string][]string{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		Body:    body, BodySize: len(body), BodySHA256: hex.EncodeToString(sum[:]),
		Subject: "mx.commands.member.refresh", Stream: "MX_COMMANDS", Sequence: 90073,
		Reason: "member: missing; give MX's guid or your own id", Category: events.CategoryInvalid,
		Attempts: 1, FirstAt: observedAt, DeadAt: observedAt.Add(250 * time.Millisecond),
	}
}
