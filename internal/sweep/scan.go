package sweep

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/memberwatch/memberwatch/events"
)

// entry is an event on the stream: whose, and where.
type entry struct {
	key events.Key
	seq uint64
}

// scan returns the events from one sequence up to another, excluded, in order.
// It asks for several parts of the stretch at once: each event is a round trip.
func (w *Walker) scan(ctx context.Context, from, to uint64) ([]entry, error) {
	if to <= from {
		return nil, nil
	}
	type part struct{ from, to uint64 }
	length := (to - from + atOnce - 1) / atOnce
	var parts []part
	for at := from; at < to; at += length {
		parts = append(parts, part{at, min(at+length, to)})
	}
	var mu sync.Mutex
	var all []entry
	err := each(ctx, parts, func(ctx context.Context, p part) error {
		for at := p.from; at < p.to; at++ {
			k, seq, err := w.Known.Next(ctx, at)
			if err != nil {
				return fmt.Errorf("walking along the event stream: %w", err)
			}
			if seq == 0 || seq >= p.to {
				return nil
			}
			mu.Lock()
			all = append(all, entry{k, seq})
			mu.Unlock()
			at = seq
		}
		return nil
	})
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	return all, err
}

// firsts leaves of entries the first for each name, in order: only that can be
// the oldest on the whole stream.
func firsts[N comparable](entries []entry, name func(entry) N) []entry {
	seen := make(map[N]struct{}, len(entries))
	return slices.DeleteFunc(entries, func(e entry) bool {
		n := name(e)
		_, again := seen[n]
		seen[n] = struct{}{}
		return again
	})
}
