package sweep

import (
	"context"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Chains are the walks that NATS holds. An error that is not named means that
// NATS did not do it, or did not answer.
type Chains interface {
	// Load returns a chain's state, whether a further step is to come, and the
	// sequence that Begin and End want; nil and 0 when there is no such chain.
	Load(ctx context.Context, name string) (state []byte, live bool, seq uint64, err error)
	// Begin replaces a chain's state, and has its first step made at once.
	// refresh.ErrConflict: the chain is not as Load returned it any more.
	Begin(ctx context.Context, name string, state []byte, seq uint64) error
	// End replaces a chain's state, and has no further step made. refresh.ErrConflict
	// as for Begin.
	End(ctx context.Context, name string, state []byte, seq uint64) error
	// Revive sees to it that the next step of a chain which goes on is asked for.
	Revive(ctx context.Context, name string) error
}

// Refreshes takes wishes for refreshes, in the slow lane.
type Refreshes interface {
	// Refresh asks for a refresh of k. cause is the name of the chain;
	// correlationID is carried on by the event. Wishes with the same once are one,
	// for two minutes at least.
	Refresh(ctx context.Context, k events.Key, cause, correlationID, once string) error
	// Backlog is how many wishes, and other work of the slow lane, wait to be handed out;
	// how many are in hand or wait for a delay; and how many of these there may be, over
	// all workers, before no more are handed out. places is 0 when nothing bounds them.
	Backlog(ctx context.Context) (waiting, taken, places int, err error)
}

// Known is the event stream seen as the list of all members that are known. All
// answers are those of the stream's leader.
type Known interface {
	// Bounds returns the sequences of the first and the last event; last is below
	// first when there is none.
	Bounds(ctx context.Context) (first, last uint64, err error)
	// Next returns whose event is the first at sequence from or later, and its
	// sequence; 0 when there is none.
	Next(ctx context.Context, from uint64) (events.Key, uint64, error)
	// First returns the sequence of a member's oldest event that is kept, or 0.
	First(ctx context.Context, k events.Key) (uint64, error)
	// FirstOfUser returns that of any of a user's members, or 0.
	FirstOfUser(ctx context.Context, user string) (uint64, error)
	// MembersOf returns the members of a user that have events, deleted ones too.
	MembersOf(ctx context.Context, user string) ([]events.Key, error)
}

// States is the last event of each member.
type States interface {
	// Last is that of refresh.States.
	Last(ctx context.Context, k events.Key) (events.Event, uint64, error)
}

// Lists are MX's lists. Errors are those of package mx.
type Lists interface {
	// UsersPage and MembersPage return a page, counted from 1.
	UsersPage(ctx context.Context, n int) (mx.Page[mx.User], error)
	MembersPage(ctx context.Context, user string, n int) (mx.Page[mx.Member], error)
	// UserByID finds a user by the partner's own id; mx.NotFound.
	UserByID(ctx context.Context, id string) (mx.User, error)
}

// Service asks MX in the background lane. *refresh.Service is one.
type Service interface {
	// Ask makes one call to MX within the limits of all. refresh.ErrUnavailable: MX
	// cannot be asked at present; another error of package mx is about this question.
	Ask(ctx context.Context, about string, ask func(context.Context) error) error
	// Compare tells what a listed member is beside its last event.
	// refresh.ErrUnreadable.
	Compare(ctx context.Context, m *mx.Member) (refresh.Sight, error)
}
