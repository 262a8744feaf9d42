package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

func BenchmarkEventEncode(b *testing.B) {
	e := pendingEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDataMarshal is the part of BenchmarkEventEncode that is not the envelope.
func BenchmarkDataMarshal(b *testing.B) {
	e := pendingEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(e.Data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEventDecode(b *testing.B) {
	raw, err := pendingEvent(b).Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := events.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResultEncode(b *testing.B) {
	s := subjects(b)
	r := events.Result{
		CommandID: "cmd-1", Outcome: events.OutcomeChanged, UserGUID: userGUID, MemberGUID: memberGUID,
		Revision: 2, EventID: "0123456789ABCDEFGHIJKLMNOPQRSTUV", EventType: events.TypePending,
		FinishedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Encode(s); err != nil {
			b.Fatal(err)
		}
	}
}
