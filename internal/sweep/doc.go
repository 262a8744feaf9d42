// Package sweep walks over all members: once, when somebody asks for a sweep, and
// again and again, for the periodic refresh. A walk publishes no events and reads
// no member: it lists, compares, and asks for refreshes in the slow lane, which go
// the way of all others.
//
// # Chains
//
// A walk is a chain that NATS holds (see [Chains]). A [Walker] makes one bounded
// step at a time: it takes the walk's state as the last step left it, does a page
// of work, and returns the state for the next. Any worker may make the next step;
// one that dies has its step made again. So a step does only what may be done
// twice, and no walk keeps in memory more than one page and one user's members.
//
// # Once for each user, without a list of those visited
//
// The members of a user are known from two sides: MX lists them by user, and the
// event stream has their events. A sweep visits each user once:
//
//   - sequences on the event stream never change, and the oldest event of any of
//     a user's members that is kept stands still while new ones are added. So
//     the stream itself, up to where it ended when the sweep began, is the list
//     of known users: one is visited where the oldest of its events stands.
//   - whoever has no event up to there is visited when MX's list of users shows
//     him, which is walked first.
//
// A visit lists the user's members at MX. Each that is new or differs from its
// last event is refreshed, and each that is known, alive and not listed: the
// refresh meets MX's 404 then, and the deletion is confirmed as any other.
//
// The periodic refresh walks the stream alone. A member is due where the oldest
// of its events stands, at the same part of every period; that place only moves
// towards the front as the stream grows, so no two reads are further apart than
// the period.
//
// # Rooms
//
//   - walker.go: steps, and seeing to it that chains go on; ports.go: what a walk
//     needs of others; config.go: REFRESH_EVERY.
//   - sweep.go: a sweep's state, begun, watched and ended; phases.go: its steps;
//     visit.go: one user.
//   - periodic.go: the periodic refresh; scan.go: along the event stream.
package sweep
