package bus

import (
	"bytes"
	"encoding/json"
	"strings"
)

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
