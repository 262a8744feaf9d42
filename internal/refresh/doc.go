// Package refresh is the use case of memberwatch: commands in, reads of MX, at most
// one event out for each read. It is the only package that knows both MX and the
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
//  3. Read MX. All jobs that wait when the read starts are served by it, save those
//     that ask MX to aggregate first.
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
// # Words
//
//   - job: a message in hand, or a request; its [Verdict] settles it.
//   - turn: the queue of one member's jobs. cycle: one service of a turn. round:
//     steps 2 to 7 once; a cycle goes through more when it was overtaken.
//   - breaker: whether MX may be asked, and how many calls may be in flight (the
//     window). It is suspecting when enough members failed for MX to be blamed:
//     witnesses are asked before it opens.
//   - witness: a member that MX answered lately, read only to learn whether MX answers.
//   - ailing: a member that fails alone, while others are answered.
//   - errand: a call to MX that serves no job. guest: one from outside the queues, while
//     the breaker is open. beside reads: calls that ask for something else than a member.
//   - follow-up: the read after an event. following: reads that are scheduled until a
//     member has settled.
//   - held: a confirmed deletion that is not published, for lack of evidence.
//   - stray: a job whose partner ids have come to mean another member.
//
// # Rooms
//
//   - service.go, config.go: the outside; ports.go: what it needs; job.go: what it is
//     given and says in the end.
//   - desk.go: turns, lanes, and how many cycles may run; crew.go: the goroutines they
//     run on; breaker.go: whether MX may be asked at all; call.go: a cycle's permission to
//     ask; share.go: how much of it is for calls beside reads; witnesses.go: whom to ask
//     whether it is MX that fails; probing.go: whom to probe with meanwhile.
//   - cycle.go: steps 2 to 4; publish.go: step 5; announce.go: step 6; snapshot.go: what
//     is taken of MX's member; resolve.go: partners' own ids; deletion.go, held.go, allowance.go: what
//     a 404 means; following.go: members that are read until they settle; aggregate.go:
//     commands that ask MX to aggregate.
//   - memory.go, record.go, guid.go: last states in little room; budget.go: how long a
//     job has failed; store_health.go: whether NATS stores events.
//   - metrics.go, tracing.go, log.go: what is counted, traced and written of it all.
//   - walk.go: what walks over all members ask; oauth.go: a fresh URI for a request;
//     errand.go: how their calls to MX wait for their turn.
//   - dispositions.go: what becomes of a job when something failed: one table.
package refresh
