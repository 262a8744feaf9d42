package member_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// texts are the fields whose null is a value, but for the status' message.
var texts = map[string]func(*events.Member) **string{
	"id":               func(m *events.Member) **string { return &m.ID },
	"user_id":          func(m *events.Member) **string { return &m.UserID },
	"name":             func(m *events.Member) **string { return &m.Name },
	"institution_code": func(m *events.Member) **string { return &m.InstitutionCode },
	"institution_guid": func(m *events.Member) **string { return &m.InstitutionGUID },
}

// flags are the fields that are true, false or unknown, but for is_being_aggregated.
var flags = map[string]func(*events.Member) **bool{
	"is_managed_by_user":                 func(m *events.Member) **bool { return &m.IsManagedByUser },
	"is_manual":                          func(m *events.Member) **bool { return &m.IsManual },
	"is_oauth":                           func(m *events.Member) **bool { return &m.IsOAuth },
	"needs_updated_credentials":          func(m *events.Member) **bool { return &m.NeedsUpdatedCredentials },
	"background_aggregation_is_disabled": func(m *events.Member) **bool { return &m.BackgroundAggregationIsDisabled },
}

func TestTextThatDiffersIsAChangeOfAttributes(t *testing.T) {
	t.Parallel()
	for field, text := range texts {
		set := func(s *string) edit { return func(r *member.Reading) { *text(&r.Member) = s } }
		for _, c := range []struct {
			name      string
			last, now []edit
			want      string // the former value when there is an event
		}{
			{"same", []edit{set(new("a"))}, []edit{set(new("a"))}, ""},
			{"another", []edit{set(new("a"))}, []edit{set(new("b"))}, `"a"`},
			{"null after a text", []edit{set(new("a"))}, []edit{set(nil)}, `"a"`},
			{"empty after a text", []edit{set(new("a"))}, []edit{set(new(""))}, `"a"`},
			{"empty after null", []edit{set(nil)}, []edit{set(new(""))}, `null`},
			{"text after null", []edit{set(nil)}, []edit{set(new("a"))}, `null`},
			{"absent after a text", []edit{set(new("a"))}, []edit{set(nil), absent(field)}, ""},
			{"absent after null", []edit{set(nil)}, []edit{set(nil), absent(field)}, ""},
			{"another field absent", []edit{set(new("a"))}, []edit{set(nil), absent("metadata")}, `"a"`},
		} {
			s := after(t, answer(c.last...))
			got := observe(&s, answer(c.now...), everyStatus)
			t.Logf("%s: %s", field, c.name)
			if c.want == "" {
				wantNothing(t, got)
			} else {
				wantEvent(t, got, events.TypeAttributesChanged, field, c.want)
			}
		}

		s := after(t, answer(set(new("a"))))
		got := observe(&s, answer(status("LOCKED"), set(nil), absent(field)), everyStatus)
		if kept := *text(&got.Data.Member); kept == nil || *kept != "a" {
			t.Errorf("%s is absent: the snapshot does not keep it", field)
		}
		if got.Data.Member.Missing != nil {
			t.Errorf("the snapshot lacks %v", got.Data.Member.Missing)
		}
	}
}

func TestStatusMessageIsListedAndMakesNoEvent(t *testing.T) {
	t.Parallel()
	noMessage := func(r *member.Reading) { r.Member.ConnectionStatusMessage = nil }
	const before = `"Connected to MX Bank"`
	for _, c := range []struct {
		name string
		r    []edit
		want string // the former value when the message changed
	}{
		{"reworded", []edit{message("All is well")}, before},
		{"null", []edit{noMessage}, before},
		{"absent", []edit{noMessage, absent("connection_status_message")}, ""},
		{"reworded, with a null status", []edit{nullStatus, message("No information")}, ""},
		{"null, with a null status", []edit{nullStatus, noMessage}, ""},
	} {
		t.Log(c.name)
		s := after(t, answer())
		wantNothing(t, observe(&s, answer(c.r...), everyStatus))
		got := observe(&s, answer(append(c.r, unmanaged)...), everyStatus)
		if c.want == "" {
			wantEvent(t, got, events.TypeAttributesChanged, "is_managed_by_user", "true")
		} else {
			wantEvent(t, got, events.TypeAttributesChanged, "connection_status_message", c.want, "is_managed_by_user", "true")
		}
	}

	s := after(t, answer(nullStatus))
	wantNothing(t, observe(&s, answer(nullStatus, message("Not yet")), everyStatus))
	wantEvent(t, observe(&s, answer(nullStatus, message("Not yet"), unmanaged), everyStatus), events.TypeAttributesChanged,
		"connection_status_message", before, "is_managed_by_user", "true")
}

func TestNullStatusKeepsTheKnownStatus(t *testing.T) {
	t.Parallel()
	s := after(t, answer(status("PENDING"), message("Please authorize")))
	wantNothing(t, observe(&s, answer(nullStatus, message("")), everyStatus))
	got := observe(&s, answer(nullStatus, message(""), unmanaged), everyStatus)
	wantEvent(t, got, events.TypeAttributesChanged, "is_managed_by_user", "true")
	m := got.Data.Member
	if m.ConnectionStatus == nil || *m.ConnectionStatus != "PENDING" ||
		m.ConnectionStatusMessage == nil || *m.ConnectionStatusMessage != "Please authorize" || !got.Data.OAuthRequired {
		t.Errorf("status %v, message %v, need %t; want those of PENDING", m.ConnectionStatus, m.ConnectionStatusMessage, got.Data.OAuthRequired)
	}
}

func TestFlagThatDiffersIsAChangeOfAttributes(t *testing.T) {
	t.Parallel()
	yes, no := new(true), new(false)
	for field, flag := range flags {
		set := func(b *bool) edit { return func(r *member.Reading) { *flag(&r.Member) = b } }
		for _, c := range []struct {
			name      string
			last, now *bool
			want      string // the former value when there is an event
		}{
			{"still false", no, no, ""},
			{"still true", yes, yes, ""},
			{"still unknown", nil, nil, ""},
			{"false to true", no, yes, "false"},
			{"true to false", yes, no, "true"},
			{"unknown to true", nil, yes, "null"},
			{"unknown to false", nil, no, "null"},
			{"true to null", yes, nil, ""},
			{"false to null", no, nil, ""},
		} {
			t.Logf("%s: %s", field, c.name)
			s := after(t, answer(set(c.last)))
			got := observe(&s, answer(set(c.now)), everyStatus)
			if c.want == "" {
				wantNothing(t, got)
			} else {
				wantEvent(t, got, events.TypeAttributesChanged, field, c.want)
			}
			if c.last != nil && c.now == nil {
				got := observe(&s, answer(set(nil), status("LOCKED")), everyStatus)
				wantEvent(t, got, "member.locked", "connection_status", `"CONNECTED"`)
				if kept := *flag(&got.Data.Member); kept == nil || *kept != *c.last {
					t.Errorf("the snapshot has %v, want %t kept", kept, *c.last)
				}
			}
		}
		s := after(t, answer(set(nil)))
		wantEvent(t, observe(&s, answer(set(no), status("LOCKED")), everyStatus), "member.locked",
			ordered(field, "null", "connection_status", `"CONNECTED"`)...)
	}
}

// ordered puts two fields with their values into the order in which events name them.
func ordered(f, fValue, g, gValue string) []string {
	all := events.MemberFields()
	if slices.Index(all, f) < slices.Index(all, g) {
		return []string{f, fValue, g, gValue}
	}
	return []string{g, gValue, f, fValue}
}

func TestOnlyTheEndOfAnAggregationIsAnEvent(t *testing.T) {
	t.Parallel()
	running := func(b *bool) edit { return func(r *member.Reading) { r.Member.IsBeingAggregated = b } }
	for _, c := range []struct {
		name      string
		last, now *bool
		ends      bool
	}{
		{"starts", new(false), new(true), false},
		{"starts, unknown before", nil, new(true), false},
		{"ends", new(true), new(false), true},
		{"goes on", new(true), new(true), false},
		{"does not run, unknown before", nil, new(false), false},
		{"is no longer told", new(true), nil, false},
	} {
		t.Log(c.name)
		s := after(t, answer(running(c.last)))
		got := observe(&s, answer(running(c.now)), everything)
		if c.ends {
			wantEvent(t, got, events.TypeAttributesChanged, "is_being_aggregated", "true", "provisional", "true")
		} else {
			wantNothing(t, got)
		}
	}

	s := after(t, answer())
	got := observe(&s, answer(aggregating, status("UPDATED")), everyStatus)
	wantEvent(t, got, "member.updated", "connection_status", `"CONNECTED"`, "is_being_aggregated", "false", "provisional", "false")
	s = member.StateOf(&got.Data)
	got = observe(&s, answer(running(nil), status("DELAYED")), everyStatus)
	wantEvent(t, got, "member.delayed", "connection_status", `"UPDATED"`)
	if !got.Data.Provisional {
		t.Error("null ended the aggregation")
	}
}

func TestUseCasesAreASet(t *testing.T) {
	t.Parallel()
	use := func(cases ...string) edit { return func(r *member.Reading) { r.Member.UseCases = cases } }
	for _, c := range []struct {
		name      string
		last, now edit
		want      string // the former value when there is an event
	}{
		{"another order", use("MONEY_MOVEMENT", "PFM"), use("PFM", "MONEY_MOVEMENT"), ""},
		{"twice the same", use("PFM"), use("PFM", "PFM"), ""},
		{"unknown after some", use("PFM"), use(), ""},
		{"one more", use("PFM"), use("PFM", "MONEY_MOVEMENT"), `["PFM"]`},
		{"another", use("PFM"), use("MONEY_MOVEMENT"), `["PFM"]`},
		{"none after some", use("PFM"), use([]string{}...), `["PFM"]`},
		{"some after none", use([]string{}...), use("PFM"), `[]`},
		{"some after unknown", use(), use("PFM"), `null`},
		{"none after unknown", use(), use([]string{}...), `null`},
	} {
		t.Log(c.name)
		s := after(t, answer(c.last))
		got := observe(&s, answer(c.now), everyStatus)
		if c.want == "" {
			wantNothing(t, got)
		} else {
			wantEvent(t, got, events.TypeAttributesChanged, "use_cases", c.want)
		}
	}

	r := answer(use("PFM", "MONEY_MOVEMENT", "PFM"))
	got := observe(new(member.State), r, everyStatus)
	if diff := cmp.Diff([]string{"MONEY_MOVEMENT", "PFM"}, got.Data.Member.UseCases); diff != "" {
		t.Errorf("use cases of the snapshot (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"PFM", "MONEY_MOVEMENT", "PFM"}, r.Member.UseCases); diff != "" {
		t.Errorf("the reading was changed (-want +got):\n%s", diff)
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	t.Parallel()
	at := func(started, succeeded *time.Time) edit {
		return func(r *member.Reading) { r.Member.AggregatedAt, r.Member.SuccessfullyAggregatedAt = started, succeeded }
	}
	earlier, later := new(epoch.Add(-time.Second)), new(epoch.Add(time.Second))
	same := new(epoch.In(time.FixedZone("east", 2*60*60)))
	for _, c := range []struct {
		name      string
		last, now *time.Time
		forward   bool
	}{
		{"same", new(epoch), new(epoch), false},
		{"same instant in another zone", new(epoch), same, false},
		{"back", new(epoch), earlier, false},
		{"null", new(epoch), nil, false},
		{"still unknown", nil, nil, false},
		{"forward", new(epoch), later, true},
		{"first", nil, new(epoch), true},
	} {
		t.Log(c.name)
		was, want := "null", c.now
		if c.last != nil {
			was = `"2026-03-14T09:20:00Z"`
		}
		if !c.forward {
			want = c.last
		}

		s := after(t, answer(at(c.last, new(epoch))))
		wantNothing(t, observe(&s, answer(at(c.now, new(epoch))), everything))
		started := observe(&s, answer(at(c.now, new(epoch)), status("LOCKED")), everything)

		s = after(t, answer(at(new(epoch), c.last)))
		wantNothing(t, observe(&s, answer(at(new(epoch), c.now)), everyStatus))
		succeeded := observe(&s, answer(at(new(epoch), c.now), status("LOCKED")), everyStatus)
		aggregated := observe(&s, answer(at(new(epoch), c.now)), everything)

		if c.forward {
			wantEvent(t, started, "member.locked", "connection_status", `"CONNECTED"`, "aggregated_at", was)
			wantEvent(t, succeeded, "member.locked", "connection_status", `"CONNECTED"`, "successfully_aggregated_at", was)
			wantEvent(t, aggregated, events.TypeAggregated, "successfully_aggregated_at", was)
		} else {
			wantEvent(t, started, "member.locked", "connection_status", `"CONNECTED"`)
			wantEvent(t, succeeded, "member.locked", "connection_status", `"CONNECTED"`)
			wantNothing(t, aggregated)
		}
		if diff := cmp.Diff(want, started.Data.Member.AggregatedAt); diff != "" {
			t.Errorf("aggregated_at (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, succeeded.Data.Member.SuccessfullyAggregatedAt); diff != "" {
			t.Errorf("successfully_aggregated_at (-want +got):\n%s", diff)
		}
	}
}

func TestErrorsAreComparedByCodeAndType(t *testing.T) {
	t.Parallel()
	type e = events.Error
	for _, c := range []struct {
		name      string
		last, now *e
		want      events.Type
	}{
		{"none", nil, nil, ""},
		{"same", &e{Code: new(3000), Type: new("A")}, &e{Code: new(3000), Type: new("A")}, ""},
		{"appears", nil, &e{Code: new(3000), Type: new("A")}, "member.error_raised"},
		{"appears with a message alone", nil, &e{Message: new("Down.")}, "member.error_raised"},
		{"another code", &e{Code: new(3000), Type: new("A")}, &e{Code: new(3001), Type: new("A")}, "member.error_raised"},
		{"another type", &e{Code: new(3000), Type: new("A")}, &e{Code: new(3000), Type: new("B")}, "member.error_raised"},
		{"code is told", &e{Type: new("A")}, &e{Code: new(3000), Type: new("A")}, "member.error_raised"},
		{"type is told no more", &e{Code: new(3000), Type: new("A")}, &e{Code: new(3000)}, "member.error_raised"},
		{"goes away", &e{Code: new(3000), Type: new("A")}, nil, "member.error_cleared"},
		{"is there with a message alone and goes away", &e{Message: new("Down.")}, nil, "member.error_cleared"},
	} {
		setting := func(x *e) edit { return func(r *member.Reading) { r.Member.Error = x } }
		s := after(t, answer(setting(c.last)))
		got := observe(&s, answer(setting(c.now)), everyStatus)
		t.Log(c.name)
		if c.want == "" {
			wantNothing(t, got)
		} else {
			wantEvent(t, got, c.want, "error", string(encode(t, c.last)))
		}
	}
}

func TestWordsOfAnErrorAreListedAndMakeNoEvent(t *testing.T) {
	t.Parallel()
	for name, reword := range map[string]func(*events.Error){
		"error_message":      func(e *events.Error) { e.Message = new("The bank is down.") },
		"user_message":       func(e *events.Error) { e.UserMessage = new("Try again later.") },
		"locale":             func(e *events.Error) { e.Locale = new("de") },
		"error_message null": func(e *events.Error) { e.Message = nil },
	} {
		t.Log(name)
		down := func(r *member.Reading) {
			r.Member.Error = &events.Error{Code: new(3000), Message: new("Down."), UserMessage: new("Later."), Locale: new("en")}
		}
		reworded := func(r *member.Reading) { down(r); reword(r.Member.Error) }
		s := after(t, answer(down))
		wantNothing(t, observe(&s, answer(reworded), everyStatus))
		got := observe(&s, answer(reworded, unmanaged), everyStatus)
		wantEvent(t, got, events.TypeAttributesChanged,
			"error", `{"error_code":3000,"error_type":null,"error_message":"Down.","user_message":"Later.","locale":"en"}`,
			"is_managed_by_user", "true")
	}
}

func TestFieldThatTheStoredSnapshotLacksIsAdoptedSilently(t *testing.T) {
	t.Parallel()
	reworded := func(r *member.Reading) { r.Member.Error.Message = new("Down.") }
	for name, readings := range map[string][]member.Reading{
		"all well":                 {answer()},
		"in need by status":        {answer(status("DENIED"), fault(2005), reworded)},
		"in need by error":         {answer(fault(2004))},
		"in need by URI":           {answer(status("FAILED"), uri, fault(1000))},
		"in need by URI, now used": {answer(status("FAILED"), uri), answer(status("FAILED"))},
		"likewise, with an error":  {answer(status("FAILED"), uri, fault(1000)), answer(status("FAILED"), fault(1000))},
		"aggregating":              {answer(aggregating, status("UPDATED"))},
		"unknown":                  {nothing()},
		"unknown, once known":      {answer(), nothing(func(r *member.Reading) { r.Member.IsManual = new(false) })},
	} {
		known := after(t, readings...)
		same := readings[len(readings)-1]
		for _, field := range events.MemberFields() {
			s := without(t, known, field)
			if got := observe(&s, same, everything); got.Type != "" {
				t.Errorf("%s: %s is missing: %s with changed %v", name, field, got.Type, got.Data.Changed)
			}
		}
	}
}

func TestFieldThatIsAdoptedIsListedInTheNextEvent(t *testing.T) {
	t.Parallel()
	s := without(t, after(t, answer()), "is_manual")
	got := observe(&s, answer(status("LOCKED")), everyStatus)
	wantEvent(t, got, "member.locked", "connection_status", `"CONNECTED"`, "is_manual", "null")
	if got.Data.Member.Missing != nil {
		t.Errorf("the new snapshot lacks %v", got.Data.Member.Missing)
	}
	s = member.StateOf(&got.Data)
	wantNothing(t, observe(&s, answer(status("LOCKED")), everyStatus))
}
