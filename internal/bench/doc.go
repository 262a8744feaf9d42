//go:build linux

// Command bench measures the speed and the memory of memberwatch, beside those
// of the worker that a team would otherwise write for itself.
//
// # What is compared
//
// Both contenders run as processes of their own, against a nats-server and an
// MX simulator that are processes too; this process only publishes commands and
// reads the streams afterwards. One is the memberwatch binary, built for the
// run. The other is the bare loop (loop.go): a fair, competent worker that keeps
// the last status in a key-value bucket and guards nothing. It has no
// compare-and-swap on its events, no turns, no follow-up reads, no breaker and
// no dead letters, so what memberwatch needs beyond it is the price of those.
//
// Each round gives each contender a fresh server, store and simulator, in an
// order that alternates, so that whatever else the machine does hits both.
// Values are medians over the rounds; a ratio is the median of the rounds'
// ratios.
//
// # What is measured
//
//	A  throughput.go  a burst of commands of which half find a change, MX at once:
//	                  commands a second, time from command to stored event, CPU, memory;
//	                  cold: the same with a worker that was just restarted;
//	                  tracing.go: what tracing costs of that CPU while it is off
//	B  latency.go     MX takes 50 ms: how full the pipe is, and what is added to MX's time
//	                  by a steady stream, its first second told apart
//	C  hot.go         many commands on few members whose truth changes meanwhile:
//	                  reads saved, order kept, last state right
//	E  walk.go        only when asked for: a sweep of 100,000 members; its rate, the
//	                  worker's memory, and a request's time beside it and without
//	D  writes.go      messages written for each change, over all streams and buckets
//
// With -scale instead (scale.go): what known members cost, from 10,000 to a
// million: disk, memory, starts, and a command on members that are remembered
// and on those that are loaded from the stream. deploy/SCALING.md has the numbers.
//
// A command is finished when the work queue no longer holds it, the same
// criterion for both. CPU is user and system time of the process, from /proc.
//
// # What it promises
//
// Results are reported, never asserted: a slow machine makes no failure. The
// exit code is 1 only when something broke: a process that died or hung, a lost
// command, or a promise of memberwatch that the oracle found broken. Every
// process is stopped by its id and every wait is bounded. It needs Linux.
package main
