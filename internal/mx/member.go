package mx

import (
	"strings"
	"time"
)

// Member is what is read of a member. nil means that MX said nothing: the field was absent or null (or "" where text is
// all it could say nothing with: connection_status and the times). The strings share one allocation; strings.Clone one
// that is to outlive the rest.
type Member struct {
	GUID     string // ^[A-Za-z0-9_-]{1,64}$
	UserGUID string // likewise

	ID              *string // the partner's own
	UserID          *string // the partner's own
	Name            *string
	InstitutionCode *string
	InstitutionGUID *string

	ConnectionStatus        *string // ^[A-Z][A-Z0-9_]{0,63}$, known to us or not
	ConnectionStatusMessage *string

	IsOAuth                         *bool
	IsManual                        *bool
	IsManagedByUser                 *bool
	IsBeingAggregated               *bool
	BackgroundAggregationIsDisabled *bool
	NeedsUpdatedCredentials         *bool

	AggregatedAt             *time.Time // start of the last job, UTC
	SuccessfullyAggregatedAt *time.Time // last success, UTC

	UseCases []string // nil: unknown; empty: none; otherwise up to 64 of 1 to 64 bytes each

	// Error is the member's current error. Here, unlike elsewhere, nil is an answer: absent, null, {} and "" all mean
	// that there is none.
	Error *Error

	// Absent names the texts above, by MX's field names, that the answer did not have at all; usually nil. A text that is
	// nil and not in it was null: MX said that there is none.
	Absent []string

	// OAuthWindowURI is where to send the user to authorize; blank (absent, null and "") when there is no need, or when
	// MX gives it only at its own endpoint.
	OAuthWindowURI URI
}

// Error is why a member cannot be aggregated, as MX tells it.
type Error struct {
	Code        *int    // such as 2004, reauthorization required
	Type        *string // such as MEMBER
	Message     *string // for developers; the whole text where MX sent a bare one
	UserMessage *string // for the user
	Locale      *string // of UserMessage
}

// User is an entry of the list of users.
type User struct {
	GUID       string  // ^[A-Za-z0-9_-]{1,64}$
	ID         *string // the partner's own
	IsDisabled *bool
}

// maxNameLen is the longest guid, status and use case that is believed: the first two become parts of subjects and types.
const maxNameLen = 64

// validGUID reports whether s matches ^[A-Za-z0-9_-]{1,64}$. The loop costs a tenth of the regular expression.
func validGUID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isUpper(c) && !isDigit(c) && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxNameLen
}

// validStatus reports whether s matches ^[A-Z][A-Z0-9_]{0,63}$.
func validStatus(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isUpper(c) && (i == 0 || !isDigit(c) && c != '_') {
			return false
		}
	}
	return s != "" && len(s) <= maxNameLen
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isUserGUID and isMemberGUID tell MX's names from a partner's own, which may not begin so.
func isUserGUID(id string) bool   { return strings.HasPrefix(id, "USR-") }
func isMemberGUID(id string) bool { return strings.HasPrefix(id, "MBR-") }
