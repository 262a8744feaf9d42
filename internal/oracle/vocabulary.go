package oracle

import (
	"slices"
	"strings"
	"unique"
)

// fieldID is a field that "changed" may name: one of the snapshot, or one of
// the three beside it.
type fieldID int

// The fields in the order of the contract's page, the flags together.
const (
	fGUID fieldID = iota
	fID
	fUserGUID
	fUserID
	fName
	fInstitutionCode
	fInstitutionGUID
	fStatus
	fStatusMessage
	fError
	fIsBeingAggregated
	fIsManagedByUser
	fIsManual
	fIsOAuth
	fNeedsUpdatedCredentials
	fBackgroundAggregationIsDisabled
	fUseCases
	fAggregatedAt
	fSuccessfullyAggregatedAt
	snapshotFields // how many the snapshot has
)

// The fields beside the snapshot.
const (
	fOAuthRequired = snapshotFields + iota
	fProvisional
	fDeleted
	fieldCount
)

// kind is what values a field takes.
type kind int

const (
	text    kind = iota // a string or null
	must                // a string that is not empty
	flag                // true, false or null
	truth               // true or false
	fault               // an error object or null
	set                 // an array of strings, sorted, each once, or null
	instant             // an RFC 3339 time in UTC or null
)

// field is a row of the contract.
type field struct {
	name string
	kind kind
	// attribute marks what makes a member.attributes_changed when it differs.
	attribute bool
}

// vocabulary is what the contract names, made once for a check.
type vocabulary struct {
	fields   [fieldCount]field
	index    map[string]fieldID
	null     value
	no, yes  value
	data     []string          // the data's fields, in order
	fault    []string          // an error's fields, in order
	actions  map[string]string // what each status asks for, as actor/kind
	reserved map[string]bool   // tokens of types that are no status, the command's among them
	remedy   map[string]bool   // statuses whose remedy is to update credentials, and PENDING
	settled  map[string]bool   // statuses in which a URI alone makes no need
}

func newVocabulary() vocabulary {
	v := vocabulary{
		fields: [fieldCount]field{
			fGUID:                            {"guid", must, false},
			fID:                              {"id", text, true},
			fUserGUID:                        {"user_guid", must, false},
			fUserID:                          {"user_id", text, true},
			fName:                            {"name", text, true},
			fInstitutionCode:                 {"institution_code", text, true},
			fInstitutionGUID:                 {"institution_guid", text, true},
			fStatus:                          {"connection_status", text, false},
			fStatusMessage:                   {"connection_status_message", text, false},
			fError:                           {"error", fault, false},
			fIsBeingAggregated:               {"is_being_aggregated", flag, false},
			fIsManagedByUser:                 {"is_managed_by_user", flag, true},
			fIsManual:                        {"is_manual", flag, true},
			fIsOAuth:                         {"is_oauth", flag, true},
			fNeedsUpdatedCredentials:         {"needs_updated_credentials", flag, true},
			fBackgroundAggregationIsDisabled: {"background_aggregation_is_disabled", flag, true},
			fUseCases:                        {"use_cases", set, true},
			fAggregatedAt:                    {"aggregated_at", instant, false},
			fSuccessfullyAggregatedAt:        {"successfully_aggregated_at", instant, false},
			fOAuthRequired:                   {"oauth_required", truth, true},
			fProvisional:                     {"provisional", truth, false}, // true → false alone counts
			fDeleted:                         {"deleted", truth, false},
		},
		index: map[string]fieldID{},
		null:  unique.Make("null"),
		no:    unique.Make("false"),
		yes:   unique.Make("true"),
		data: []string{
			"member", "previous", "changed", "action", "oauth_required", "provisional", "deleted", "revision", "observed_at",
		},
		fault: []string{"error_code", "error_type", "error_message", "user_message", "locale"},
		actions: byStatus(map[string]string{
			"user/update_credentials": "PREVENTED DENIED IMPORTED IMPAIRED",
			actionAuthorize:           "PENDING",
			"user/answer_challenge":   "CHALLENGED REJECTED EXPIRED RECONNECTED",
			"user/visit_institution":  "LOCKED IMPEDED",
			"support/contact_support": "DISCONNECTED DISABLED",
			"none/wait":               "CREATED DELAYED UPDATED RESUMED DEGRADED FAILED",
			actionNone:                "CONNECTED DISCONTINUED CLOSED",
		}),
		reserved: members("error_raised error_cleared attributes_changed aggregated discovered deleted oauth_required refresh"),
		remedy:   members("PENDING PREVENTED DENIED IMPORTED IMPAIRED"),
		settled:  members("CONNECTED CREATED DELAYED UPDATED RESUMED"),
	}
	for id, f := range v.fields {
		v.index[f.name] = fieldID(id)
	}
	return v
}

// Actions that do not follow from the status alone.
const (
	actionAuthorize = "user/authorize"
	actionNone      = "none/none"
)

// byStatus turns statuses by action into actions by status.
func byStatus(statuses map[string]string) map[string]string {
	actions := map[string]string{}
	for action, words := range statuses {
		for status := range members(words) {
			actions[status] = action
		}
	}
	return actions
}

func members(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// snapshotOrder reports whether names are the snapshot's fields in the order of
// the contract, which leaves the order of the flags among themselves open.
func (v *vocabulary) snapshotOrder(names []string) bool {
	if len(names) != int(snapshotFields) {
		return false
	}
	want := make([]string, snapshotFields)
	for i := range want {
		want[i] = v.fields[i].name
	}
	names = slices.Clone(names)
	slices.Sort(want[fIsBeingAggregated : fBackgroundAggregationIsDisabled+1])
	slices.Sort(names[fIsBeingAggregated : fBackgroundAggregationIsDisabled+1])
	return slices.Equal(names, want)
}

// statusToken is the type token of a status.
func (v *vocabulary) statusToken(status string) string {
	token := strings.ToLower(status)
	if v.reserved[token] {
		return "status_" + token
	}
	return token
}

// isStatus reports whether s has the form of a status: ^[A-Z][A-Z0-9_]{0,63}$.
func isStatus(s string) bool {
	return s != "" && len(s) <= 64 && strings.Contains(upper, s[:1]) && strings.Trim(s, upper+digits+"_") == ""
}

// isToken reports whether s may be a guid in a subject: ^[A-Za-z0-9_-]{1,64}$.
func isToken(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, upper+lower+digits+"_-") == ""
}

const (
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)
