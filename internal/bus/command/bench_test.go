package command

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// BenchmarkDecode is the price of each form at the door; nearly every
// command is plain.
func BenchmarkDecode(b *testing.B) {
	for _, form := range []struct {
		name, subject string
		header        nats.Header
		body          string
	}{
		{"plain", plain, nats.Header{"traceparent": {parent}}, body},
		{"subject", long, nil, ""},
		{"structured", plain, contentType(events.ContentType), structuredEvent(`"time":"2026-08-01T12:00:00Z","data":` + body)},
		{"binary", plain, ce("Content-Type", "application/json", "ce-time", "2026-08-01T12:00:00Z"), body},
	} {
		b.Run(form.name, func(b *testing.B) {
			s, raw := subjects(b), []byte(form.body)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Decode(s, form.subject, form.header, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
