package member

import "github.com/memberwatch/memberwatch/events"

// ActionFor says who has to do what next about a member in that state. The
// table is MX's documentation of each status, inferred where MX is silent.
func ActionFor(status *events.Status, oauthRequired, deleted bool) events.Action {
	switch {
	case deleted:
		return events.Action{Actor: events.ActorNone, Kind: events.ActionNone}
	case oauthRequired:
		return events.Action{Actor: events.ActorUser, Kind: events.ActionAuthorize}
	case status == nil:
		return events.Action{Actor: events.ActorNone, Kind: events.ActionNone}
	}
	return remedy(*status)
}

// remedy is what a status alone asks for. For a member that connects through
// OAuth, "update credentials" means to authorize again; needsOAuth sees to that.
func remedy(s events.Status) events.Action {
	switch s {
	case events.StatusPrevented, events.StatusDenied, events.StatusImported, events.StatusImpaired:
		return events.Action{Actor: events.ActorUser, Kind: events.ActionUpdateCredentials}
	case events.StatusChallenged, events.StatusRejected, events.StatusExpired, events.StatusReconnected:
		return events.Action{Actor: events.ActorUser, Kind: events.ActionAnswerChallenge}
	case events.StatusLocked, events.StatusImpeded:
		return events.Action{Actor: events.ActorUser, Kind: events.ActionVisitInstitution}
	case events.StatusPending:
		return events.Action{Actor: events.ActorUser, Kind: events.ActionAuthorize}
	case events.StatusDisconnected, events.StatusDisabled:
		return events.Action{Actor: events.ActorSupport, Kind: events.ActionContactSupport}
	case events.StatusCreated, events.StatusDelayed, events.StatusUpdated, events.StatusResumed,
		events.StatusDegraded, events.StatusFailed:
		return events.Action{Actor: events.ActorNone, Kind: events.ActionWait}
	case events.StatusConnected, events.StatusDiscontinued, events.StatusClosed:
		return events.Action{Actor: events.ActorNone, Kind: events.ActionNone}
	}
	return events.Action{Actor: events.ActorNone, Kind: events.ActionNone} // a status newer than this table
}
