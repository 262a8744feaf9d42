package member_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

const (
	userGUID   = "USR-fa7537f3-48aa-a683-a02a-b18940482f54"
	memberGUID = "MBR-7c6f361b-e582-15b6-60c0-358f12466b4b"
)

var (
	epoch = time.Date(2026, 3, 14, 9, 20, 0, 0, time.UTC)

	everyStatus = member.Rules{InitialEvents: true}
	everything  = member.Rules{InitialEvents: true, Aggregated: true}
)

// edit changes what MX answers.
type edit = func(*member.Reading)

// answer is a read of a connected OAuth member, of which MX says everything
// except that something is wrong.
func answer(edits ...edit) member.Reading {
	r := member.Reading{
		At: epoch.Add(time.Hour),
		Member: events.Member{
			GUID: memberGUID, ID: new("partner-member-17"),
			UserGUID: userGUID, UserID: new("u-1234"),
			Name: new("MX Bank"), InstitutionCode: new("mxbank"), InstitutionGUID: new("INST-1"),
			ConnectionStatus: new(events.StatusConnected), ConnectionStatusMessage: new("Connected to MX Bank"),
			IsBeingAggregated: new(false), IsManagedByUser: new(true), IsManual: new(false), IsOAuth: new(true),
			NeedsUpdatedCredentials: new(false), BackgroundAggregationIsDisabled: new(false),
			UseCases:                 []string{"MONEY_MOVEMENT", "PFM"},
			AggregatedAt:             new(epoch),
			SuccessfullyAggregatedAt: new(epoch.Add(-time.Hour)),
		},
	}
	for _, e := range edits {
		e(&r)
	}
	return r
}

// nothing is a read in which MX says no more than which member it is about; what it says of the rest is null.
func nothing(edits ...edit) member.Reading {
	r := member.Reading{At: epoch.Add(time.Hour), Member: events.Member{GUID: memberGUID, UserGUID: userGUID}}
	for _, e := range edits {
		e(&r)
	}
	return r
}

func status(s events.Status) edit {
	return func(r *member.Reading) { r.Member.ConnectionStatus = new(s) }
}

func message(s string) edit {
	return func(r *member.Reading) { r.Member.ConnectionStatusMessage = new(s) }
}

func fault(code int) edit {
	return func(r *member.Reading) { r.Member.Error = &events.Error{Code: new(code), Type: new("MEMBER")} }
}

func absent(fields ...string) edit {
	return func(r *member.Reading) { r.Member.Missing = fields }
}

func uri(r *member.Reading)          { r.HasURI = true }
func nullStatus(r *member.Reading)   { r.Member.ConnectionStatus = nil }
func noOAuth(r *member.Reading)      { r.Member.IsOAuth = new(false) }
func unknownOAuth(r *member.Reading) { r.Member.IsOAuth = nil }
func aggregating(r *member.Reading)  { r.Member.IsBeingAggregated = new(true) }
func unmanaged(r *member.Reading)    { r.Member.IsManagedByUser = new(false) }

// event is what an observation came to; its zero value is "nothing happened".
type event struct {
	Type events.Type
	Data events.Data
}

func observe(s *member.State, r member.Reading, rules member.Rules) event {
	t, d, ok := s.Observe(r, rules)
	if !ok {
		return event{}
	}
	return event{t, d}
}

// after is the state that a member is in when MX has answered readings in that order.
func after(tb testing.TB, readings ...member.Reading) member.State {
	tb.Helper()
	var s member.State
	for _, r := range readings {
		if _, d, ok := s.Observe(r, everything); ok {
			s = member.StateOf(&d)
		}
	}
	if !s.Known() {
		tb.Fatal("no reading made the member known")
	}
	return s
}

// wantEvent checks the type of what happened and which fields changed, with
// their former values as JSON: field, value, field, value.
func wantEvent(tb testing.TB, got event, typ events.Type, fieldsAndValues ...string) {
	tb.Helper()
	var changed []string
	previous := map[string]string{}
	for i := 0; i < len(fieldsAndValues); i += 2 {
		changed = append(changed, fieldsAndValues[i])
		previous[fieldsAndValues[i]] = fieldsAndValues[i+1]
	}
	if got.Type != typ {
		tb.Errorf("type is %q, want %q", got.Type, typ)
	}
	if diff := cmp.Diff(changed, got.Data.Changed); diff != "" {
		tb.Errorf("changed (-want +got):\n%s", diff)
	}
	gotPrevious := map[string]string{}
	for f, v := range got.Data.Previous {
		gotPrevious[f] = string(v)
	}
	if diff := cmp.Diff(previous, gotPrevious); diff != "" {
		tb.Errorf("previous (-want +got):\n%s", diff)
	}
}

func wantNothing(tb testing.TB, got event) {
	tb.Helper()
	if got.Type != "" || got.Data.Revision != 0 {
		tb.Errorf("%s with changed %v, want no event", got.Type, got.Data.Changed)
	}
}

// without is the state that a stored event carries whose snapshot lacks a
// field, as one written by a version that did not know it.
func without(tb rapid.TB, s member.State, field string) member.State {
	tb.Helper()
	snapshot := fieldsOf(tb, s.Snapshot)
	if _, ok := snapshot[field]; !ok {
		tb.Fatalf("the snapshot has no %s", field)
	}
	delete(snapshot, field)
	stored := s
	stored.Snapshot = decodeMember(tb, encode(tb, snapshot))
	return stored
}

func fieldsOf(tb rapid.TB, v any) map[string]any {
	tb.Helper()
	var m map[string]any
	if err := json.Unmarshal(encode(tb, v), &m); err != nil {
		tb.Fatal(err)
	}
	return m
}

func encode(tb rapid.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func decodeMember(tb rapid.TB, b []byte) events.Member {
	tb.Helper()
	var m events.Member
	if err := json.Unmarshal(b, &m); err != nil {
		tb.Fatal(err)
	}
	return m
}
