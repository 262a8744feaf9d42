// Package chaos breaks installations of memberwatch while they are under load,
// and then has the oracle say whether any promise was broken with them.
//
// It holds tests alone. Each case of TestChaos is one kind of trouble: workers
// killed, frozen and replaced; nats-server killed; slow, silent, cut and
// half-closed connections to NATS and to MX; a bank whose members all fail; a
// full disk; an upgrade and its way back; and, on a cluster of three NATS nodes
// in containers, killed leaders, a node cut off, and a rolling restart. TestStop
// is about the end of a worker that is told to stop. TestSoak mixes faults for as
// long as one likes, and watches memory and goroutines.
//
// # How a case goes
//
// A load (load_test.go) changes members at the simulated MX all the time and
// sends commands, as fast as the service takes them. The case does its harm for
// some time, heals, and waits until events flow again. Then the load ends, the
// service gets to the end of its work, and the oracle reads every event that
// was ever published and holds it against all that MX answered, and against
// what MX says now. A line tells what was checked, what was broken, and the longest
// pause of the stream of events.
//
// # How it is run
//
//	CHAOS=full or short   how long, 40 or 6 s of harm a case; nothing runs without
//	SEED=n                what was drawn before; each run tells its seed
//	SOAK=10m              how long TestSoak goes on; without it, it does not run
//	REQUIRE_DOCKER=1      the cases in containers must run; see package e2e
//
// The seed decides what is broken and when, and what the load does. It does not
// decide how processes interleave: a failure may need more than one run to come
// again.
package chaos
