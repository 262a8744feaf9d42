// Package webhook is the door for MX's own webhooks: each becomes a command to
// refresh the member it is about.
//
//   - config.go: the settings; secret.go: those that nobody may see.
//   - payload.go: what a webhook says, as far as it is heeded.
//   - handler.go: what is answered; auth.go: who may ask.
//   - server.go: the port.
//   - sample.go: webhooks as MX sends them, to try the door with.
//
// # A hint, never a fact
//
// MX's webhooks carry no time, no id and no order, and anybody who knows the
// password can send one. So nothing in one is published or compared: a webhook
// only says which member to read now. One that is forged, stale, doubled or out
// of order costs at most a read; those for one member that come while it is being
// read share the next read.
//
// # Answers
//
// 204 means that the command is stored durably, or that the webhook is about no
// member and is ignored. 503 means that it could not be stored; MX sends it
// again, twelve times within a day. 4xx is for what sending again will not mend.
// Every POST below /webhooks/mx is a webhook, whatever its type: MX adds types
// at any time.
package webhook
