// Package stack starts installations of memberwatch for journeys and chaos: as
// processes of this machine or as containers.
//
// [Stack] is what a journey sees of one: where NATS is, the simulator of MX
// ([Sim]), and how to start a worker ([Program]) that can be asked for its health,
// sent signals and waited for. [Processes] and [Containers] make one. [Customer] is
// somebody who publishes commands and reads events.
//
// # What it promises
//
// Whatever a stack has started is gone when the test that made the stack ends, in
// the order workers, NATS, simulator; when that test failed, what the programs
// wrote is in its log. Waiting is for a condition, and bounded.
//
// # How it is laid out
//
//	stack.go, wait.go                the interfaces, and waiting
//	process.go, processes.go         a program as a process; a stack of them
//	crew.go                          workers to be killed, frozen and replaced
//	build.go, nats.go                the binaries; a nats-server as a process
//	container.go, containers.go      the same as containers
//	cluster.go                       NATS nodes to be killed, cut off and restarted
//	proxy.go, disk_*.go              bad connections, and a disk that can be filled
//	authority.go                     certificates for the simulator among containers
//	sim.go, customer.go, inbox.go    those who act and watch
//	answers.go                       all that MX answered, however long the run
//	verdict.go                       oracle and search for secrets
package stack
