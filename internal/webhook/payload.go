package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/memberwatch/memberwatch/events"
)

// payload is a webhook, its fields by their exact names: MX's user_guid is not
// User_GUID. Four of them are heeded. Everything else is a copy of what a read says
// better.
type payload map[string]json.RawMessage

const (
	fieldType       = "type"
	fieldUserGUID   = "user_guid"
	fieldMemberGUID = "member_guid"
	// fieldGUID is the member's own name in webhooks of type MEMBER; in others, that
	// of an account, a user or something else.
	fieldGUID = "guid"
)

// text returns a field that is a text; "" when there is none.
func (p payload) text(field string) (s string, err error) {
	raw, ok := p[field]
	if !ok {
		return "", nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%s: %w", field, explain(err, "a string"))
	}
	return s, nil
}

// errNoMember: the webhook is about something that no read of a member would show.
var errNoMember = errors.New("webhook is about no member")

// Types that are about a member; without one in it such a webhook is broken. MX
// documents them under docs.mx.com/resources/webhooks.
const (
	TypeConnectionStatus = "CONNECTION_STATUS" // on entering one of the eight statuses that a user can act on
	TypeMember           = "MEMBER"            // created, updated, deleted
	TypeAggregation      = "AGGREGATION"       // after a successful aggregation
)

func memberTypes() []string { return []string{TypeConnectionStatus, TypeMember, TypeAggregation} }

// knownTypes are the types with a metric label of their own.
func knownTypes() []string {
	return append(memberTypes(), "BALANCE", "HISTORY", "STATEMENT", "VERIFICATION", "IDENTIFICATION")
}

// read makes a command of a webhook's body. pathType is the type that the path
// names, if any. An error names the field that is wrong; errNoMember is for a
// webhook that is fine and about no member. typ is known even then.
func read(body []byte, pathType string) (c events.Command, typ string, err error) {
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return c, "", fmt.Errorf("body: %w", explain(err, "an object"))
	}
	if typ, err = p.text(fieldType); err != nil {
		return c, "", err
	}
	if typ == "" {
		typ = pathType
	}
	if typ = strings.ToUpper(typ); !events.ValidToken(typ) {
		return c, "", errors.New("type: missing, or not 1 to 64 of A-Z a-z 0-9 _ -")
	}
	member, err := p.member(typ)
	if err != nil {
		return c, typ, err
	}
	user, err := p.text(fieldUserGUID)
	if err != nil {
		return c, typ, err
	}
	c = events.Command{User: user, Member: member, Reason: "webhook " + typ}
	return c, typ, errors.Join(
		check(fieldUserGUID, c.User, events.IsUserGUID),
		check(fieldMemberGUID, c.Member, events.IsMemberGUID),
	)
}

// member returns the member that a webhook is about, or errNoMember. What names
// something else may have any form.
func (p payload) member(typ string) (string, error) {
	member, err := p.text(fieldMemberGUID)
	if err != nil || member != "" {
		return member, err
	}
	guid, err := p.text(fieldGUID)
	switch {
	case events.IsMemberGUID(guid):
		return guid, nil
	case !slices.Contains(memberTypes(), typ):
		return "", errNoMember
	}
	return "", err
}

// check accepts guids alone: MX names members by them, and anything else would be
// taken for a partner's own id.
func check(field, guid string, form func(string) bool) error {
	switch {
	case guid == "":
		return fmt.Errorf("%s: missing", field)
	case !form(guid) || !events.ValidToken(guid):
		return fmt.Errorf("%s: is not one of MX's guids", field)
	}
	return nil
}

// explain says what is wrong with JSON that should be what want says.
func explain(err error, want string) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("is a JSON %s; want %s", e.Value, want)
	}
	return errors.New("is not JSON")
}
