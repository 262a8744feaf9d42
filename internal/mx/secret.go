package mx

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const redacted = "[redacted]"

// errRevealURI is why a [URI] cannot be marshaled.
var errRevealURI = errors.New("mx: an oauth window uri is marshaled only by way of Reveal")

// Secret is a credential. It prints as "[redacted]" through fmt (every verb), slog, encoding/json and encoding.TextMarshaler;
// string(s) is the one way to its value. fmt cannot call methods on unexported struct fields: keep a Secret in an exported
// field, or behind a pointer.
type Secret string

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string { return mask(string(s)) }

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String, quoted.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// URI is an OAuth window URI: whoever holds one can act in the user's place until it is used, so it prints as
// "[redacted]" and refuses to be marshaled. Like [Secret] it cannot guard an unexported struct field.
type URI string

// Reveal returns the value, for the one message that may carry it.
func (u URI) Reveal() string { return string(u) }

// Blank tells whether there is nowhere to send the user: MX writes null as well as "".
func (u URI) Blank() bool { return strings.TrimSpace(string(u)) == "" }

// String returns "[redacted]", or "" for an empty URI.
func (u URI) String() string { return mask(string(u)) }

// GoString is String.
func (u URI) GoString() string { return u.String() }

// Format writes String whatever the verb.
func (u URI) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue is String.
func (u URI) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalText fails for a URI with a value: a redacted one published by mistake would send a user to nowhere.
func (u URI) MarshalText() ([]byte, error) {
	if u != "" {
		return nil, errRevealURI
	}
	return nil, nil
}

// MarshalJSON fails for a URI with a value, as MarshalText does; an empty one is null.
func (u URI) MarshalJSON() ([]byte, error) {
	if u != "" {
		return nil, errRevealURI
	}
	return []byte("null"), nil
}

func mask(s string) string {
	if s == "" {
		return ""
	}
	return redacted
}
