package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// object is a JSON object in the order it was written.
type object struct {
	names  []string
	values []json.RawMessage
}

// parseObject reads a JSON object. A name that comes twice is an error: readers
// differ on which one counts.
func parseObject(raw []byte) (object, error) {
	if !json.Valid(raw) {
		return object{}, errors.New("is not valid JSON")
	}
	return split(raw)
}

// split is parseObject for what is known to be valid JSON, such as a value of
// another object. It returns parts of raw.
func split(raw []byte) (object, error) {
	o := object{make([]string, 0, snapshotFields), make([]json.RawMessage, 0, snapshotFields)}
	at := skip(raw, 0)
	if at >= len(raw) || raw[at] != '{' {
		return object{}, errors.New("is not a JSON object")
	}
	for at = skip(raw, at+1); raw[at] != '}'; at = skip(raw, at) {
		if raw[at] == ',' {
			at = skip(raw, at+1)
		}
		end := after(raw, at)
		name, ok := str(raw[at:end])
		if !ok || slices.Contains(o.names, name) {
			return object{}, fmt.Errorf("has %s twice", name)
		}
		at = skip(raw, skip(raw, end)+1) // the colon
		end = after(raw, at)
		o.names, o.values = append(o.names, name), append(o.values, raw[at:end:end])
		at = end
	}
	return o, nil
}

// skip returns the place of the next byte that is no white space.
func skip(raw []byte, at int) int {
	for at < len(raw) && (raw[at] == ' ' || raw[at] == '\n' || raw[at] == '\t' || raw[at] == '\r') {
		at++
	}
	return at
}

// after returns the place behind the value that begins at a place.
func after(raw []byte, at int) int {
	depth := 0
	for ; at < len(raw); at++ {
		switch raw[at] {
		case '"':
			for at++; raw[at] != '"'; at++ {
				if raw[at] == '\\' {
					at++
				}
			}
			if depth == 0 {
				return at + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return at // the end of what holds a number or a word
			}
			if depth--; depth == 0 {
				return at + 1
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
		}
	}
	return at
}

// get returns the value called name, nil when there is none.
func (o object) get(name string) json.RawMessage {
	if i := slices.Index(o.names, name); i >= 0 {
		return o.values[i]
	}
	return nil
}

// str returns the string called name; ok is false when it is anything else.
func (o object) str(name string) (s string, ok bool) { return str(o.get(name)) }

// str reads a JSON string; ok is false when raw is anything else.
func str(raw json.RawMessage) (s string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	if s = string(raw[1 : len(raw)-1]); !strings.ContainsFunc(s, func(r rune) bool { return r == '\\' || r == '\uFFFD' }) {
		return s, true
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// shown is a raw value as a report shows it.
func shown(raw json.RawMessage) string {
	const enough = 200
	switch {
	case raw == nil:
		return "missing"
	case len(raw) > enough:
		return string(raw[:enough]) + "…"
	}
	return string(raw)
}
