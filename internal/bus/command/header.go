package command

import (
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
)

// Names of headers that a command may have, and what is published has too.
const (
	HeaderContentType = "Content-Type"
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

// Header returns a header's value whatever the case of its name: NATS compares
// names byte by byte, publishers do not agree on one.
func Header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// Trace is the W3C trace context that a message came with. Both are empty if it came
// with none, or with one that is broken: that must not keep a command from its work.
type Trace struct {
	Parent, State string
}

// TraceOf returns the trace context in the headers of a message.
func TraceOf(h nats.Header) Trace {
	return Trace{Header(h, HeaderTraceparent), Header(h, HeaderTracestate)}.checked()
}

// validTrace is the form of a W3C traceparent.
var validTrace = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// maxTracestate is what W3C asks everybody to propagate at least.
const maxTracestate = 512

// checked is t without what is broken.
func (t Trace) checked() Trace {
	if !validTrace.MatchString(t.Parent) {
		return Trace{}
	}
	if len(t.State) > maxTracestate || strings.ContainsFunc(t.State, func(c rune) bool { return c < ' ' || c > '~' }) {
		t.State = ""
	}
	return t
}
