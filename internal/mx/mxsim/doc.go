// Package mxsim is a simulator of the part of the MX Platform API that a
// reader of members needs. It is what tests, demonstrations and benches talk
// to in place of MX, over real HTTP.
//
// # What it promises
//
// The simulator is written from what is known about MX, not from our client:
// it imports nothing of this module, so that a misreading on one side cannot
// hide behind the same misreading on the other. It serves
//
//	GET  /users                                            list of users
//	GET  /users/{user}/members                             list of a user's members
//	GET  /users/{user}/members/{member}                    read member
//	GET  /users/{user}/members/{member}/status             the smaller status
//	GET  /users/{user}/members/{member}/oauth_window_uri   a new OAuth URI at every call
//	POST /users/{user}/members/{member}/aggregate          start an aggregation
//
// with Basic authentication (401), the mandatory Accept-Version (406), ids in
// place of guids, and MX's paging quirks. A status name as member identifier,
// in any case, names a synthetic member of that user that has that status:
// /users/USR-1/members/challenged. Synthetic members have a guid of their own
// and appear in no list; a member that really has such an id goes first.
//
// Where MX is undocumented [Config.Nasty] makes the simulator choose among all
// the forms that were ever seen: every shape of error, of times and of a blank
// URI, unknown fields, malformed metadata, reworded messages. Nastiness changes
// the form of an answer and never its meaning, and is a function of the seed,
// the member and how many answers the member gave.
//
// # How it is steered
//
// A test in the same process calls the methods of [Server]. Anything else uses
// the control API under /_sim/ on the same listener, which mirrors them; see
// control.go for its routes. Members live by themselves (an authorized member
// aggregates and settles), follow a script one step per read, or hold still.
// Faults are injected globally, per user, per member or per endpoint, and end
// by count or by time.
//
// # What it remembers
//
// The journal holds what was answered, when, and from which version of the
// member, for an oracle that judges a consumer afterwards. It is bounded, and
// can be reduced to the last answer of each member or switched off. A version
// grows with each change of a member, so that two answers can be put in order
// without trusting clocks.
//
// # How it is laid out
//
// A member's state is an immutable [Member]; a change stores a new one under
// the member's lock. Answers, the journal and the truth share these values, so
// that a read copies nothing and a remembered answer costs a pointer.
//
//	server.go, endpoints.go   requests and the answers to them
//	directory.go, bulk.go     users and members, and finding them
//	member.go, life.go        what a member is, and how it changes
//	users.go                  users, and members through the control API
//	encode.go, text.go        JSON; nasty.go: the forms that are not plain
//	fault.go, stats.go, journal.go, control.go, start.go, config.go
package mxsim
