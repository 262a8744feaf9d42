package member

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// weight is how much a difference matters: the event's type is that of the
// heaviest one, and up to listed there is no event.
type weight int

const (
	same         weight = iota
	listed              // named in an event that is made for another reason
	aggregation         // successfully_aggregated_at moved forward
	attribute           // anything else that is compared
	fault               // the error
	status              // the status
	reappearance        // a deleted member answers again
)

// diff collects the fields in which a state and its successor differ.
type diff struct {
	missing []string // fields that the stored snapshot lacks: adopted, never compared
	found   []difference
	weight  weight
}

// difference is a field that differs and what it was.
type difference struct {
	field string
	old   any // encoded only when an event is made, which most differences are not worth
}

// changed names the fields.
func (d *diff) changed() []string {
	names := make([]string, len(d.found))
	for i, f := range d.found {
		names[i] = f.field
	}
	return names
}

// previous is what the fields were.
func (d *diff) previous() map[string]json.RawMessage {
	values := make(map[string]json.RawMessage, len(d.found))
	for _, f := range d.found {
		b, err := json.Marshal(f.old)
		if err != nil {
			b = []byte("null") // Unreachable: every old value came out of JSON.
		}
		values[f.field] = b
	}
	return values
}

// diff compares the state's snapshot with now, in the order of the fields.
func (s *State) diff(now *events.Member, aggregated bool) diff {
	d := diff{missing: s.Snapshot.Missing}
	last := &s.Snapshot
	if !s.Known() {
		d.add("guid", nil, attribute)
	}
	text(&d, "id", last.ID, now.ID, attribute)
	if !s.Known() {
		d.add("user_guid", nil, attribute)
	}
	text(&d, "user_id", last.UserID, now.UserID, attribute)
	text(&d, "name", last.Name, now.Name, attribute)
	text(&d, "institution_code", last.InstitutionCode, now.InstitutionCode, attribute)
	text(&d, "institution_guid", last.InstitutionGUID, now.InstitutionGUID, attribute)
	text(&d, "connection_status", last.ConnectionStatus, now.ConnectionStatus, status)
	text(&d, "connection_status_message", last.ConnectionStatusMessage, now.ConnectionStatusMessage, listed)
	d.fault(last.Error, now.Error)
	d.flag("is_being_aggregated", last.IsBeingAggregated, now.IsBeingAggregated, listed)
	d.flag("is_managed_by_user", last.IsManagedByUser, now.IsManagedByUser, attribute)
	d.flag("is_manual", last.IsManual, now.IsManual, attribute)
	d.flag("is_oauth", last.IsOAuth, now.IsOAuth, attribute)
	d.flag("needs_updated_credentials", last.NeedsUpdatedCredentials, now.NeedsUpdatedCredentials, attribute)
	d.flag("background_aggregation_is_disabled", last.BackgroundAggregationIsDisabled, now.BackgroundAggregationIsDisabled, attribute)
	d.set("use_cases", last.UseCases, now.UseCases)
	d.instant("aggregated_at", last.AggregatedAt, now.AggregatedAt, listed)
	success := listed
	if aggregated {
		success = aggregation
	}
	d.instant("successfully_aggregated_at", last.SuccessfullyAggregatedAt, now.SuccessfullyAggregatedAt, success)
	return d
}

// add notes that field was old before.
func (d *diff) add(field string, old any, w weight) {
	if slices.Contains(d.missing, field) {
		w = listed
	}
	d.found = append(d.found, difference{field, old})
	d.weight = max(d.weight, w)
}

func text[T ~string](d *diff, field string, old, now *T, w weight) {
	if !equal(old, now) {
		d.add(field, old, w)
	}
}

func (d *diff) flag(field string, old, now *bool, w weight) {
	if !equal(old, now) {
		d.add(field, old, w)
	}
}

// boolean compares a field that is derived and so always known; each direction has its weight.
func (d *diff) boolean(field string, old, now bool, rise, fall weight) {
	switch {
	case old == now:
	case now:
		d.add(field, old, rise)
	default:
		d.add(field, old, fall)
	}
}

func (d *diff) fault(old, now *events.Error) {
	switch {
	case !sameError(old, now):
		d.add("error", old, fault)
	case old != nil && !equalError(old, now):
		d.add("error", old, listed)
	}
}

func (d *diff) set(field string, old, now []string) {
	if (old == nil) != (now == nil) || !slices.Equal(old, now) {
		d.add(field, old, attribute)
	}
}

func (d *diff) instant(field string, old, now *time.Time, w weight) {
	if (old == nil) != (now == nil) || (old != nil && !old.Equal(*now)) {
		d.add(field, old, w)
	}
}

func equal[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// sameError reports whether a and b are the same trouble: both none, or alike
// in code and type. The texts are MX's and change at will.
func sameError(a, b *events.Error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return equal(a.Code, b.Code) && equal(a.Type, b.Type)
}

func equalError(a, b *events.Error) bool {
	return equal(a.Message, b.Message) && equal(a.UserMessage, b.UserMessage) && equal(a.Locale, b.Locale)
}
