package mx

import "errors"

// unwantedError is about a value that is JSON, and not what was asked for.
type unwantedError struct{ text string }

func (e *unwantedError) Error() string { return e.text }

// mark is where a value begins, and its key: within an object the scanner moves on to keys of that.
type mark struct {
	pos, depth int
	key        []byte
}

func (s *scanner) mark() mark { return mark{s.pos, s.depth, s.key} }

// passOver skips the value that began at m, when all that is wrong with it is that it is unwanted.
func (s *scanner) passOver(m mark) {
	if _, unwanted := errors.AsType[*unwantedError](s.err); !unwanted {
		return
	}
	s.err, s.first = nil, false
	s.pos, s.depth, s.key = m.pos, m.depth, m.key
	s.unread = append(s.unread, s.place())
	s.skip()
}

// optional reports whether a member can be told without the field, which is then
// as if MX had not sent it: what is known of it stays. It may not be one by which
// members are told apart, that says what is wrong with a member, or who has to act.
func optional(name string) bool {
	switch name {
	case "id", "user_id", "name", "institution_code", "institution_guid", "connection_status_message",
		"is_manual", "is_managed_by_user", "is_being_aggregated", "background_aggregation_is_disabled",
		"needs_updated_credentials", "aggregated_at", "successfully_aggregated_at", "use_cases":
		return true
	}
	return false
}

// explains reports whether a field of an error is for people only: errors are told apart by the others.
func explains(name string) bool {
	return name == "error_message" || name == "user_message" || name == "locale"
}
