package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// MX reads members. Errors are those of package mx.
type MX interface {
	// ReadMember reads a member by guids or partner ids.
	ReadMember(ctx context.Context, user, member string) (mx.Member, error)
	// OAuthWindowURI has MX generate a URI. It is never blank without an error.
	OAuthWindowURI(ctx context.Context, user, member string, opts mx.OAuthOptions) (string, error)
	// Aggregate starts an aggregation; false when another job is running already.
	Aggregate(ctx context.Context, user, member string) (started bool, err error)
}

// Errors of the ports below. Any other error means that NATS did not do it, or
// did not answer a question; the job is tried again later.
var (
	// ErrConflict: the stream refused a write because its condition no longer holds.
	ErrConflict = errors.New("overtaken by another write")
	// ErrOutcomeUnknown: no answer came; the write may or may not be stored, now or soon.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrRefused: the server refused a write that others would be refused too, as on a full disk.
	ErrRefused = errors.New("refused by the server")
	// ErrTooLarge: NATS takes no message of this size, now or later.
	ErrTooLarge = errors.New("too large to be stored")
	// ErrUnreadable: the member's last event cannot be parsed. Nothing may be concluded from it.
	ErrUnreadable = errors.New("last event is unreadable")
)

// States is the event stream, seen as the last known state of every member.
// All reads go to the stream's leader: a reply never misses a write that was
// acknowledged before the question.
type States interface {
	// Last returns the member's last event and its stream sequence; 0 when the
	// member has none. ErrUnreadable comes with the sequence.
	Last(ctx context.Context, k events.Key) (events.Event, uint64, error)
	// LastID returns the id of the member's last event and its stream sequence; "" and
	// 0 when the member has none. A sequence alone is no name: after a loss of power,
	// or restored from a copy, a stream gives its latest ones to other events.
	LastID(ctx context.Context, k events.Key) (id string, seq uint64, err error)
	// Epoch grows whenever the stream may have lost its latest events unnoticed: when
	// the connection to NATS was lost. What was recalled before counts no more.
	Epoch() uint64
	// Some returns a few members from all over the stream, n at most, each once.
	Some(ctx context.Context, n uint64) ([]events.Key, error)
	// Append stores e durably if the member's last sequence is still after, and
	// returns e's own. ErrConflict: it is not, e is not stored. ErrOutcomeUnknown,
	// ErrTooLarge, ErrRefused.
	Append(ctx context.Context, e *events.Event, after uint64) (uint64, error)
}

// Announcements is the stream that holds each member's last announcement.
type Announcements interface {
	// Announce stores a durably unless the member's last announcement is already
	// a, or one of a later event of the same life. It may be called again with the
	// same id.
	Announce(ctx context.Context, a events.Event) error
	// Announced reports whether Announce has nothing to do for a.
	Announced(ctx context.Context, a events.Event) (bool, error)
}

// Confirmations schedules second looks at members for which MX said 404.
type Confirmations interface {
	// Schedule has a job with a Confirmation come after a delay, unless one is
	// scheduled already: that one is never postponed. The job carries on by.
	Schedule(ctx context.Context, k events.Key, firstAt time.Time, by Cause) error
	// Pending reports whether there may be a confirmation of k, scheduled or due, as
	// far as is known here: one was scheduled since Cancel last began. It asks nobody.
	Pending(k events.Key) bool
	// Cancel removes every confirmation of k, scheduled or due.
	Cancel(ctx context.Context, k events.Key) error
	// Stands reports whether a confirmation in hand has not been canceled.
	Stands(ctx context.Context, k events.Key, c Confirmation) (bool, error)
}

// Followings schedules the next reads of members that are on their way to
// another state.
type Followings interface {
	// Schedule has a job whose Following is f come after a delay, durably, unless one is
	// scheduled for the member already. anew replaces that one instead.
	Schedule(ctx context.Context, k events.Key, f Following, after time.Duration, anew bool) error
}

// IDs remembers which guids a partner's own ids meant. Losing it costs a read.
type IDs interface {
	Lookup(ctx context.Context, user, member string) (events.Key, bool)
	Remember(ctx context.Context, user, member string, k events.Key)
}

// Health is told what keeps the service from doing its work.
type Health interface {
	// Set records the state of a check; nil is well.
	Set(check string, err error)
}

// Names of the health checks that this package sets.
const (
	CheckCredentials = "mx_credentials" // MX refuses our client id, key, address or version
	CheckDeletions   = "deletions"      // deletions are held back
	CheckStore       = "event_store"    // NATS refuses to store events, as on a full disk
)
