// Package command reads refresh commands as they come on NATS: plain JSON, a CloudEvent
// in either mode, or nothing but a subject that names the member. It is pure: a message
// goes in, a command or what is wrong with it comes out.
//
//   - decode.go: a message becomes a command.
//   - cloudevent.go: the commands that are CloudEvents.
//   - json.go: JSON as all of ours is read, names of fields to the letter.
//   - header.go: headers, in whatever letters their names come; the trace among them.
package command
