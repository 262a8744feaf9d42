package member_test

import (
	"encoding/json"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// FuzzObserve checks that no two answers of MX, and no stored snapshot whatever
// it lacks, make Observe panic, and that the same answer again is nothing new.
func FuzzObserve(f *testing.F) {
	f.Fuzz(func(t *testing.T, last, now []byte, hadURI, hasURI, aggregated bool) {
		var before, after events.Member
		if json.Unmarshal(last, &before) != nil || json.Unmarshal(now, &after) != nil {
			return
		}
		rules := member.Rules{InitialEvents: true, Aggregated: aggregated}
		first := observe(new(member.State), member.Reading{Member: before, HasURI: hadURI, At: epoch}, rules)
		if first.Type == "" || first.Data.Revision != 1 {
			t.Fatalf("first sight makes %q at revision %d", first.Type, first.Data.Revision)
		}
		r := member.Reading{Member: after, HasURI: hasURI, At: epoch}
		for _, s := range []member.State{
			{},
			member.StateOf(&first.Data),
			{Snapshot: before, OAuthRequired: hadURI, Provisional: aggregated, Revision: 1}, // with all that it lacks
			{Snapshot: before, Deleted: true, Revision: 1},
		} {
			got := observe(&s, r, rules)
			if got.Type != "" {
				if got.Data.Revision != s.Revision+1 || len(got.Data.Changed) == 0 {
					t.Fatalf("%s at revision %d after %d with changed %v", got.Type, got.Data.Revision, s.Revision, got.Data.Changed)
				}
				encode(t, got.Data)
				s = member.StateOf(&got.Data)
			}
			if again := observe(&s, r, rules); again.Type != "" {
				t.Fatalf("the same answer again makes %s with changed %v", again.Type, again.Data.Changed)
			}
		}
	})
}
