package member

import (
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// State is what is known of a member. The zero State is a member never seen.
type State struct {
	Snapshot      events.Member
	OAuthRequired bool
	Provisional   bool
	Deleted       bool
	Revision      uint64 // of the last event; 0: never seen
}

// StateOf returns the state that an event carries.
func StateOf(d *events.Data) State {
	return State{
		Snapshot:      d.Member,
		OAuthRequired: d.OAuthRequired,
		Provisional:   d.Provisional,
		Deleted:       d.Deleted,
		Revision:      d.Revision,
	}
}

// Known reports whether the member was ever seen.
func (s *State) Known() bool { return s.Revision > 0 }

// Reading is what one read of MX says about a member.
type Reading struct {
	// Member is MX's answer; its Missing names the fields that MX left out.
	Member events.Member
	// HasURI tells that MX gave a non-blank oauth_window_uri.
	HasURI bool
	// At is when MX answered.
	At time.Time
}

// Rules are the settings that shape events.
type Rules struct {
	// InitialEvents: the first sight of a member with a status is an event of that
	// status; otherwise it is member.discovered.
	InitialEvents bool
	// Aggregated: a successful aggregation is an event.
	Aggregated bool
}

// merge returns the snapshot that follows last when MX answers now: what MX
// says, completed by what was known where MX gives no information.
func merge(last *events.Member, now events.Member) events.Member {
	m := now
	keepText := func(dst **string, old *string, field string) {
		if *dst == nil && now.Lacks(field) {
			*dst = old
		}
	}
	keepText(&m.ID, last.ID, "id")
	keepText(&m.UserID, last.UserID, "user_id")
	keepText(&m.Name, last.Name, "name")
	keepText(&m.InstitutionCode, last.InstitutionCode, "institution_code")
	keepText(&m.InstitutionGUID, last.InstitutionGUID, "institution_guid")
	keepText(&m.ConnectionStatusMessage, last.ConnectionStatusMessage, "connection_status_message")
	if m.ConnectionStatus == nil && last.ConnectionStatus != nil {
		m.ConnectionStatus = last.ConnectionStatus
		m.ConnectionStatusMessage = last.ConnectionStatusMessage
	}
	keepFlag := func(dst **bool, old *bool) {
		if *dst == nil {
			*dst = old
		}
	}
	keepFlag(&m.IsBeingAggregated, last.IsBeingAggregated)
	keepFlag(&m.IsManagedByUser, last.IsManagedByUser)
	keepFlag(&m.IsManual, last.IsManual)
	keepFlag(&m.IsOAuth, last.IsOAuth)
	keepFlag(&m.NeedsUpdatedCredentials, last.NeedsUpdatedCredentials)
	keepFlag(&m.BackgroundAggregationIsDisabled, last.BackgroundAggregationIsDisabled)
	if m.UseCases == nil {
		m.UseCases = last.UseCases
	} else if !sortedSet(m.UseCases) {
		m.UseCases = slices.Compact(slices.Sorted(slices.Values(m.UseCases)))
	}
	m.AggregatedAt = later(last.AggregatedAt, m.AggregatedAt)
	m.SuccessfullyAggregatedAt = later(last.SuccessfullyAggregatedAt, m.SuccessfullyAggregatedAt)
	m.Missing = nil
	return m
}

func sortedSet(s []string) bool {
	for i := 1; i < len(s); i++ {
		if s[i-1] >= s[i] {
			return false
		}
	}
	return true
}

// later returns the later of two times, of which either may be unknown.
func later(a, b *time.Time) *time.Time {
	if b == nil || (a != nil && !b.After(*a)) {
		return a
	}
	return b
}
