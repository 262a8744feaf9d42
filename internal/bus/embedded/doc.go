// Package embedded runs a nats-server with JetStream in this process: the bus
// of an installation that brings no NATS of its own, and of every test that
// needs one.
//
// [Start] returns a server that takes connections, with its store recovered,
// or an error that names what to change. [Server.Shutdown] returns when all is
// on disk and the store may be opened again. In between the server behaves as
// any other: [Server.URL] is where clients of other processes connect, and a
// [Server] given to nats.InProcessServer is reached without a socket.
//
// # What it promises
//
// The process stays ours: the server handles no signal, writes nothing to
// standard error, and never exits the process; what it has to say goes to
// [Config.Log], and what keeps it from starting comes back as an error.
//
// A store belongs to one server. nats-server itself would let two of them write
// the same files and ruin both; a lock on the directory, which the operating
// system drops when the process dies, keeps the second one out
// ([ErrStoreInUse]).
//
// There is no authentication: whoever reaches [Config.Addr] may do everything.
// Bind it to a loopback address, or to a network that only friends share.
package embedded
