package member_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// BenchmarkObserve measures the comparison that every read ends in, which for
// most reads finds nothing new.
func BenchmarkObserve(b *testing.B) {
	reworded := func(r *member.Reading) { r.Member.ConnectionStatusMessage = new("All is well") }
	for _, c := range []struct {
		name string
		last []member.Reading
		now  member.Reading
		want events.Type
	}{
		{"nothing new", []member.Reading{answer(fault(3000))}, answer(fault(3000)), ""},
		{"reworded", []member.Reading{answer()}, answer(reworded), ""},
		{"status", []member.Reading{answer()}, answer(status("DENIED"), message("Denied"), fault(2005)), "member.denied"},
		{"first sight", nil, answer(), "member.connected"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var s member.State
			if c.last != nil {
				s = after(b, c.last...)
			}
			b.ReportAllocs()
			for b.Loop() {
				if t, _, _ := s.Observe(c.now, everyStatus); t != c.want {
					b.Fatalf("type is %q, want %q", t, c.want)
				}
			}
		})
	}
}
