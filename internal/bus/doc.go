// Package bus is the part of memberwatch that knows NATS.
//
//   - connect.go: the connection, made to outlast any outage.
//   - topology.go: the streams, bucket and consumers of the contract, created or
//     only verified at start; plan.go shows and applies differences, compare.go
//     says which settings count; watch.go looks again while the service works.
//   - intake.go: messages of both lanes become jobs of package refresh; lane.go
//     fetches them, hand.go keeps them alive while they are in hand; decode.go
//     reads commands in all their forms.
//   - settle.go: what becomes of a message when its job has ended.
//   - background.go: the causes of messages in the slow lane, and what each becomes.
//   - states.go, announcements.go, confirmations.go, followings.go, ids.go: the ports
//     of package refresh, each on its stream.
//   - chains.go: walks over all members, held by NATS; steps.go: how their steps are
//     made; known.go: the event stream as the list of all who are known.
//   - deadletters.go: what could not be carried out, kept to be seen; letterbox.go
//     and resend.go: the same for operators, who look and send again.
//   - forget.go: what is kept about a person, removed while workers go on;
//     traces.go finds it, browse.go reads streams of any length.
//   - rights.go: what a role must be allowed, tried without leaving anything behind.
//   - lag.go: what is stored and what waits, for metrics.
//   - enqueue.go: commands that come by another door, webhooks.
//   - api.go: request/reply; api_calls.go: what each endpoint does; api_describe.go:
//     what NATS tools are told of it.
//
// # Rules of the house
//
// State is read from stream leaders only: a replica may lag behind one's own
// acknowledged write. A write that got no answer may be stored, now or later; it
// is reported as such and never taken for a failure. Headers of messages that
// are stored again are data, never headers: a copied Nats-* header would act.
package bus
