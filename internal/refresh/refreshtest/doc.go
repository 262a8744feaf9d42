// Package refreshtest puts the service together for tests: a real NATS server,
// the simulator of MX over real HTTP, the real client, bus and service, in one
// process.
//
// [New] returns a [Rig] whose workers serve commands. A test steers MX by
// [Rig.Sim], publishes by [Rig.Refresh], waits by [Rig.Result] or
// [Rig.WaitIdle], and looks at what is stored by [Rig.Events] and its
// companions. [Options.Wrap] puts a fault between the service and any of its
// ports; [Worker.Kill] ends a worker as a crash would.
//
//   - rig.go: the surroundings; worker.go: one process of the service.
//   - look.go: what is stored and what was answered; health.go: what a worker
//     says of itself.
package refreshtest
