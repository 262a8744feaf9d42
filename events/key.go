package events

import (
	"fmt"
	"strings"
)

// maxToken bounds a guid as a subject token. MX's guids have 40 characters.
const maxToken = 64

// ValidToken reports whether s may stand as one token of a subject: 1 to 64
// letters, digits, underscores or hyphens.
func ValidToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// Key names a member for good: MX's guids of user and member. A Key that was
// made by [NewKey] is safe to build subjects from; the zero Key is no member.
type Key struct{ user, member string }

// NewKey returns the key of a member, or an error when one of the guids cannot
// be a subject token.
func NewKey(userGUID, memberGUID string) (Key, error) {
	if !ValidToken(userGUID) {
		return Key{}, fmt.Errorf("user_guid: %q is not 1 to %d of A-Z a-z 0-9 _ -", clip(userGUID), maxToken)
	}
	if !ValidToken(memberGUID) {
		return Key{}, fmt.Errorf("member_guid: %q is not 1 to %d of A-Z a-z 0-9 _ -", clip(memberGUID), maxToken)
	}
	return Key{userGUID, memberGUID}, nil
}

// User is the guid of the user the member belongs to.
func (k Key) User() string { return k.user }

// Member is the member's guid.
func (k Key) Member() string { return k.member }

// Clone returns the same key with memory of its own. A key made of parts of a
// larger text keeps that text alive; clone one that is kept for long.
func (k Key) Clone() Key { return Key{strings.Clone(k.user), strings.Clone(k.member)} }

// IsZero reports whether k names no member.
func (k Key) IsZero() bool { return k == Key{} }

func (k Key) String() string { return k.user + "/" + k.member }

// clip keeps a quoted value in an error message readable.
func clip(s string) string {
	if len(s) > maxToken {
		return s[:maxToken] + "…"
	}
	return s
}
