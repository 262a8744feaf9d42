package events

import (
	"slices"
	"strings"
	"sync"
)

// Status is an MX connection_status, in MX's own spelling (upper case). MX may
// add statuses at any time; values unknown to this package are valid when
// [Status.Valid] says so.
type Status string

// The statuses MX documents, in the order of MX's connection_status_id.
const (
	StatusCreated      Status = "CREATED"
	StatusPrevented    Status = "PREVENTED"
	StatusDenied       Status = "DENIED"
	StatusChallenged   Status = "CHALLENGED"
	StatusRejected     Status = "REJECTED"
	StatusLocked       Status = "LOCKED"
	StatusConnected    Status = "CONNECTED"
	StatusImpeded      Status = "IMPEDED"
	StatusReconnected  Status = "RECONNECTED"
	StatusDegraded     Status = "DEGRADED"
	StatusDisconnected Status = "DISCONNECTED"
	StatusDiscontinued Status = "DISCONTINUED"
	StatusClosed       Status = "CLOSED"
	StatusDelayed      Status = "DELAYED"
	StatusFailed       Status = "FAILED"
	StatusUpdated      Status = "UPDATED"
	StatusDisabled     Status = "DISABLED"
	StatusImported     Status = "IMPORTED"
	StatusResumed      Status = "RESUMED"
	StatusExpired      Status = "EXPIRED"
	StatusImpaired     Status = "IMPAIRED"
	StatusPending      Status = "PENDING"
)

// Statuses returns the statuses MX documents; the index of each is MX's
// connection_status_id.
func Statuses() []Status {
	return []Status{
		StatusCreated, StatusPrevented, StatusDenied, StatusChallenged, StatusRejected, StatusLocked,
		StatusConnected, StatusImpeded, StatusReconnected, StatusDegraded, StatusDisconnected,
		StatusDiscontinued, StatusClosed, StatusDelayed, StatusFailed, StatusUpdated, StatusDisabled,
		StatusImported, StatusResumed, StatusExpired, StatusImpaired, StatusPending,
	}
}

// maxStatus bounds a status' length, so that the type made of it stays one
// short subject token.
const maxStatus = 64

// Valid reports whether s has the form of an MX status, known or not:
// an upper-case letter, then up to 63 upper-case letters, digits or underscores.
func (s Status) Valid() bool {
	if s == "" || len(s) > maxStatus || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// Known reports whether this package names s.
func (s Status) Known() bool { return slices.Contains(Statuses(), s) }

// Transient reports whether MX moves the member on by itself, soon.
func (s Status) Transient() bool {
	switch s { //nolint:exhaustive // The transient ones are the exception; a status added by MX is not one until we know it.
	case StatusCreated, StatusDelayed, StatusUpdated, StatusResumed:
		return true
	}
	return false
}

// Type returns the type of the event that says a member has come to status s.
// s must be [Status.Valid].
func (s Status) Type() Type {
	if t, ok := typeOfStatus()[s]; ok {
		return t
	}
	return s.makeType()
}

// typeOfStatus has the types of the statuses that MX documents, made once: each read that finds another status asks.
//
//nolint:gochecknoglobals // It never changes.
var typeOfStatus = sync.OnceValue(func() map[Status]Type {
	types := map[Status]Type{}
	for _, s := range Statuses() {
		types[s] = s.makeType()
	}
	return types
})

func (s Status) makeType() Type {
	token := strings.ToLower(string(s))
	if t := Type(typeRoot + token); !t.other() && t != CommandType {
		return t
	}
	return Type(typeRoot + "status_" + token) // A future MX status must not pass for another thing that happens.
}
