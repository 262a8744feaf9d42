//go:build linux

package main

import (
	"maps"
	"slices"
)

// Scenario D: what was written, over all streams and buckets but the queue of
// commands itself, in the warm pass of A, where half of the reads find a change.
func (w *world) countWrites(p *pass, changes int) {
	total := uint64(0)
	for _, name := range slices.Sorted(maps.Keys(p.writes)) {
		total += p.writes[name]
	}
	w.report.add("D", "reads that found a change", "", w.c, float64(changes))
	w.report.add("D", "reads that found none", "", w.c, float64(p.allReads-changes))
	w.report.add("D", "messages written", "", w.c, float64(total))
	w.report.add("D", "of these on the event stream", "", w.c, float64(p.writes[w.c.events]))
	w.report.add("D", "messages written per change", "", w.c, float64(total)/float64(max(changes, 1)))
}
