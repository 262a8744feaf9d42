package member

import (
	"encoding/json"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// Observe compares what is known with what a read says. When something
// happened it returns the type and the data of the one event about it, and
// true; the data share memory with s and r and must not be changed.
func (s *State) Observe(r Reading, rules Rules) (events.Type, events.Data, bool) {
	now := merge(&s.Snapshot, r.Member)
	need := needsOAuth(s, &now, r.HasURI)
	provisional := isTrue(now.IsBeingAggregated)

	d := s.diff(&now, rules.Aggregated)
	d.boolean(events.FieldOAuthRequired, s.OAuthRequired, need, attribute, attribute)
	d.boolean(events.FieldProvisional, s.Provisional, provisional, listed, attribute)
	d.boolean(events.FieldDeleted, s.Deleted, false, listed, reappearance)
	if s.Known() && d.weight <= listed {
		return "", events.Data{}, false
	}

	data := events.Data{
		Member:        now,
		Changed:       d.changed(),
		Action:        ActionFor(now.ConnectionStatus, need, false),
		OAuthRequired: need,
		Provisional:   provisional,
		Revision:      s.Revision + 1,
		ObservedAt:    r.At.UTC(),
	}
	if s.Known() {
		data.Previous = d.previous()
	}
	return s.eventType(&now, d.weight, rules), data, true
}

// eventType names the most significant of what happened.
func (s *State) eventType(now *events.Member, w weight, rules Rules) events.Type {
	if !s.Known() && !rules.InitialEvents {
		return events.TypeDiscovered
	}
	if !s.Known() || w >= status { // a reappearance is told by the status that the member came back with
		if now.ConnectionStatus == nil {
			return events.TypeDiscovered
		}
		return now.ConnectionStatus.Type()
	}
	switch {
	case w == fault && now.Error != nil:
		return events.TypeErrorRaised
	case w == fault:
		return events.TypeErrorCleared
	case w == attribute:
		return events.TypeAttributesChanged
	}
	return events.TypeAggregated
}

// Gone returns the event that says that MX no longer knows the member: the last
// snapshot is kept, no need remains. A member never seen, or already gone, makes
// none.
func (s *State) Gone(at time.Time) (events.Type, events.Data, bool) {
	if !s.Known() || s.Deleted {
		return "", events.Data{}, false
	}
	last := s.Snapshot
	last.Missing = nil
	return events.TypeDeleted, events.Data{
		Member:     last,
		Previous:   map[string]json.RawMessage{events.FieldDeleted: json.RawMessage("false")},
		Changed:    []string{events.FieldDeleted},
		Action:     ActionFor(last.ConnectionStatus, false, true),
		Deleted:    true,
		Revision:   s.Revision + 1,
		ObservedAt: at.UTC(),
	}, true
}
