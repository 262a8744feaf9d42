package webhook

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a credential. It prints as "[redacted]" through fmt (every verb),
// slog, encoding/json and encoding.TextMarshaler; string(s) is the one way to its
// value. Keep it in an exported field: fmt cannot call methods on others.
type Secret string

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[redacted]"
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// Format writes String whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
