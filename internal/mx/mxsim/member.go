package mxsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What callers of the Go API branch on; the control API answers 404, 409 and
// 400 for them.
var (
	ErrNotFound = errors.New("no such user or member")
	ErrExists   = errors.New("already exists")
	ErrInvalid  = errors.New("not possible")
)

// Member is the state of a member under MX's own field names. A nil pointer is
// JSON null. Members handed out by this package share what they point to with
// the simulator and must not be written to.
type Member struct {
	GUID                            string                     `json:"guid"`
	ID                              *string                    `json:"id"`
	UserGUID                        string                     `json:"user_guid"`
	UserID                          *string                    `json:"user_id"`
	Name                            *string                    `json:"name"`
	InstitutionCode                 *string                    `json:"institution_code"`
	InstitutionGUID                 *string                    `json:"institution_guid"`
	ConnectionStatus                *string                    `json:"connection_status"`
	ConnectionStatusMessage         *string                    `json:"connection_status_message"`
	Error                           *MemberError               `json:"error"`
	IsOAuth                         *bool                      `json:"is_oauth"`
	IsManual                        *bool                      `json:"is_manual"`
	IsManagedByUser                 *bool                      `json:"is_managed_by_user"`
	IsBeingAggregated               *bool                      `json:"is_being_aggregated"`
	BackgroundAggregationIsDisabled *bool                      `json:"background_aggregation_is_disabled"`
	NeedsUpdatedCredentials         *bool                      `json:"needs_updated_credentials"`
	OAuthWindowURI                  *string                    `json:"oauth_window_uri"`
	AggregatedAt                    *time.Time                 `json:"aggregated_at"`
	SuccessfullyAggregatedAt        *time.Time                 `json:"successfully_aggregated_at"`
	Metadata                        *string                    `json:"metadata"`
	UseCases                        []string                   `json:"use_cases"`
	Raw                             map[string]json.RawMessage `json:"raw,omitempty"`    // JSON to answer for a field, known or not, whatever its value
	Absent                          []string                   `json:"absent,omitempty"` // fields that answers leave out
	Version                         uint64                     `json:"-"`                // grows with each change
}

// MemberError is MX's account of why a member does not work. When only the
// code is given the rest is filled in.
type MemberError struct {
	Code        int     `json:"error_code"`
	Type        *string `json:"error_type"`
	Message     *string `json:"error_message"`
	UserMessage *string `json:"user_message"`
	Locale      *string `json:"locale"`
}

// Patch is a change of a member: MX's field names with the values they are to
// have, nil for null. Values are whatever encoding/json turns into the right
// JSON. Besides the fields of [Member] it may hold other_job, a bool: whether
// a job other than an aggregation runs, so that aggregate answers 409.
//
// A new connection_status brings a fitting connection_status_message unless
// the patch has one itself. A patch with connection_status or
// is_being_aggregated ends an aggregation or authorization under way.
type Patch map[string]any

// patch is a Patch that has been checked: names says which fields of from
// count.
type patch struct {
	from     Member
	otherJob bool
	names    []string
}

// compile checks p. The guid is only for members that do not exist yet.
func (p Patch) compile(creating bool) (*patch, error) {
	text, err := json.Marshal(map[string]any(p))
	if err != nil {
		return nil, fmt.Errorf("%w: encoding patch: %w", ErrInvalid, err)
	}
	var wire struct {
		Member
		OtherJob bool `json:"other_job"`
	}
	if err := json.Unmarshal(text, &wire); err != nil {
		return nil, fmt.Errorf("%w: decoding patch: %w", ErrInvalid, err)
	}
	out := &patch{from: wire.Member, otherJob: wire.OtherJob}
	var scratch Member
	for name := range p {
		known := name == "other_job" || name == "guid" && creating || copyField(name, &scratch, &out.from)
		if !known {
			return nil, fmt.Errorf("%w: patch names %q, which cannot be set", ErrInvalid, name)
		}
		out.names = append(out.names, name)
	}
	slices.Sort(out.names)
	if e := out.from.Error; e != nil && e.Type == nil && e.Message == nil && e.UserMessage == nil && e.Locale == nil {
		e.describe()
	}
	return out, nil
}

func (p *patch) has(name string) bool { return slices.Contains(p.names, name) }

// apply changes to into what the patch says.
func (p *patch) apply(to *Member) {
	for _, name := range p.names {
		copyField(name, to, &p.from)
	}
	if p.has("connection_status") && !p.has("connection_status_message") {
		to.ConnectionStatusMessage = messageFor(to.ConnectionStatus, to.Name)
	}
}

// copyField copies the field that has this name in JSON. It reports false for
// fields that are not to be set: the guids, and user_id, which is the user's.
func copyField(name string, to, from *Member) bool {
	switch name {
	case "id":
		to.ID = from.ID
	case "name":
		to.Name = from.Name
	case "institution_code":
		to.InstitutionCode = from.InstitutionCode
	case "institution_guid":
		to.InstitutionGUID = from.InstitutionGUID
	case "connection_status":
		to.ConnectionStatus = from.ConnectionStatus
	case "connection_status_message":
		to.ConnectionStatusMessage = from.ConnectionStatusMessage
	case "error":
		to.Error = from.Error
	case "is_oauth":
		to.IsOAuth = from.IsOAuth
	case "is_manual":
		to.IsManual = from.IsManual
	case "is_managed_by_user":
		to.IsManagedByUser = from.IsManagedByUser
	case "is_being_aggregated":
		to.IsBeingAggregated = from.IsBeingAggregated
	case "background_aggregation_is_disabled":
		to.BackgroundAggregationIsDisabled = from.BackgroundAggregationIsDisabled
	case "needs_updated_credentials":
		to.NeedsUpdatedCredentials = from.NeedsUpdatedCredentials
	case "oauth_window_uri":
		to.OAuthWindowURI = from.OAuthWindowURI
	case "aggregated_at":
		to.AggregatedAt = from.AggregatedAt
	case "successfully_aggregated_at":
		to.SuccessfullyAggregatedAt = from.SuccessfullyAggregatedAt
	case "metadata":
		to.Metadata = from.Metadata
	case "use_cases":
		to.UseCases = from.UseCases
	case "raw":
		to.Raw = from.Raw
	case "absent":
		to.Absent = from.Absent
	default:
		return false
	}
	return true
}

func isTrue(b *bool) bool { return b != nil && *b }

func blank(s *string) bool { return s == nil || *s == "" }
