package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Unmarshal reads a JSON object with the names of its fields to the letter. The error
// begins with "body:" and names the field.
func Unmarshal(body []byte, to any) error {
	if err := json.Unmarshal(exactNames(body), to); err != nil {
		return fmt.Errorf("body: %w", explain(err))
	}
	return nil
}

// explain says what is wrong with JSON in terms of its fields.
func explain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := strings.TrimPrefix(e.Field, "Command.") // which is embedded in requests
		if field == "" {
			return fmt.Errorf("is a JSON %s; want an object", e.Value)
		}
		return fmt.Errorf("%s: is a JSON %s; want %s", field, e.Value, wanted(e.Type))
	}
	return fmt.Errorf("is not JSON: %w", err)
}

// wanted names a type as JSON does.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "an integer"
	default:
		return "an object"
	}
}

// exactNames returns a JSON object without the fields that encoding/json would
// take for ours although they are spelled otherwise, as "Member" for "member":
// they are unknown fields, and must not overrule a known one. Our names have
// small letters, digits and underscores only. What is no object stays as it is.
func exactNames(object []byte) []byte {
	if !hasOddName(object) {
		return object
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(object, &fields) != nil {
		return object
	}
	for name := range fields {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			delete(fields, name)
		}
	}
	exact, err := json.Marshal(fields)
	if err != nil {
		return object // Unreachable: it was JSON.
	}
	return exact
}

// hasOddName reports whether a name in some JSON, at any depth, may have other
// letters than ours do. Nearly no command has one, and so need not be parsed twice.
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
		b = bytes.TrimLeft(b[end+1:], " \t\r\n")
		if odd && len(b) > 0 && b[0] == ':' {
			return true
		}
	}
}

func short(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
