package mx

import (
	"math"
	"strconv"
	"strings"
)

// readMemberError reads a member's error in any of its forms: absent, null, {}, an object, a string that holds JSON, a string
// that holds a sentence. nil means that there is none.
func readMemberError(s *scanner) *Error {
	switch s.peek() {
	case '{':
		return readMemberErrorObject(s)
	case '"':
		raw, escaped := s.quoted()
		return memberErrorOfText(string(appendText(nil, raw, escaped)))
	case 'n':
		s.null()
	default:
		s.wrongType("an object, a string or null")
	}
	return nil
}

// memberErrorOfText reads an error that came as a string. What is not the JSON of an error is its message.
func memberErrorOfText(text string) *Error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	inner := scanner{data: []byte(text)}
	var e *Error
	switch inner.peek() {
	case '{':
		e = readMemberErrorObject(&inner)
	case 'n':
		inner.null()
	default:
		inner.syntax("an error")
	}
	if inner.done() != nil {
		return &Error{Message: new(clip(text))}
	}
	return e
}

func readMemberErrorObject(s *scanner) *Error {
	outer := s.scope
	s.scope = "member.error"
	var (
		e      Error
		unread error // why a text was passed over
	)
	for s.object(); s.nextKey(); {
		begin := s.mark()
		switch string(s.key) {
		case "error_code":
			e.Code = readInt(s)
		case "error_type":
			e.Type = readOwnText(s)
		case "error_message":
			e.Message = readOwnText(s)
		case "user_message":
			e.UserMessage = readOwnText(s)
		case "locale":
			e.Locale = readOwnText(s)
		default:
			s.skip()
		}
		if s.err != nil && explains(string(begin.key)) {
			unread = s.err
			s.passOver(begin)
		}
	}
	s.scope = outer
	// A locale alone says nothing of what went wrong.
	if e.Code == nil && blank(e.Type) && blank(e.Message) && blank(e.UserMessage) {
		if unread != nil && s.err == nil {
			s.fail(unread) // What cannot be read is not the same as no error.
		}
		return nil
	}
	return new(e) // A copy, so that {} costs no allocation.
}

// readInt reads an integer, bare or in a string; nil for null and "". Bare, 2004.0 and 2.004e3 are integers, too, as they
// are to JSON Schema: which numbers are written so is up to who writes JSON, not to MX.
func readInt(s *scanner) *int {
	var digits []byte
	switch c := s.peek(); {
	case c == '"':
		digits = s.plain()
		if len(digits) == 0 {
			return nil
		}
	case c == '-' || isDigit(c):
		digits = s.number()
		if n, err := strconv.ParseFloat(string(digits), 64); err == nil && n == math.Trunc(n) && math.Abs(n) <= math.MaxInt32 {
			return new(int(n))
		}
	case c == 'n':
		s.null()
		return nil
	default:
		s.wrongType("an integer or null")
		return nil
	}
	code, err := strconv.ParseInt(string(digits), 10, 32)
	if err != nil {
		s.invalid("an integer of 32 bits")
		return nil
	}
	return new(int(code))
}

// readOwnText reads a string or null into a string of its own: errors are rare, and outlive the rest of a member.
func readOwnText(s *scanner) *string {
	text := s.text()
	if !text.ok {
		return nil
	}
	own := clip(string(s.arena[text.from:text.to]))
	s.arena = s.arena[:text.from]
	return &own
}

func blank(s *string) bool { return s == nil || *s == "" }
