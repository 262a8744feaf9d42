package member_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// remedies is the table of MX's statuses in the order of their ids, and what
// each asks for when no OAuth window is needed.
var remedies = []struct {
	status events.Status
	actor  events.Actor
	kind   events.ActionKind
}{
	{"CREATED", "none", "wait"},
	{"PREVENTED", "user", "update_credentials"},
	{"DENIED", "user", "update_credentials"},
	{"CHALLENGED", "user", "answer_challenge"},
	{"REJECTED", "user", "answer_challenge"},
	{"LOCKED", "user", "visit_institution"},
	{"CONNECTED", "none", "none"},
	{"IMPEDED", "user", "visit_institution"},
	{"RECONNECTED", "user", "answer_challenge"},
	{"DEGRADED", "none", "wait"},
	{"DISCONNECTED", "support", "contact_support"},
	{"DISCONTINUED", "none", "none"},
	{"CLOSED", "none", "none"},
	{"DELAYED", "none", "wait"},
	{"FAILED", "none", "wait"},
	{"UPDATED", "none", "wait"},
	{"DISABLED", "support", "contact_support"},
	{"IMPORTED", "user", "update_credentials"},
	{"RESUMED", "none", "wait"},
	{"EXPIRED", "user", "answer_challenge"},
	{"IMPAIRED", "user", "update_credentials"},
	{"PENDING", "user", "authorize"},
}

func TestActionIsThatOfTheStatusUnlessAuthorizationOrDeletionDecides(t *testing.T) {
	t.Parallel()
	var (
		none      = events.Action{Actor: "none", Kind: "none"}
		authorize = events.Action{Actor: "user", Kind: "authorize"}
	)
	check := func(name string, s *events.Status, alone events.Action) {
		for _, c := range []struct {
			need, deleted bool
			want          events.Action
		}{
			{false, false, alone},
			{true, false, authorize},
			{false, true, none},
			{true, true, none},
		} {
			if got := member.ActionFor(s, c.need, c.deleted); got != c.want {
				t.Errorf("ActionFor(%s, need %t, deleted %t) = %v, want %v", name, c.need, c.deleted, got, c.want)
			}
		}
	}
	for _, r := range remedies {
		check(string(r.status), &r.status, events.Action{Actor: r.actor, Kind: r.kind})
	}
	check("a status MX added", new(events.Status("QUARANTINED")), none)
	check("no status", nil, none)
}

func TestEveryStatusHasAnAction(t *testing.T) {
	t.Parallel()
	statuses := events.Statuses()
	if len(remedies) != len(statuses) {
		t.Fatalf("%d statuses in the table of actions, MX has %d", len(remedies), len(statuses))
	}
	for i, r := range remedies {
		if r.status != statuses[i] {
			t.Errorf("row %d of the table is %s, MX's id stands for %s", i, r.status, statuses[i])
		}
	}
}

func TestEventCarriesTheActionOfTheStateItLeadsTo(t *testing.T) {
	t.Parallel()
	connected := after(t, answer())
	for _, c := range []struct {
		name string
		now  member.Reading
		want events.Action
	}{
		{"denied", answer(status("DENIED"), noOAuth), events.Action{Actor: "user", Kind: "update_credentials"}},
		{"denied with OAuth", answer(status("DENIED")), events.Action{Actor: "user", Kind: "authorize"}},
		{"null status after connected", answer(nullStatus, unmanaged), events.Action{Actor: "none", Kind: "none"}},
		{"disconnected", answer(status("DISCONNECTED")), events.Action{Actor: "support", Kind: "contact_support"}},
	} {
		if got := observe(&connected, c.now, everyStatus).Data.Action; got != c.want {
			t.Errorf("%s: action is %v, want %v", c.name, got, c.want)
		}
	}
	locked := after(t, answer(status("LOCKED")))
	got := observe(&locked, answer(nullStatus, unmanaged), everyStatus).Data.Action
	if want := (events.Action{Actor: "user", Kind: "visit_institution"}); got != want {
		t.Errorf("a null status leaves the action of LOCKED at %v, want %v", got, want)
	}
	_, d, _ := locked.Gone(epoch)
	if want := (events.Action{Actor: "none", Kind: "none"}); d.Action != want {
		t.Errorf("deletion: action is %v, want %v", d.Action, want)
	}
}
