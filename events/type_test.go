package events_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
)

func TestStatusIsValidWhenItHasTheFormOfOne(t *testing.T) {
	t.Parallel()
	for s, want := range map[events.Status]bool{
		"CONNECTED":                            true,
		"Q":                                    true,
		"NEW_2":                                true,
		events.Status(strings.Repeat("A", 64)): true,
		events.Status(strings.Repeat("A", 65)): false,
		"":                                     false,
		"connected":                            false,
		"Connected":                            false,
		"2FA":                                  false,
		"_A":                                   false,
		"A B":                                  false,
		"A.B":                                  false,
		"A*":                                   false,
		"A>":                                   false,
		"A\n":                                  false,
		"Ä":                                    false,
		"AÄ":                                   false,
		"A\x00":                                false,
		events.Status("CONNECTED" + string(rune(160))): false,
	} {
		if got := s.Valid(); got != want {
			t.Errorf("Status(%q).Valid() = %v, want %v", s, got, want)
		}
	}
}

func TestStatusMakesTheTypeOfItsOwnName(t *testing.T) {
	t.Parallel()
	for s, want := range map[events.Status]events.Type{
		events.StatusConnected: "member.connected",
		events.StatusPending:   "member.pending",
		"QUARANTINED":          "member.quarantined",
		"NEW_2":                "member.new_2",
		// What MX might add must not pass for another thing that happens.
		"DELETED":            "member.status_deleted",
		"DISCOVERED":         "member.status_discovered",
		"ERROR_RAISED":       "member.status_error_raised",
		"ERROR_CLEARED":      "member.status_error_cleared",
		"ATTRIBUTES_CHANGED": "member.status_attributes_changed",
		"AGGREGATED":         "member.status_aggregated",
		"OAUTH_REQUIRED":     "member.status_oauth_required",
		"REFRESH":            "member.status_refresh", // the type of a command
	} {
		if got := s.Type(); got != want {
			t.Errorf("Status(%q).Type() = %s, want %s", s, got, want)
		}
	}
}

func TestEveryValidStatusMakesATypeThatParses(t *testing.T) {
	t.Parallel()
	s, k := subjects(t), key(t)
	rapid.Check(t, func(t *rapid.T) {
		status := events.Status(rapid.StringMatching(`[A-Z][A-Z0-9_]{0,63}`).Draw(t, "status"))
		if !status.Valid() {
			t.Fatalf("%q is not valid", status)
		}
		typ, gotKey, ok := s.ParseEvent(s.Event(status.Type(), k))
		if !ok || typ != status.Type() || gotKey != k {
			t.Fatalf("the subject of %s reads back as %s, %v, %v", status.Type(), typ, gotKey, ok)
		}
	})
}

func TestCatalogHasARowForEachStatusAndEachOtherType(t *testing.T) {
	t.Parallel()
	rows, statuses := slices.Collect(events.Types()), events.Statuses()
	if len(rows) < 29 || len(statuses) < 22 {
		t.Errorf("catalog has %d rows and %d statuses, fewer than v1 began with", len(rows), len(statuses))
	}
	seen := map[events.Type]bool{}
	for i, row := range rows {
		if seen[row.Type] {
			t.Errorf("%s has two rows", row.Type)
		}
		seen[row.Type] = true
		if !row.Type.Known() {
			t.Errorf("%s is in the catalog and not known", row.Type)
		}
		if want := "https://github.com/memberwatch/memberwatch/schemas/v1/" + string(row.Type) + ".json"; row.Type.SchemaID() != want {
			t.Errorf("%s has schema %s, want %s", row.Type, row.Type.SchemaID(), want)
		}
		if "member."+row.Type.Token() != string(row.Type) || !events.ValidToken(row.Type.Token()) {
			t.Errorf("%s has token %q", row.Type, row.Type.Token())
		}
		if row.When == "" || !strings.HasSuffix(row.When, ".") {
			t.Errorf("%s: When is no sentence: %q", row.Type, row.When)
		}
		wantStream := events.StreamEvents
		if row.Type == events.TypeOAuthRequired {
			wantStream = events.StreamOAuth
		}
		if row.Stream != wantStream {
			t.Errorf("%s is on stream %s, want %s", row.Type, row.Stream, wantStream)
		}
		var wantStatus events.Status
		if i < len(statuses) {
			wantStatus = statuses[i]
			if row.Type != wantStatus.Type() || !wantStatus.Known() || !wantStatus.Valid() {
				t.Errorf("row %d is %s, status %s makes %s", i, row.Type, wantStatus, wantStatus.Type())
			}
		}
		if row.Status != wantStatus {
			t.Errorf("%s stands for status %q, want %q", row.Type, row.Status, wantStatus)
		}
	}
}

func TestCatalogCanBeLeftEarly(t *testing.T) {
	t.Parallel()
	for n := range len(slices.Collect(events.Types())) {
		left := n
		for range events.Types() {
			if left == 0 {
				break
			}
			left--
		}
	}
}

func TestUnknownTypeHasTheGeneralSchema(t *testing.T) {
	t.Parallel()
	for _, typ := range []events.Type{"member.quarantined", "member.status_deleted", "", "member."} {
		if typ.Known() {
			t.Errorf("%q is known", typ)
		}
		if got, want := typ.SchemaID(), "https://github.com/memberwatch/memberwatch/schemas/v1/member.event.json"; got != want {
			t.Errorf("%q has schema %s, want %s", typ, got, want)
		}
	}
	if events.Status("QUARANTINED").Known() {
		t.Error("an unknown status is known")
	}
}

func TestTransientStatusesAreThoseThatMXMovesOn(t *testing.T) {
	t.Parallel()
	want := []events.Status{events.StatusCreated, events.StatusDelayed, events.StatusUpdated, events.StatusResumed}
	for _, s := range append(events.Statuses(), "QUARANTINED", "") {
		if got := s.Transient(); got != slices.Contains(want, s) {
			t.Errorf("%s.Transient() = %v", s, got)
		}
	}
}
