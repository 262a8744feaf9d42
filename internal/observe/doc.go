// Package observe is what an operator sees of the service: logs, metrics, traces,
// and whether it is alive and ready.
//
//   - [NewLogger] writes structured logs in the form [Config] asks for.
//   - [Health] is a set of named checks. Whoever knows the state of a thing sets
//     it; the service is ready when every check is good.
//   - [NewRegistry] holds metrics. Every package returns its collectors and the
//     program registers them here; none registers itself. [Describe] lists them
//     for people.
//   - [Tracing] sends spans to an OpenTelemetry collector. Off, it is a nil tracer.
//     otlp.go posts them, otlp_encode.go writes them.
//   - [Handler] serves /healthz, /readyz and /metrics, and [Server] is the port.
//
// # The order of the end
//
// Orchestrators watch the port, so it goes last. On a signal the program calls
// [Health.Drain], and /readyz answers 503 while the work in hand is finished;
// only then does it end the context of [Server.Run]. /healthz answers 200 all
// the while: restarting a process that is about to end helps nobody, and neither
// does restarting one because MX is down, so nothing but the process itself
// counts there.
package observe
