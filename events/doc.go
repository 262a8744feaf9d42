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
// The package imports the standard library and the CloudEvents SDK's event
// package, nothing else, so that depending on it stays cheap.
package events
