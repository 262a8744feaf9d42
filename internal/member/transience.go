package member

import "github.com/memberwatch/memberwatch/events"

// Transience says why what a read says of a member will not last, so that it is
// worth looking again soon. It is a metric label.
type Transience string

// The kinds of transience.
const (
	// Settled: it lasts until something new happens.
	Settled Transience = ""
	// Aggregating: MX works on the member, and every status is provisional.
	Aggregating Transience = "aggregating"
	// Moving: MX moves the member on by itself: CREATED, UPDATED, RESUMED, DELAYED.
	Moving Transience = "moving"
	// Reconnected: RECONNECTED. MX moves the member on once the user is there.
	Reconnected Transience = "reconnected"
	// Authorizing: PENDING. The user may be in the OAuth window right now.
	Authorizing Transience = "authorizing"
)

// TransienceOf is the transience of a member with that status (nil: none known)
// that MX is aggregating or not.
func TransienceOf(status *events.Status, aggregating bool) Transience {
	switch {
	case aggregating:
		return Aggregating
	case status == nil:
		return Settled
	case status.Transient():
		return Moving
	case *status == events.StatusReconnected:
		return Reconnected
	case *status == events.StatusPending:
		return Authorizing
	}
	return Settled // a status newer than this table included: nobody knows whether it passes
}

// Transience is the transience of the member after the read r.
func (s *State) Transience(r Reading) Transience {
	status, aggregating := r.Member.ConnectionStatus, r.Member.IsBeingAggregated
	if status == nil {
		status = s.Snapshot.ConnectionStatus
	}
	if aggregating == nil {
		aggregating = s.Snapshot.IsBeingAggregated
	}
	return TransienceOf(status, isTrue(aggregating))
}
