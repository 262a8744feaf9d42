// Package client is a kit for those who act on memberwatch's events and ask it
// for refreshes, over NATS.
//
// A consumer is a [Subscription]: the name of its durable consumer, and a handler
// for each type of event it cares about.
//
//	c, err := client.New(nc, events.DefaultPrefix)
//	...
//	s, err := c.Subscribe(ctx, client.Subscription{
//		Durable: "notifier",
//		On:      map[events.Type]client.Handler{events.TypeDisconnected: notify},
//	})
//	...
//	err = s.Run(ctx) // until ctx ends
//
// # What a subscription promises
//
// An event is acknowledged when its handler has returned nil, so each is handled
// at least once. Events of one member are handled one after the other in the
// order of the stream, those of different members at the same time. An event
// whose handler fails holds back the later ones of its member and nobody else's;
// it is tried again after a growing, jittered delay, and given up by a policy of
// the consumer's choice: [Client.DeadLetterTo], or [Stop], which is the default.
//
// A failing event waits for its next try inside the process, and the server is
// told that it is being worked on. It is not handed back for the while (a
// delayed nak), because the process that got it next would not know what to hold
// back for it. What is in hand when a subscription stops is handed back at once;
// what a killed process had in hand comes again when the server misses its signs
// of life. A subscription that starts, reconnects to NATS or takes over from
// another process waits for such events, little longer than the ack wait of its
// durable (30 s), and puts them in order before it handles any other.
//
// At least once comes before order. An event that is overtaken in spite of that
// by a later one of its member, as one may be that was lost between two servers of
// a cluster, is handled when it comes, with [Delivery.Stale] set. Whoever keeps a
// state compares: [Delivery.Newer].
//
// An outage of NATS is waited out, with a [Fetching] notice each time that asking
// fails. Nothing is logged by the kit itself: [Subscription.Notice] is told what
// no handler hears of, and [LogTo] makes one that logs.
//
// Two processes on one durable share its events: each event goes to one of them,
// those of one member to either. Nothing is lost, also when one stops or dies. But
// each keeps the order of what it got itself: they may work on one member at the
// same time, and what one hands back comes to the other as stale when that one has
// handled a later event. An id is known as a duplicate only to the one that handled
// it. [Subscription.Standby] makes one of them work and the other wait; the working
// one must ask for events now and then, so one whose window is full for half a
// minute is taken for gone.
//
// # What it does with odd input
//
//   - A type that the subscription has no handler for, one that is newer than this
//     package included, goes to [Subscription.Otherwise]; without that it is
//     acknowledged and that is all.
//   - Fields and attributes that are newer than this package are ignored. They are
//     in [Delivery.Raw], where [As] finds them.
//   - A CloudEvent that is not about a member is acknowledged and reported as
//     [Foreign].
//   - What is no CloudEvent, or whose data are broken, is given up at once by the
//     policy: no retry would mend it.
//   - A duplicate, told by the event's id among the last [Subscription.Memory]
//     handled, is acknowledged, reported as [Duplicate] and not handled again. One
//     that comes after a restart of the process is not recognized: handlers that
//     must not act twice keep the id with what they did.
//   - An event that stands later in the stream than the last one handled of its
//     member, and is not [Delivery.Newer], is stale. The service never publishes
//     one, a stream filled from several may hold one. It is acknowledged and reported
//     as [Stale], or handled with [Delivery.Stale] set if the subscription says so.
//     Revision 1 observed later than what was handled is no stale event: it begins a
//     member's new life. Gaps are normal for a subscription that does not take every
//     type.
//
// # Permissions
//
// Commands need the right to publish on their subject, and their results to
// subscribe to theirs. Requests ([Client.Get] and the like) need the right to
// publish on mx.api.member.<endpoint>.
//
// A subscription on a durable that somebody else made ([Subscription.BindOnly])
// needs to publish on $JS.API.CONSUMER.INFO, $JS.API.CONSUMER.MSG.NEXT and
// $JS.ACK of that durable, and no more. Such a durable must have ack policy
// explicit, no bound of deliveries (max deliver -1: each restart of a consumer uses
// one up) and bodies; another is refused with [ErrDurable]. It should deliver all
// types that the subscription handles, or have no filter.
//
// Making a durable needs $JS.API.CONSUMER.CREATE, on [Subscription.Stream] also
// STREAM.INFO. [Client.Replay] and [Client.Snapshot] need CONSUMER.CREATE too, and
// beside it $JS.API.STREAM.INFO, CONSUMER.MSG.NEXT and CONSUMER.DELETE. Without the
// last, what they made stays for a minute or two.
// [Client.Last] needs STREAM.INFO and STREAM.MSG.GET.
//
// A subscriber with a NATS account of its own imports these subjects from the
// account where the streams are, those of the API under another prefix, since
// $JS.API is its own account's JetStream. [WithAPIPrefix] says which:
//
//	imports: [
//	  { service: { account: MX, subject: "$JS.API.CONSUMER.INFO.MX_EVENTS.notifier" }, to: "JS.MX.API.CONSUMER.INFO.MX_EVENTS.notifier" }
//	  { service: { account: MX, subject: "$JS.API.CONSUMER.MSG.NEXT.MX_EVENTS.notifier" }, to: "JS.MX.API.CONSUMER.MSG.NEXT.MX_EVENTS.notifier" }
//	  { service: { account: MX, subject: "$JS.ACK.MX_EVENTS.notifier.>" } }
//	]
//
//	c, err := client.New(nc, events.DefaultPrefix, client.WithAPIPrefix("JS.MX.API"))
//
// # How it is laid out
//
//   - client.go: the client; delivery.go: what handlers get.
//   - subscription.go: what a consumer asks for; durable.go finds or makes its
//     durable consumers; notice.go, what it is told beside events.
//   - run.go and lane.go: the life of a subscription; hold.go, what a process or
//     a connection that died left over; member.go, one event after the other; memory.go, duplicates.
//   - giveup.go: policies for what cannot be handled.
//   - replay.go, snapshot.go: reading without a durable.
//   - refresh.go: commands; request.go: requests.
package client
