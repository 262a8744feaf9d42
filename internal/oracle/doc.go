// Package oracle is a stranger that reads what memberwatch has published and
// says whether it kept its word.
//
// It was written from the contract alone and shares no code with the service:
// it reads raw JSON, so that a mistake in the service's own decoding, comparing
// or naming cannot hide itself by being made twice. [Check] reads the event
// stream from its beginning, then the OAuth stream, and reports every offense
// with the stream, the sequence, the member and the reason.
//
// # What is checked
//
//   - form: subject, type, source and the guids in the data agree; one content
//     type and no attribute headers; the attributes of CloudEvents and the
//     order of the data's fields; the action is that of the state; no metadata,
//     credentials or OAuth URI.
//   - schema: what [Options.Validate] says of the raw event.
//   - I0 truth: the last event of each member says what MX says now.
//   - I1 no loss: the last answer MX gave of a member is the last that was published.
//   - I2 no duplicate: no id twice; no event without a compared difference.
//   - I3 order: revisions without gap; previous and changed fold; the type is
//     the most significant of what changed.
//   - I4 no stale write: no event was observed before the one before it was
//     stored, and the read that it tells of began after that.
//   - I5 announced: each need to authorize has its announcement, and no
//     announcement is without its need; a need that rests on a URI had one.
//   - I7 innocent members: no event tells of a status, an error or a user that MX
//     never answered with, nor of a deletion without two 404s of its own in a row.
//
// I0 needs [Options.Truth], I1 and I7 [Options.Reads], I4 [Options.SameClock]. Errors,
// URIs and when reads began can only be told with [Options.EveryRead]: what a
// summary leaves out MX may have said all the same.
//
// A 200 takes a 404 back as soon as MX has given it. A worker that dies between a
// 200 and what follows from it may, if MX answers 404 again before anybody else
// reads the member, delete it after one 404 more; none of our runs goes so far.
//
// I6, that nothing is acked before it is durable, shows as I1 after a crash.
//
// # Limits
//
// Memory grows with members, not with events, save for eight bytes an event to
// recognize ids, and about a hundred for each read that tells [Read.At]. A stream
// may grow while it is read; what comes later is not looked at.
package oracle
