// Package refresh is the use case of memberwatch: one command in, one read of
// MX, at most one event out. It is the only package that knows both MX and the
// comparison of members; what it needs of the event stream it asks for by the
// interfaces in ports.go, which internal/bus implements.
//
// # The protocol
//
// The last event of a member on the event stream is the member's last state;
// there is no second store. A [Service] takes jobs by [Service.Submit] and
// serves each member by one cycle at a time:
//
//  1. Take the member's turn. Jobs wait for it in a queue, not in a goroutine.
//  2. Recall the last state, from memory or from the stream's leader. If it began
//     a need to authorize that was never announced, announce it.
//  3. Read MX. All jobs that wait when the read starts are served by it.
//  4. Compare. When nothing is new, ask the leader whether the state recalled is
//     still the last; if not, begin again at 2. If so, have a member that is on its
//     way to another state read again later. Then 7.
//  5. Otherwise publish the event on condition that the state recalled is still
//     the last. On conflict or unknown outcome forget the state, begin again at 2.
//  6. Announce the need to authorize if it arose.
//  7. Settle the jobs.
//
// The condition in 5 is what makes events exact: an event made from an overtaken
// state or from a read that was overtaken is refused by the stream, whoever made
// it. Everything else here decides how often to ask, and what to do when an
// answer is missing.
//
// # Rooms
//
//   - desk.go: turns, lanes, and how many cycles may run; gate.go: whether MX may
//     be asked at all; witnesses.go: whom to ask whether it is MX that fails;
//     probing.go: whom to probe with meanwhile.
//   - cycle.go: steps 2 to 7; resolve.go: partners' own ids; announce.go: step 6;
//     deletion.go: what a 404 means; following.go: members that are read until they
//     settle; aggregate.go: commands that ask MX to aggregate.
//   - metrics.go, tracing.go, log.go: what is counted, traced and written of it all.
//   - walk.go: what walks over all members ask; errand.go: their calls to MX wait
//     for their turn in the background lane.
//   - dispositions.go: what becomes of a job when something failed: one table.
package refresh
