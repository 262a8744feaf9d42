// Package faults proves that the protocol of package refresh keeps its promises
// when things go wrong. It is all tests: the real service, bus and MX client on a
// real NATS server and the simulator, with faults at the seams between them, and
// the oracle at the end of each.
//
//   - matrix_test.go: every side effect × everything that can go wrong with it ×
//     every plot, each in an installation of its own. The dimensions are in
//     effects_test.go; ports_test.go and wire_test.go hold the seams, where a
//     trap (trap_test.go) spoils one effect.
//   - schedule_test.go: two workers and one member, one step at a time, in an
//     order that is chosen: all orders of small stories, and random ones of long
//     stories. world_test.go holds what may happen, chooser_test.go who decides.
//   - outage_test.go: an MX that is down, overloaded, refuses us, or answers one
//     member with nonsense.
//
// The large tests run one after the other, and the cases of each side by side.
//
// # Running one case again
//
// A failure names its case and how to run it alone. SEED sets the seed of the
// random orders, which is printed; SCHEDULES how many there are.
package faults
