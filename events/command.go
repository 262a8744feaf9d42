package events

import (
	"errors"
	"fmt"
	"strings"
)

// CommandType is the CloudEvents type of a refresh command, for publishers that
// wrap the body in a CloudEvent.
const CommandType = "member.refresh"

// Command asks for a refresh: read the member from MX and publish what changed.
type Command struct {
	// User is USR-… or the partner's own id of the user.
	User string `json:"user"`
	// Member is MBR-… or the partner's own id of the member.
	Member string `json:"member"`
	// CommandID names the command in results and events: 1 to 64 of A-Z a-z 0-9 _ -.
	// Without one, the stream sequence in the publisher's acknowledgement is the id.
	CommandID string `json:"command_id,omitempty"`
	// Aggregate asks MX to start an aggregation at the bank first.
	Aggregate bool `json:"aggregate,omitempty"`
	// Reason is carried to the event and the result, for people; at most 256 bytes.
	Reason string `json:"reason,omitempty"`
}

// Bounds of a command's fields.
const (
	maxID     = 1024 // MX's bound for a partner's own id
	maxReason = 256
)

const (
	userGUIDPrefix   = "USR-"
	memberGUIDPrefix = "MBR-"
)

// IsUserGUID reports whether id is in MX's name space of user guids, in which no partner id may be.
func IsUserGUID(id string) bool { return strings.HasPrefix(id, userGUIDPrefix) }

// IsMemberGUID reports whether id is in MX's name space of member guids, in which no partner id may be.
func IsMemberGUID(id string) bool { return strings.HasPrefix(id, memberGUIDPrefix) }

// Validate returns every problem of c at once, each naming its field.
func (c Command) Validate() error {
	return errors.Join(
		validateID("user", c.User, IsUserGUID(c.User), "._~@+:="),
		validateID("member", c.Member, IsMemberGUID(c.Member), ""),
		validateCommandID(c.CommandID),
		validateReason(c.Reason),
	)
}

// validateID accepts a guid, or a partner's own id as MX takes it: letters,
// digits, _ and -, for users also the other characters that need no escaping.
func validateID(field, id string, guid bool, more string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s: missing; give MX's guid or your own id", field)
	case guid && !ValidToken(id):
		return fmt.Errorf("%s: %q is not a guid; it has at most %d of A-Z a-z 0-9 _ -", field, clip(id), maxToken)
	case len(id) > maxID:
		return fmt.Errorf("%s: has %d bytes; MX's ids have at most %d", field, len(id), maxID)
	case id == "." || id == "..":
		return fmt.Errorf("%s: %q is a path, not an id", field, id)
	}
	for i, c := range id {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' &&
			!strings.ContainsRune(more, c) {
			return fmt.Errorf("%s: %q at byte %d; an id has only %s", field, c, i, strings.TrimSpace("A-Z a-z 0-9 _ - "+more))
		}
	}
	return nil
}

func validateCommandID(id string) error {
	if id != "" && !ValidToken(id) {
		return fmt.Errorf("command_id: %q is not 1 to %d of A-Z a-z 0-9 _ -", clip(id), maxToken)
	}
	return nil
}

func validateReason(reason string) error {
	if len(reason) > maxReason {
		return fmt.Errorf("reason: has %d bytes; at most %d", len(reason), maxReason)
	}
	for _, r := range reason {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return errors.New("reason: has a control character or is not UTF-8")
		}
	}
	return nil
}
