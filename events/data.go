package events

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Member is the snapshot of a member under MX's own field names. A nil field is
// one that MX has said nothing about yet; "unknown", not "no". Never part of
// it: metadata, credentials, and the OAuth URI.
type Member struct {
	GUID                            string     `json:"guid"`                               // MBR-…, MX's stable name
	ID                              *string    `json:"id"`                                 // the partner's own id
	UserGUID                        string     `json:"user_guid"`                          // USR-…
	UserID                          *string    `json:"user_id"`                            // the partner's own id of the user
	Name                            *string    `json:"name"`                               // of the institution, for people
	InstitutionCode                 *string    `json:"institution_code"`                   // MX's code
	InstitutionGUID                 *string    `json:"institution_guid"`                   // INST-…
	ConnectionStatus                *Status    `json:"connection_status"`                  // last one known
	ConnectionStatusMessage         *string    `json:"connection_status_message"`          // MX's wording; reworded at will
	Error                           *Error     `json:"error"`                              // nil: none
	IsBeingAggregated               *bool      `json:"is_being_aggregated"`                //
	IsManagedByUser                 *bool      `json:"is_managed_by_user"`                 //
	IsManual                        *bool      `json:"is_manual"`                          //
	IsOAuth                         *bool      `json:"is_oauth"`                           //
	NeedsUpdatedCredentials         *bool      `json:"needs_updated_credentials"`          //
	BackgroundAggregationIsDisabled *bool      `json:"background_aggregation_is_disabled"` //
	UseCases                        []string   `json:"use_cases"`                          // PFM, MONEY_MOVEMENT; sorted; a set
	AggregatedAt                    *time.Time `json:"aggregated_at"`                      // start of the last job; UTC
	SuccessfullyAggregatedAt        *time.Time `json:"successfully_aggregated_at"`         // UTC

	// Missing names the fields above that the decoded JSON did not have at all, as
	// one written by a service that did not know them. Nothing is known of such a
	// field, which is not the same as null. Usually nil; never encoded.
	Missing []string `json:"-"`
}

// Lacks reports whether the decoded JSON had no such field.
func (m *Member) Lacks(field string) bool { return slices.Contains(m.Missing, field) }

// MemberFields returns the names of [Member]'s fields in the order in which they are written.
func MemberFields() []string {
	return []string{
		"guid", "id", "user_guid", "user_id", "name", "institution_code", "institution_guid",
		"connection_status", "connection_status_message", "error", "is_being_aggregated", "is_managed_by_user",
		"is_manual", "is_oauth", "needs_updated_credentials", "background_aggregation_is_disabled",
		"use_cases", "aggregated_at", "successfully_aggregated_at",
	}
}

// UnmarshalJSON decodes a snapshot, tolerating unknown and missing fields.
func (m *Member) UnmarshalJSON(b []byte) error {
	type plain Member
	var p plain
	b = exact(b, nest{"error": nil})
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("decoding member: %w", err)
	}
	*m = Member(p)
	names := MemberFields()
	for name := range fields(b) {
		if i := slices.Index(names, string(name)); i >= 0 {
			names[i] = ""
		}
	}
	m.Missing = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	if len(m.Missing) == 0 {
		m.Missing = nil
	}
	return nil
}

// Error is what MX reports to be wrong with a member. Two errors are the same
// when code and type are; the texts are MX's and change at will.
type Error struct {
	Code        *int    `json:"error_code"` // e.g. 2004 reauthorization required
	Type        *string `json:"error_type"`
	Message     *string `json:"error_message"`
	UserMessage *string `json:"user_message"` // meant for the user, in Locale
	Locale      *string `json:"locale"`
}

// Actor is who has to move.
type Actor string

// The actors.
const (
	ActorUser    Actor = "user"
	ActorSupport Actor = "support"
	ActorNone    Actor = "none"
)

// ActionKind is what has to be done.
type ActionKind string

// The kinds of action.
const (
	ActionUpdateCredentials ActionKind = "update_credentials" //nolint:gosec // Enter new credentials; the name of an action, not a secret.
	ActionAuthorize         ActionKind = "authorize"          // authorize in the OAuth window
	ActionAnswerChallenge   ActionKind = "answer_challenge"   // answer the MFA question, or start over and answer it
	ActionVisitInstitution  ActionKind = "visit_institution"  // settle something at the bank's own site
	ActionContactSupport    ActionKind = "contact_support"    // somebody has to look into it with MX
	ActionWait              ActionKind = "wait"               // MX moves on or retries by itself
	ActionNone              ActionKind = "none"               // nothing to do, or nothing possible
)

// Action is who has to do what next about a member.
type Action struct {
	Actor Actor      `json:"actor"`
	Kind  ActionKind `json:"kind"`
}

// Data is what every event carries.
type Data struct {
	Member Member `json:"member"`
	// Previous holds the former value of every field named in Changed; nil at first sight.
	Previous map[string]json.RawMessage `json:"previous"`
	// Changed names every field that differs from the member's last event: those of Member
	// under MX's names, and oauth_required, provisional and deleted. At first sight,
	// every field that is not null (or false, of the last three).
	Changed       []string  `json:"changed"`
	Action        Action    `json:"action"`
	OAuthRequired bool      `json:"oauth_required"` // the user must authorize in the OAuth window
	Provisional   bool      `json:"provisional"`    // MX is aggregating: what it says may change before the job ends
	Deleted       bool      `json:"deleted"`        // MX no longer knows the member
	Revision      uint64    `json:"revision"`       // 1 for the first event of a member, then +1 each
	ObservedAt    time.Time `json:"observed_at"`    // when MX answered; UTC
	// OAuthWindowURI is where to send the user to authorize; one-time use. Only in
	// announcements (TypeOAuthRequired), and absent there when MX gave none.
	OAuthWindowURI string `json:"oauth_window_uri,omitempty"`
}

// Names in [Data.Changed] that are not fields of [Member].
const (
	FieldOAuthRequired = "oauth_required"
	FieldProvisional   = "provisional"
	FieldDeleted       = "deleted"
)
