// Package bus is the part of memberwatch that knows NATS.
//
//   - bus.go, config.go: the outside. connect.go: the connection, made to outlast any
//     outage; denials.go: what NATS refuses it, and gives back; nkey.go: a key from a file.
//   - topology.go: what is on NATS compared with what the service needs, verified or
//     created at start, shown and applied; topology_streams.go: the streams, bucket and
//     consumers of the contract; topology_rules.go: which settings count;
//     topology_watch.go looks again while the service works.
//   - intake.go: messages of both lanes become jobs of package refresh; follow_up.go:
//     events do; lane.go takes messages as they are wanted, pull.go asks for them,
//     in_progress.go keeps them alive while they are in hand.
//   - headers.go: names of headers; command, a package of its own, reads commands.
//   - settle.go: what becomes of a message when its job has ended.
//   - clock.go: what time it is for NATS, which fires what is scheduled.
//   - background.go: the causes of messages in the slow lane, and what each becomes.
//   - states.go, announcements.go, confirmations.go, followings.go, ids.go: the ports
//     of package refresh, each on its stream; publish.go: how all of them store;
//     schedules.go: what is to fire, and does; buffers.go: where they encode;
//     jetstream_error.go: what the server says no with.
//   - chains.go: walks over all members, held by NATS; chain_steps.go: how their steps
//     are made; known.go: the event stream as the list of all who are known.
//   - deadletters.go: what could not be carried out, kept to be seen;
//     deadletters_operator.go, deadletters_resend.go: for operators, who look and send
//     again.
//   - forget.go: what is kept about a person, removed while workers go on;
//     forget_match.go: what is about them; read_stream.go: streams of any length.
//   - permissions.go: what a role must be allowed, tried without leaving anything behind.
//   - stream_metrics.go: what is stored and what waits, for metrics.
//   - enqueue.go: commands that come by another door, webhooks.
//   - api.go: request/reply; api_calls.go: what each endpoint does; api_describe.go:
//     what NATS tools are told of it; api_metrics.go: how long they take.
//
// # Rules of the house
//
// State is read from stream leaders only: a replica may lag behind one's own
// acknowledged write. A write that got no answer may be stored, now or later; it
// is reported as such and never taken for a failure. Headers of messages that
// are stored again are data, never headers: a copied Nats-* header would act.
package bus
