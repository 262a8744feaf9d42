package member

import "github.com/memberwatch/memberwatch/events"

// MX error codes that say that the user has to authorize again.
const (
	codeReauthorize        = 2004
	codeInvalidCredentials = 2005
)

// needsOAuth reports whether the user must authorize in the OAuth window for MX
// to go on: now is the merged snapshot, hasURI whether MX offered a window.
func needsOAuth(last *State, now *events.Member, hasURI bool) bool {
	if !isTrue(now.IsOAuth) {
		return false
	}
	var status events.Status
	if now.ConnectionStatus != nil {
		status = *now.ConnectionStatus
	}
	if status == events.StatusPending || remedy(status).Kind == events.ActionUpdateCredentials {
		return true
	}
	if e := now.Error; e != nil && e.Code != nil && (*e.Code == codeReauthorize || *e.Code == codeInvalidCredentials) {
		return true
	}
	if status == events.StatusConnected || status.Transient() || isTrue(now.IsBeingAggregated) {
		return false
	}
	if hasURI {
		return true
	}
	// MX blanks the URI once it was fetched or has expired; that alone settles nothing.
	return last.OAuthRequired && !last.Deleted && sameTrouble(&last.Snapshot, now)
}

// sameTrouble reports whether status and error are as they were, as far as the
// stored snapshot tells.
func sameTrouble(last, now *events.Member) bool {
	return (last.Lacks("connection_status") || equal(last.ConnectionStatus, now.ConnectionStatus)) &&
		(last.Lacks("error") || sameError(last.Error, now.Error))
}

func isTrue(b *bool) bool { return b != nil && *b }
