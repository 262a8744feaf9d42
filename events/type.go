package events

import (
	"iter"
	"slices"
	"strings"
	"sync"
)

// Type says what happened to a member: "member." and one subject token. It is
// the CloudEvents type, apart from the prefix a house may put in front
// (EVENT_TYPE_PREFIX).
type Type string

const typeRoot = "member."

// One type for each status a member can come to.
const (
	TypeCreated      Type = "member.created"
	TypePrevented    Type = "member.prevented"
	TypeDenied       Type = "member.denied"
	TypeChallenged   Type = "member.challenged"
	TypeRejected     Type = "member.rejected"
	TypeLocked       Type = "member.locked"
	TypeConnected    Type = "member.connected"
	TypeImpeded      Type = "member.impeded"
	TypeReconnected  Type = "member.reconnected"
	TypeDegraded     Type = "member.degraded"
	TypeDisconnected Type = "member.disconnected"
	TypeDiscontinued Type = "member.discontinued"
	TypeClosed       Type = "member.closed"
	TypeDelayed      Type = "member.delayed"
	TypeFailed       Type = "member.failed"
	TypeUpdated      Type = "member.updated"
	TypeDisabled     Type = "member.disabled"
	TypeImported     Type = "member.imported"
	TypeResumed      Type = "member.resumed"
	TypeExpired      Type = "member.expired"
	TypeImpaired     Type = "member.impaired"
	TypePending      Type = "member.pending"
)

// The types that are not a status.
const (
	// TypeErrorRaised: MX reports an error it did not report before, or another one; the status is as before.
	TypeErrorRaised Type = "member.error_raised"
	// TypeErrorCleared: MX no longer reports an error; the status is as before.
	TypeErrorCleared Type = "member.error_cleared"
	// TypeAttributesChanged: neither status nor error, but something else that matters.
	TypeAttributesChanged Type = "member.attributes_changed"
	// TypeAggregated: successfully_aggregated_at moved forward (only with AGGREGATED_EVENTS).
	TypeAggregated Type = "member.aggregated"
	// TypeDiscovered: first sight of a member that has no status, or of any member with INITIAL_EVENTS off;
	// or a deleted member came back, and no status of it was ever known.
	TypeDiscovered Type = "member.discovered"
	// TypeDeleted: MX no longer knows the member.
	TypeDeleted Type = "member.deleted"
	// TypeOAuthRequired: the user must authorize in the OAuth window. Published on the OAuth stream alone.
	TypeOAuthRequired Type = "member.oauth_required"
)

// Stream tells on which of the service's streams a type is published.
type Stream string

// The streams that carry events.
const (
	StreamEvents Stream = "EVENTS" // changes of members
	StreamOAuth  Stream = "OAUTH"  // announcements; the only place where an OAuth URI exists
)

// What says, for documents, what a stream carries and how often; empty for a
// stream that is not one of these.
func (s Stream) What() string {
	switch s {
	case StreamEvents:
		return "one event per change, never per read"
	case StreamOAuth:
		return "the need to authorize, with `oauth_window_uri`; who may read this stream may read URIs"
	}
	return ""
}

// Entry is one row of the catalog.
type Entry struct {
	Type   Type
	Status Status // the status the type stands for; empty for the others
	Stream Stream
	When   string // one sentence: when the event is published
}

// Types yields the whole catalog: a row for each status in MX's order, then
// the others. What is derived from the contract (schemas, documentation, the
// catalog command) is derived from here.
func Types() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, s := range Statuses() {
			if !yield(Entry{s.Type(), s, StreamEvents, "connection_status became " + string(s) + ", first sight included."}) {
				return
			}
		}
		for _, e := range others() {
			if !yield(e) {
				return
			}
		}
	}
}

// others returns the rows of what is not a status. A type is added to the contract
// by a row here, or by a status in [Statuses]; tests then name the golden file that
// it lacks, and go test ./schemas -update writes its schema and documents.
func others() []Entry {
	return []Entry{
		{TypeErrorRaised, "", StreamEvents, "An error appeared or its code or type changed; the status is as before."},
		{TypeErrorCleared, "", StreamEvents, "The error went away; the status is as before."},
		{TypeAttributesChanged, "", StreamEvents, "The need to authorize, the end of an aggregation, a flag, an id, the name, the institution or the use cases changed; status and error are as before."},
		{TypeAggregated, "", StreamEvents, "successfully_aggregated_at moved forward and nothing more significant changed; only with AGGREGATED_EVENTS=true."},
		{TypeDiscovered, "", StreamEvents, "First sight of a member without a status, or of any member with INITIAL_EVENTS=false; or a deleted member of no known status came back."},
		{TypeDeleted, "", StreamEvents, "MX answered 404 for a known member, and again when asked to confirm."},
		{TypeOAuthRequired, "", StreamOAuth, "The need to authorize arose; carries oauth_window_uri unless MX gave none."},
	}
}

// cataloged has every type of the catalog, made once: each event that is encoded asks.
//
//nolint:gochecknoglobals // It never changes.
var cataloged = sync.OnceValue(func() map[Type]bool {
	types := map[Type]bool{}
	for row := range Types() {
		types[row.Type] = true
	}
	return types
})

// Known reports whether t is in the catalog.
func (t Type) Known() bool { return cataloged()[t] }

// other reports whether t is in the catalog and not a status.
func (t Type) other() bool {
	return slices.ContainsFunc(others(), func(e Entry) bool { return e.Type == t })
}

// Token is the type as a subject token: without "member.".
func (t Type) Token() string { return strings.TrimPrefix(string(t), typeRoot) }

// typeOf reads a CloudEvents type, whatever a house has put in front of it.
// ok is false for anything that is not a member's event.
func typeOf(ceType string) (t Type, ok bool) {
	i := strings.LastIndexByte(ceType, '.')
	if i < 0 || !ValidToken(ceType[i+1:]) {
		return "", false
	}
	front := ceType[:i+1]
	if front != typeRoot && !strings.HasSuffix(front, "."+typeRoot) {
		return "", false
	}
	t = Type(typeRoot + ceType[i+1:])
	return t, t != CommandType
}
