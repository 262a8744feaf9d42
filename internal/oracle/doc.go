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
//     order of the data's fields; no metadata, credentials or OAuth URI.
//   - schema: what [Options.Validate] says of the raw event.
//   - I0 truth: the last event of each member says what MX says now.
//   - I1 no loss: the last answer MX gave of a member is the last that was published.
//   - I2 no duplicate: no id twice; no event without a compared difference.
//   - I3 order: revisions without gap; previous and changed fold; the type is
//     the most significant of what changed.
//   - I4 no stale write: no event was observed before the one before it was stored.
//   - I5 announced: each need to authorize has its announcement, and no
//     announcement is without its need.
//   - I7 innocent members: no event tells what MX never answered.
//
// I0 needs [Options.Truth], I1 and I7 [Options.Reads], I4 [Options.SameClock].
// I6, that nothing is acked before it is durable, shows as I1 after a crash.
//
// # Limits
//
// Memory grows with members, not with events, save for eight bytes an event to
// recognize ids. A stream may grow while it is read; what comes later is not
// looked at.
package oracle
