package mx

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of an answer: MX's have four levels, and skipping is recursive.
const maxDepth = 64

var errTooDeep = errors.New("json is nested too deep")

// scanner reads JSON (RFC 8259) from front to back. It validates every byte it passes, so a document that reached done
// without an error is JSON as a whole, and it takes nothing from it but what the caller asks for.
//
// The first error sticks: from then on every method returns its zero value at once and every loop ends, so a decoder
// checks err once, at its end. A value of another type than asked for is such an error and names the place.
//
//	for s.object(); s.nextKey(); {
//		switch string(s.key) {
//		case "name":
//			name = s.text()
//		default:
//			s.skip()
//		}
//	}
type scanner struct {
	data  []byte
	pos   int
	err   error
	scope string // where we are, for errors: the path of the object being read
	key   []byte // the last key read; valid until the next one
	first bool   // an object or array was just opened
	depth int

	unread []string // where values stood that were passed over

	// arena collects the text of the document that is kept, so that it becomes strings in a single allocation.
	arena []byte
}

// span is a text within the arena; ok is false for null.
type span struct {
	from, to int
	ok       bool
	null     bool // said to be nothing, rather than not said
}

func (s *scanner) reset(data []byte) {
	*s = scanner{data: data, arena: s.arena[:0]}
}

// fail records the first error. Position and place name it well enough; the document itself may hold secrets.
func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.pos = len(s.data)
}

func (s *scanner) syntax(want string) {
	if s.err != nil {
		return
	}
	if s.pos >= len(s.data) {
		s.fail(fmt.Errorf("not json: ends at byte %d, want %s", s.pos, want))
		return
	}
	s.fail(fmt.Errorf("not json: byte %d is not %s", s.pos, want))
}

// wrongType fails because the value at hand has another type than wanted.
func (s *scanner) wrongType(want string) {
	if s.err != nil {
		return
	}
	have := ""
	switch c := s.peek(); {
	case c == '{':
		have = "an object"
	case c == '[':
		have = "an array"
	case c == '"':
		have = "a string"
	case c == 't' || c == 'f':
		have = "a boolean"
	case c == 'n':
		have = "null"
	case c == '-' || isDigit(c):
		have = "a number"
	default:
		s.syntax("a value")
		return
	}
	s.invalid(want + ", have " + have)
}

// invalid fails because the value just read has the right type and no meaning.
func (s *scanner) invalid(want string) {
	if s.err == nil {
		s.fail(&unwantedError{s.place() + ": want " + want})
	}
}

// place names the value being read, as in member.error.error_code.
func (s *scanner) place() string {
	switch {
	case len(s.key) == 0:
		return s.scope
	case s.scope == "":
		return string(s.key)
	}
	return s.scope + "." + string(s.key)
}

// peek passes white space and returns the byte after it, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// done checks that nothing but white space is left.
func (s *scanner) done() error {
	if s.peek(); s.err == nil && s.pos < len(s.data) {
		s.syntax("the end")
	}
	return s.err
}

// null passes a null and reports whether there was one.
func (s *scanner) null() bool {
	return s.peek() == 'n' && s.literal("null")
}

func (s *scanner) literal(word string) bool {
	if len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		s.syntax(word)
		return false
	}
	s.pos += len(word)
	return true
}

// object enters an object; nextKey goes through it.
func (s *scanner) object() { s.open('{', "an object") }

// array enters an array; nextElement goes through it.
func (s *scanner) array() { s.open('[', "an array") }

func (s *scanner) open(bracket byte, want string) {
	if s.peek() != bracket {
		s.wrongType(want)
		return
	}
	if s.depth++; s.depth > maxDepth {
		s.fail(errTooDeep)
		return
	}
	s.pos++
	s.first = true
}

// nextElement stands before the next element, or leaves the array and returns false.
func (s *scanner) nextElement() bool { return s.next(']') }

// nextKey reads the next key into s.key and stands before its value, or leaves the object and returns false.
func (s *scanner) nextKey() bool {
	if !s.next('}') {
		return false
	}
	if s.peek() != '"' {
		s.syntax("a key")
		return false
	}
	key := s.plain()
	if s.peek() != ':' {
		s.syntax("a colon")
		return false
	}
	s.pos++
	s.key = key
	return true
}

func (s *scanner) next(bracket byte) bool {
	c := s.peek()
	if c == bracket {
		s.pos++
		s.first = false
		s.depth--
		return false
	}
	if s.first {
		s.first = false
		return s.err == nil
	}
	if c != ',' {
		s.syntax("a comma or the closing bracket")
		return false
	}
	s.pos++
	return true
}

// quoted passes a string that begins here and returns what is between its quotes. The content is valid, escapes included.
func (s *scanner) quoted() (raw []byte, escaped bool) {
	from := s.pos + 1
	for i := from; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return s.data[from:i], escaped
		case c == '\\':
			escaped = true
			n := escapeLen(s.data[i:])
			if n == 0 {
				s.pos = i
				s.syntax("an escape sequence")
				return nil, false
			}
			i += n - 1
		case c < ' ':
			s.pos = i
			s.syntax("allowed in a string")
			return nil, false
		}
	}
	s.pos = len(s.data)
	s.syntax("the closing quote")
	return nil, false
}

// plain passes a string that begins here and returns its text: part of the document where nothing was escaped.
func (s *scanner) plain() []byte {
	raw, escaped := s.quoted()
	if escaped {
		return appendUnescaped(nil, raw)
	}
	return raw
}

// skip passes a value of any type.
func (s *scanner) skip() {
	switch s.peek() {
	case '"':
		s.quoted()
	case '{':
		for s.object(); s.nextKey(); {
			s.skip()
		}
	case '[':
		for s.array(); s.nextElement(); {
			s.skip()
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.number()
	}
}

// number passes a number and returns its text.
func (s *scanner) number() []byte {
	from := s.pos
	s.accept('-')
	if !s.accept('0') && !s.digits() {
		s.pos = from
		s.syntax("a value")
		return nil
	}
	if s.accept('.') && !s.digits() {
		s.syntax("a digit")
		return nil
	}
	if s.accept('e') || s.accept('E') {
		if !s.accept('+') {
			s.accept('-')
		}
		if !s.digits() {
			s.syntax("a digit")
			return nil
		}
	}
	return s.data[from:s.pos]
}

func (s *scanner) accept(c byte) bool {
	if s.pos < len(s.data) && s.data[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func (s *scanner) digits() bool {
	from := s.pos
	for s.pos < len(s.data) && isDigit(s.data[s.pos]) {
		s.pos++
	}
	return s.pos > from
}

// text reads a string or null into the arena.
func (s *scanner) text() span {
	switch s.peek() {
	case '"':
		from := len(s.arena)
		raw, escaped := s.quoted()
		s.arena = appendText(s.arena, raw, escaped)
		return span{from: from, to: len(s.arena), ok: true}
	case 'n':
		return span{null: s.null()}
	default:
		s.wrongType("a string or null")
	}
	return span{}
}

// flag is an optional boolean.
type flag uint8

const (
	unknown flag = iota
	no
	yes
)

// bool reads true, false or null.
func (s *scanner) bool() flag {
	switch s.peek() {
	case 't':
		if s.literal("true") {
			return yes
		}
	case 'f':
		if s.literal("false") {
			return no
		}
	case 'n':
		s.null()
	default:
		s.wrongType("true, false or null")
	}
	return unknown
}

// appendText appends the text of a string's content. As in encoding/json each byte that is not UTF-8 becomes U+FFFD.
func appendText(dst, raw []byte, escaped bool) []byte {
	if !escaped && utf8.Valid(raw) {
		return append(dst, raw...)
	}
	return appendUnescaped(dst, raw)
}

func appendUnescaped(dst, raw []byte) []byte {
	for len(raw) > 0 {
		if raw[0] == '\\' {
			var n int
			dst, n = appendEscape(dst, raw)
			raw = raw[n:]
			continue
		}
		r, n := utf8.DecodeRune(raw)
		dst = utf8.AppendRune(dst, r)
		raw = raw[n:]
	}
	return dst
}

// escapeLen returns the length of the escape sequence that b begins with, 0 if there is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hexRune(b); ok {
			return 6
		}
	}
	return 0
}

// hexRune returns the code unit of an escape sequence of the \u form that b begins with.
func hexRune(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	// ParseUint would take a sign or underscores only in other bases than the one given.
	v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v), err == nil
}

// appendEscape appends what the valid escape sequence at the beginning of raw stands for, and returns its length. Half a
// surrogate pair becomes U+FFFD.
func appendEscape(dst, raw []byte) ([]byte, int) {
	switch c := raw[1]; c {
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
		r, _ := hexRune(raw)
		if !utf16.IsSurrogate(r) {
			return utf8.AppendRune(dst, r), 6
		}
		if low, ok := hexRune(raw[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return utf8.AppendRune(dst, pair), 12
			}
		}
		return utf8.AppendRune(dst, utf8.RuneError), 6
	default: // " \ /
		return append(dst, c), 2
	}
}
