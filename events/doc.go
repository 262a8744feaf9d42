// Package events is memberwatch's public contract in Go: the commands it
// takes, the CloudEvents it publishes, and where on NATS each of them is found.
//
// A member is one connection of a user to a bank, held by MX. memberwatch reads
// members on command and publishes one event per change. Its parts:
//
//   - [Type] names what happened; [Types] is the catalog, [Statuses] the MX
//     statuses it is built from. An MX status that is newer than this package
//     still makes a well-formed type of its own.
//   - [Data] is what every event carries: the member as it is now, what its
//     changed fields were before, and who has to do what next.
//   - [Event] is a CloudEvent 1.0 with that data. [Parse] and [Decode] read one
//     and tolerate types, attributes and fields they do not know, so a consumer
//     is never broken by a newer service.
//   - [Command] asks for a refresh, [Result] tells how it ended, [DeadLetter]
//     keeps what could not be carried out.
//   - [RefreshRequest], [GetRequest] and [OAuthURIRequest] are requests to the micro
//     service; [Endpoints] is their catalog, [APICode] says why one was refused.
//   - [Subjects] builds and reads every subject and stream name. It takes a
//     [Key], which exists only for names that are safe as subject tokens.
//
// # Promises
//
// Events of one member come in the order of their revision, 1, 2, 3 and so on,
// without gap; revision 1 starts a new life. An event's id is a function of the
// member, the revision, the type and the time of observation: the same id is
// the same event. Applying to a member's former state every field named in
// [Data.Changed] gives its new state; applying [Data.Previous] leads back.
//
// # Compatibility
//
// Within a major version fields and types are only added. Consumers must ignore
// what they do not know. The schemas of the same contract, for other languages,
// are in the module's schemas folder.
//
// What counts as the contract: types, subjects and stream names, CloudEvents
// attributes, the fields of events, commands, results and dead letters with their
// types and meanings, and the exported names of this package and of those below
// it. An upgrade, within a major version,
//
//   - may add types, optional fields of commands and requests, fields of everything
//     else, attributes, subjects, and values of an enumeration: actors and kinds of
//     action, outcomes, categories of dead letters, codes of errors;
//   - may drop or loosen a rule of commands and requests;
//   - never removes, renames or retypes a field, lets one be missing or null that
//     never was, requires one that was not, takes a value out of an enumeration, or
//     moves a type to another subject, stream or media type;
//   - never tightens a rule of commands and requests, and changes none of what it
//     sends: a format, pattern, length, range, constant or condition there is kept
//     by what streams hold, and relied on by who reads them;
//   - reads every event that an older version wrote: streams keep them for years.
//
// Enumerations of what the service sends are therefore open in the schemas: each
// lists the values known so far and has a pattern that later ones match, so that a
// validator with an older schema refuses none. Do with a value that you do not know
// what you do with one that does not concern you.
//
// A status that MX adds makes a new type ("member." and its name) at once, without
// an upgrade; it has the schema of member events in general until a version knows
// it. Texts meant for people, such as an error's message or a result's reason, may
// change at any time.
//
// A change that breaks would come as the next major version beside this one: its
// own schemas (dataschema ends in v2/<type>.json) on subjects of its own, with both
// published for a time that the change log names. A dataschema is
// https://github.com/memberwatch/memberwatch/schemas/v1/<type>.json: the last two
// segments are the path in the schemas folder, and v1 changes only with the major
// version.
//
// Tests hold this. The golden files, one of each message as it once was on the
// wire, are added to and never edited, as their committed digests show; all of
// them must go on decoding. Package schemas/compat compares the schemas, the subjects
// and streams in the AsyncAPI document, and the digests, with those of the last
// release, and names the field of a change that breaks.
//
// The package imports the standard library and the CloudEvents SDK's event
// package, nothing else, so that depending on it stays cheap.
package events
