// Package interop has others read what memberwatch writes, and write what it
// reads: the official CloudEvents SDKs for Go and JavaScript, the official NATS
// client for JavaScript, ajv for the JSON Schemas, and the AsyncAPI parser. Its
// tests run their programs, which are in ../js, against a real stream and a
// running service; and the "subscribe" section of the README, copied and pasted
// beside a running memberwatch dev.
//
// The JavaScript needs Node.js 20.16 to 24 with npm: the CloudEvents SDK wants 20 or
// newer and knows none after 24, the AsyncAPI parser wants 20.16. (The NATS client,
// which is all that the README's program needs, runs on 18.) Where they are missing
// or of another version, or the packages cannot be installed, these tests skip with
// a visible line; REQUIRE_NODE=1 turns that into a failure.
package interop
