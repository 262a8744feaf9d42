package bus

import (
	"strings"

	"github.com/nats-io/nats.go"
)

// Names of headers. NATS compares them byte by byte.
const (
	headerContentType          = "Content-Type"
	headerTraceparent          = "traceparent"
	headerTracestate           = "tracestate"
	headerSource               = "Memberwatch-Source"
	expectedLastSubjSeqSubject = "Nats-Expected-Last-Subject-Sequence-Subject"
)

// header returns a header's value whatever the case of its name: NATS compares
// names byte by byte, publishers do not agree on one.
func header(h nats.Header, name string) string {
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
