// Package member is the pure core of memberwatch: given what was last known of
// a member and what one read of MX says, it decides whether something happened
// and what the event about it carries. It does no I/O, reads no clock and knows
// neither MX's transport nor NATS.
//
//   - [State] is what is known: the last event of a member, or nothing.
//   - [Reading] is what one read says.
//   - [State.Observe] compares the two; [State.Gone] is the answer to a
//     confirmed 404.
//   - [State.Pack] and [Unpack] keep a state in few bytes.
//   - [ActionFor] says who has to do what.
//   - [State.Transience] says whether it is worth looking again soon.
//
// # What is compared
//
// An event is made when the status, the error's code or type, the need to
// authorize, a flag, an id, the name, the institution or the use cases differ,
// when an aggregation ends, or (on request) when MX aggregated successfully.
// Everything else that differs, such as MX's wording, is listed in the event
// but makes none.
//
// Only what both sides know is compared. A field that the stored snapshot lacks,
// because an older version wrote it, is adopted silently; a field that MX leaves
// out keeps its value. For the status, flags, use cases and times null says
// "not known" and keeps the value too; for texts it is a value; no error is said
// by null, {} and absence alike. So a value that was unknown and becomes known
// is news, and the last event always says what MX says. Times never go back.
package member
