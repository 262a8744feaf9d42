package member_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

func aggregated(r *member.Reading) { r.Member.SuccessfullyAggregatedAt = new(epoch) }

func TestTypeIsThatOfTheMostSignificantChange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		last  member.Reading
		edits []edit
		want  events.Type
	}{
		{"status over all", answer(), []edit{status("DENIED"), fault(2005), unmanaged, aggregated}, "member.denied"},
		{"status over the end of an error", answer(fault(3000)), []edit{status("DEGRADED")}, "member.degraded"},
		{"error over attributes and aggregation", answer(), []edit{fault(3000), unmanaged, aggregated}, "member.error_raised"},
		{"error over the need it makes", answer(), []edit{fault(2004)}, "member.error_raised"},
		{"another code", answer(fault(3000)), []edit{fault(3001)}, "member.error_raised"},
		{"end of an error over attributes", answer(fault(3000)), []edit{unmanaged, aggregated}, "member.error_cleared"},
		{"attributes over aggregation", answer(), []edit{unmanaged, aggregated}, "member.attributes_changed"},
		{"need over aggregation", answer(status("FAILED")), []edit{status("FAILED"), uri, aggregated}, "member.attributes_changed"},
		{"end of an aggregation over its success", answer(aggregating), []edit{aggregated}, "member.attributes_changed"},
		{"aggregation", answer(), []edit{aggregated}, "member.aggregated"},
		{"aggregation over what is only listed", answer(), []edit{aggregating, message("Updating"), aggregated}, "member.aggregated"},
	} {
		s := after(t, c.last)
		if got := observe(&s, answer(c.edits...), everything); got.Type != c.want {
			t.Errorf("%s: type is %q (changed %v), want %q", c.name, got.Type, got.Data.Changed, c.want)
		}
	}
}

func TestEveryStatusHasAnEventOfItsOwn(t *testing.T) {
	t.Parallel()
	want := map[events.Status]events.Type{
		"QUARANTINED": "member.quarantined",
		// MX may one day name a status as we name another thing.
		"DELETED": "member.status_deleted", "DISCOVERED": "member.status_discovered", "AGGREGATED": "member.status_aggregated",
		"ERROR_RAISED": "member.status_error_raised", "ERROR_CLEARED": "member.status_error_cleared",
		"ATTRIBUTES_CHANGED": "member.status_attributes_changed", "OAUTH_REQUIRED": "member.status_oauth_required",
		"REFRESH": "member.status_refresh",
	}
	for e := range events.Types() {
		if e.Status != "" {
			want[e.Status] = e.Type
		}
	}
	for s, typ := range want {
		last := after(t, answer(status("SOMETHING_ELSE")))
		if got := observe(&last, answer(status(s)), everyStatus); got.Type != typ {
			t.Errorf("change to %s: type is %q, want %q", s, got.Type, typ)
		}
		if got := observe(new(member.State), answer(status(s)), everyStatus); got.Type != typ {
			t.Errorf("first sight of %s: type is %q, want %q", s, got.Type, typ)
		}
		last = after(t, answer(status(s)))
		wantNothing(t, observe(&last, answer(status(s)), everyStatus))
	}
}

func TestFirstSight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		r     member.Reading
		rules member.Rules
		want  events.Type
	}{
		{"with a status", answer(), everyStatus, "member.connected"},
		{"with a status, aggregations published", answer(), everything, "member.connected"},
		{"without a status", answer(nullStatus), everyStatus, "member.discovered"},
		{"with a status, initial events off", answer(), member.Rules{}, "member.discovered"},
		{"without a status, initial events off", answer(nullStatus), member.Rules{}, "member.discovered"},
		{"with an error", answer(fault(2004)), everyStatus, "member.connected"},
		{"with an error and no status", answer(fault(2004), nullStatus), everyStatus, "member.discovered"},
		{"of nothing but the guids", nothing(), everyStatus, "member.discovered"},
	} {
		got := observe(new(member.State), c.r, c.rules)
		if got.Type != c.want || got.Data.Revision != 1 || got.Data.Previous != nil {
			t.Errorf("%s: %s at revision %d with previous %v, want %s at 1 with none",
				c.name, got.Type, got.Data.Revision, got.Data.Previous, c.want)
		}
	}
}

func TestFirstSightNamesEveryFieldThatIsNotNull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		r    member.Reading
		want []string
	}{
		{"guids alone", nothing(), []string{"guid", "user_guid"}},
		{
			"a flag that is false, no use cases",
			nothing(func(r *member.Reading) { r.Member.IsManual, r.Member.UseCases = new(false), []string{} }),
			[]string{"guid", "user_guid", "is_manual", "use_cases"},
		},
		{"everything, all well", answer(), []string{
			"guid", "id", "user_guid", "user_id", "name", "institution_code", "institution_guid",
			"connection_status", "connection_status_message", "is_being_aggregated", "is_managed_by_user",
			"is_manual", "is_oauth", "needs_updated_credentials", "background_aggregation_is_disabled",
			"use_cases", "aggregated_at", "successfully_aggregated_at",
		}},
		{"everything, in need", answer(status("PENDING"), fault(2004), aggregating), []string{
			"guid", "id", "user_guid", "user_id", "name", "institution_code", "institution_guid",
			"connection_status", "connection_status_message", "error", "is_being_aggregated", "is_managed_by_user",
			"is_manual", "is_oauth", "needs_updated_credentials", "background_aggregation_is_disabled",
			"use_cases", "aggregated_at", "successfully_aggregated_at", "oauth_required", "provisional",
		}},
	} {
		for _, rules := range []member.Rules{{}, everyStatus, everything} {
			if diff := cmp.Diff(c.want, observe(new(member.State), c.r, rules).Data.Changed); diff != "" {
				t.Errorf("%s, %+v: changed (-want +got):\n%s", c.name, rules, diff)
			}
		}
	}
}

func TestStatusAfterADiscoveryIsAnEvent(t *testing.T) {
	t.Parallel()
	s := after(t, answer(nullStatus))
	wantEvent(t, observe(&s, answer(status("CREATED")), member.Rules{}), "member.created", "connection_status", "null")
}

func TestEventListsEveryDifferenceInTheOrderOfTheFields(t *testing.T) {
	t.Parallel()
	s := after(t, answer())
	now := member.Reading{
		At: epoch.Add(2 * time.Hour),
		Member: events.Member{
			GUID: memberGUID, ID: new("17"), UserGUID: userGUID, UserID: nil,
			Name: new("MX <Bank>"), InstitutionCode: new("mx"), InstitutionGUID: new("INST-2"),
			ConnectionStatus: new(events.StatusDenied), ConnectionStatusMessage: new("Denied"),
			Error:             &events.Error{Code: new(2005), Type: new("MEMBER"), Locale: new("en")},
			IsBeingAggregated: new(true), IsManagedByUser: new(false), IsManual: new(true), IsOAuth: new(true),
			NeedsUpdatedCredentials: new(true), BackgroundAggregationIsDisabled: new(true),
			UseCases:     []string{"PFM"},
			AggregatedAt: new(epoch.Add(time.Minute)), SuccessfullyAggregatedAt: new(epoch),
		},
	}
	got := observe(&s, now, everyStatus)
	wantEvent(t, got, "member.denied",
		"id", `"partner-member-17"`,
		"user_id", `"u-1234"`,
		"name", `"MX Bank"`,
		"institution_code", `"mxbank"`,
		"institution_guid", `"INST-1"`,
		"connection_status", `"CONNECTED"`,
		"connection_status_message", `"Connected to MX Bank"`,
		"error", `null`,
		"is_being_aggregated", `false`,
		"is_managed_by_user", `true`,
		"is_manual", `false`,
		"needs_updated_credentials", `false`,
		"background_aggregation_is_disabled", `false`,
		"use_cases", `["MONEY_MOVEMENT","PFM"]`,
		"aggregated_at", `"2026-03-14T09:20:00Z"`,
		"successfully_aggregated_at", `"2026-03-14T08:20:00Z"`,
		"oauth_required", `false`,
		"provisional", `false`,
	)
	want := events.Data{
		Member: now.Member, Previous: got.Data.Previous, Changed: got.Data.Changed,
		Action:        events.Action{Actor: events.ActorUser, Kind: events.ActionAuthorize},
		OAuthRequired: true, Provisional: true, Revision: 2, ObservedAt: epoch.Add(2 * time.Hour),
	}
	if diff := cmp.Diff(want, got.Data); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}

	back := member.StateOf(&got.Data)
	wantEvent(t, observe(&back, answer(
		status("CONNECTED"), func(r *member.Reading) { r.Member.ID = new("17") }, absent("name"),
		func(r *member.Reading) { r.Member.Name = nil },
	), everyStatus), "member.connected",
		"user_id", `null`,
		"institution_code", `"mx"`,
		"institution_guid", `"INST-2"`,
		"connection_status", `"DENIED"`,
		"connection_status_message", `"Denied"`,
		"error", `{"error_code":2005,"error_type":"MEMBER","error_message":null,"user_message":null,"locale":"en"}`,
		"is_being_aggregated", `true`,
		"is_managed_by_user", `false`,
		"is_manual", `true`,
		"needs_updated_credentials", `true`,
		"background_aggregation_is_disabled", `true`,
		"use_cases", `["PFM"]`,
		"oauth_required", `true`,
		"provisional", `true`,
	)
}

func TestTimeOfObservationIsUTC(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 2*60*60)
	r := answer()
	r.At = r.At.In(east)
	first := observe(new(member.State), r, everyStatus)
	s := member.StateOf(&first.Data)
	_, gone, _ := s.Gone(r.At)
	for _, d := range []events.Data{first.Data, gone} {
		if !d.ObservedAt.Equal(r.At) || d.ObservedAt.Location() != time.UTC {
			t.Errorf("observed at %v, want %v", d.ObservedAt, r.At.UTC())
		}
	}
}

func TestStateIsWhatTheEventCarries(t *testing.T) {
	t.Parallel()
	d := events.Data{
		Member: answer().Member, Changed: []string{"name"}, Previous: map[string]json.RawMessage{"name": json.RawMessage("null")},
		OAuthRequired: true, Provisional: true, Deleted: true, Revision: 7, ObservedAt: epoch, OAuthWindowURI: "https://bank.example",
	}
	want := member.State{Snapshot: d.Member, OAuthRequired: true, Provisional: true, Deleted: true, Revision: 7}
	if diff := cmp.Diff(want, member.StateOf(&d)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if (&member.State{}).Known() {
		t.Error("a member never seen is known")
	}
}

func TestDeletionKeepsTheLastSnapshot(t *testing.T) {
	t.Parallel()
	s := after(t, answer(status("PENDING"), fault(2004), aggregating))
	typ, got, ok := s.Gone(epoch.Add(3 * time.Hour))
	if !ok || typ != events.TypeDeleted {
		t.Fatalf("a known member that is gone makes %q, %t", typ, ok)
	}
	want := events.Data{
		Member:   s.Snapshot,
		Previous: map[string]json.RawMessage{"deleted": json.RawMessage("false")},
		Changed:  []string{"deleted"},
		Action:   events.Action{Actor: events.ActorNone, Kind: events.ActionNone},
		Deleted:  true, Revision: 2, ObservedAt: epoch.Add(3 * time.Hour),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
	gone := member.StateOf(&got)
	if typ, _, ok := gone.Gone(epoch.Add(4 * time.Hour)); ok {
		t.Errorf("a member that is gone already makes %q", typ)
	}
	if typ, _, ok := new(member.State).Gone(epoch); ok {
		t.Errorf("a member never seen makes %q", typ)
	}
}

func TestDeletionWritesEveryField(t *testing.T) {
	t.Parallel()
	known := after(t, answer())
	s := without(t, known, "name")
	_, d, _ := s.Gone(epoch)
	if d.Member.Missing != nil {
		t.Errorf("the snapshot of a deletion lacks %v", d.Member.Missing)
	}
	if len(s.Snapshot.Missing) != 1 {
		t.Error("the state was changed")
	}
}

func TestDeletedMemberThatAnswersAgainIsNews(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		last member.Reading
		now  member.Reading
		want events.Type
		diff []string
	}{
		{"just as it was", answer(), answer(), "member.connected", []string{"deleted", "true"}},
		{
			"with an error and other attributes", answer(), answer(fault(3000), unmanaged), "member.connected",
			[]string{"error", "null", "is_managed_by_user", "true", "deleted", "true"},
		},
		{
			"with another status", answer(), answer(status("CREATED")), "member.created",
			[]string{"connection_status", `"CONNECTED"`, "deleted", "true"},
		},
		{"with no status", answer(), answer(nullStatus), "member.connected", []string{"deleted", "true"}},
		{"and never had a status", answer(nullStatus), answer(nullStatus), "member.discovered", []string{"deleted", "true"}},
		{
			"still in need", answer(status("PENDING")), answer(status("PENDING")), "member.pending",
			[]string{"oauth_required", "false", "deleted", "true"},
		},
		{
			"still aggregating", answer(aggregating), answer(aggregating), "member.connected",
			[]string{"provisional", "false", "deleted", "true"},
		},
		{"need by a URI that is blank now", answer(status("FAILED"), uri), answer(status("FAILED")), "member.failed", []string{"deleted", "true"}},
	} {
		for _, rules := range []member.Rules{{}, everyStatus, everything} {
			s := after(t, c.last)
			_, d, _ := s.Gone(epoch)
			s = member.StateOf(&d)
			got := observe(&s, c.now, rules)
			t.Log(c.name)
			wantEvent(t, got, c.want, c.diff...)
			if got.Data.Revision != 3 || got.Data.Deleted {
				t.Errorf("%s: revision %d, deleted %t; want 3, false", c.name, got.Data.Revision, got.Data.Deleted)
			}
		}
	}
}
