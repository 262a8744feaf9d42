package events

import (
	"bytes"
	"encoding/json"
	"iter"
)

// nest names the fields of an object that are objects with fields of ours.
type nest map[string]nest

// exact returns a JSON object without the fields that encoding/json would take for
// ours although they are spelled otherwise, as "GUID" for "guid": they are fields
// that we do not know, and must neither overrule a known one nor fail for being of
// another type. Our names have small letters, digits and underscores only. What is
// no object stays as it is.
func exact(object []byte, in nest) []byte {
	if !hasOddName(object) || !json.Valid(object) {
		return object
	}
	return exactNames(object, in)
}

func exactNames(object []byte, in nest) []byte {
	if !bytes.HasPrefix(trimSpace(object), []byte("{")) {
		return object
	}
	b := append(make([]byte, 0, len(object)), '{')
	for name, value := range fields(object) {
		if len(bytes.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_")) > 0 {
			continue
		}
		if inner, ok := in[string(name)]; ok {
			value = exactNames(value, inner)
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, string(name)), ':')
		b = append(b, value...)
	}
	return append(b, '}')
}

// hasOddName reports whether a name in some JSON, at any depth, may have other
// letters than ours do. Nearly no event has one, and so need not be taken apart.
func hasOddName(b []byte) bool {
	for {
		begin := bytes.IndexByte(b, '"')
		if begin < 0 {
			return false
		}
		b = b[begin+1:]
		odd, end := false, 0
		for ; end < len(b) && b[end] != '"'; end++ {
			c := b[end]
			odd = odd || c >= 'A' && c <= 'Z' || c == '\\' || c > '~'
			if c == '\\' {
				end++
			}
		}
		if end >= len(b) {
			return false // no JSON
		}
		b = trimSpace(b[end+1:])
		if odd && len(b) > 0 && b[0] == ':' {
			return true
		}
	}
}

// fields yields the names and the values of a JSON object, which must be valid, as
// they stand there: a name that comes twice, twice. Anything else has none.
func fields(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		b, ok := bytes.CutPrefix(trimSpace(object), []byte("{"))
		for b = trimSpace(b); ok && b[0] != '}'; b = trimSpace(b) {
			b = trimSpace(bytes.TrimPrefix(b, []byte(",")))
			end := valueEnd(b)
			name := b[1 : end-1]
			if bytes.IndexByte(name, '\\') >= 0 {
				var s string
				_ = json.Unmarshal(b[:end], &s) // It is valid.
				name = []byte(s)
			}
			b = trimSpace(trimSpace(b[end:])[1:]) // the colon
			end = valueEnd(b)
			if !yield(name, b[:end]) {
				return
			}
			b = b[end:]
		}
	}
}

// valueEnd returns the place behind the value that valid JSON begins with.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of what holds a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// trimSpace cuts what JSON takes for white space from the front.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}
