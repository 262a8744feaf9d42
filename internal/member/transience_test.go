package member

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
)

func TestTransienceOfEveryStatus(t *testing.T) {
	t.Parallel()
	transient := map[events.Status]Transience{
		events.StatusCreated: Moving, events.StatusUpdated: Moving, events.StatusResumed: Moving, events.StatusDelayed: Moving,
		events.StatusReconnected: Reconnected, events.StatusPending: Authorizing,
	}
	all := append(events.Statuses(), "BRAND_NEW")
	for _, s := range all {
		if got, want := TransienceOf(&s, false), transient[s]; got != want {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
		if got := TransienceOf(&s, true); got != Aggregating {
			t.Errorf("%s while aggregating: %q", s, got)
		}
	}
	if got := TransienceOf(nil, false); got != Settled {
		t.Errorf("no status: %q", got)
	}
	if got := TransienceOf(nil, true); got != Aggregating {
		t.Errorf("no status while aggregating: %q", got)
	}
}

func TestWhatAReadLeavesOutKeepsItsTransience(t *testing.T) {
	t.Parallel()
	created, connected := events.StatusCreated, events.StatusConnected
	for name, tc := range map[string]struct {
		known, read events.Member
		want        Transience
	}{
		"status unknown at the moment":  {events.Member{ConnectionStatus: &created}, events.Member{}, Moving},
		"aggregating, nothing said now": {events.Member{IsBeingAggregated: new(true)}, events.Member{ConnectionStatus: &connected}, Aggregating},
		"aggregation over": {
			events.Member{ConnectionStatus: &connected, IsBeingAggregated: new(true)}, events.Member{IsBeingAggregated: new(false)}, Settled,
		},
		"aggregation begun": {
			events.Member{ConnectionStatus: &connected, IsBeingAggregated: new(false)}, events.Member{IsBeingAggregated: new(true)}, Aggregating,
		},
	} {
		s := State{Snapshot: tc.known, Revision: 1}
		if got := s.Transience(Reading{Member: tc.read}); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
