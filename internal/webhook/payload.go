package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/memberwatch/memberwatch/events"
)

// payload is what of a webhook is heeded. Everything else in it is a copy of what
// a read says better.
type payload struct {
	Type       string `json:"type"`
	UserGUID   string `json:"user_guid"`
	MemberGUID string `json:"member_guid"`
	// GUID is the member's own name in webhooks of type MEMBER; in others, that of
	// an account, a user or something else.
	GUID string `json:"guid"`
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
		return c, "", fmt.Errorf("body: %w", explain(err))
	}
	typ = strings.ToUpper(p.Type)
	if typ == "" {
		typ = strings.ToUpper(pathType)
	}
	if !events.ValidToken(typ) {
		return c, "", errors.New("type: missing, or not 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if p.MemberGUID == "" && events.IsMemberGUID(p.GUID) {
		p.MemberGUID = p.GUID
	}
	if p.MemberGUID == "" && !slices.Contains(memberTypes(), typ) {
		return c, typ, errNoMember
	}
	c = events.Command{User: p.UserGUID, Member: p.MemberGUID, Reason: "webhook " + typ}
	return c, typ, errors.Join(
		check("user_guid", c.User, events.IsUserGUID),
		check("member_guid", c.Member, events.IsMemberGUID),
	)
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

// explain says what is wrong with JSON in terms of its fields.
func explain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("is a JSON %s; want an object", e.Value)
		}
		return fmt.Errorf("%s: is a JSON %s; want a string", e.Field, e.Value)
	}
	return errors.New("is not JSON")
}
