// Package mx is a client of the MX Platform API: it reads members, asks for OAuth window URIs, starts aggregations and
// walks lists. It knows MX and nothing else of this house.
//
// # What it promises
//
// Every error of a call is a [*CallError] whose [Kind] says whose fault it is; [KindOf] finds it in a chain. Errors never
// hold a credential, an OAuth URI or the ids that were asked for (a partner's own id may be an e-mail address).
//
// An answer is believed only when all of it is valid JSON, every field read has its type, and the guids are well formed
// and those that were asked for. Anything else is a [BadAnswer] that names the field. Fields nobody needs are skipped
// unread, whatever their type: metadata is a partner's private text, most_recent_job_* changes type between versions.
//
// Credentials go to the configured host and nowhere else: https only (http for loopback hosts), redirects are never
// followed. [Secret] and [URI] do not print their value.
//
// Everything is bounded: the time of a call (MX_TIMEOUT), the connections (MX_MAX_IN_FLIGHT), the header, the body, the
// nesting of the JSON, the excerpt of an error and how long a Retry-After is believed.
//
// # What it leaves to its caller
//
// Waiting. The client does not retry (but for one case: a 401 when the key file holds a newer key than the one refused),
// does not pace and does not limit: back-off, breaker and rate belong to the one who sees all members at once.
// A GET whose kept-alive connection turned out to be closed before any byte of an answer came is no retry: it is sent once
// more, over a new connection, as net/http would.
//
// # How it is laid out
//
//	config.go        Config and its problems
//	secret.go        Secret, URI: values that do not print themselves
//	credentials.go   the shared request header; key file rotation
//	client.go        New, options
//	exchange.go      one call: its time, its key, what its status means, its body
//	transport.go     http.RoundTripper to one host
//	proxied.go       net/http's instead, where there is a proxy
//	pool.go          connections between two requests
//	conn.go          one connection: a request written, an answer read
//	plain.go         the answers that nothing is subtle about
//	probe_*.go       what has arrived on an idle connection
//	trace.go         a span for each call, if somebody traces
//	calls.go         ReadMember, OAuthWindowURI, Aggregate
//	list.go          Users, Members
//	errors.go        Kind, CallError, the table from status to kind
//	excerpt.go       what of an error's body may be shown
//	member.go        Member, Error: what is read of a member
//	member_error.go  the five shapes of a member's error
//	decode.go        answers to Go values, and what makes an answer bad
//	passed_over.go   values of a type or form that is not their field's
//	scanner.go       a strict, allocation-free JSON reader
//
// # Why it looks the way it does
//
// Reading a member is the hot path of the service, so this package spends less than net/http's Client with encoding/json
// would: a third of the CPU time, by BenchmarkCPUOfARead.
//
// Two fifths of what is saved is the transport (decision record 0010). http.Transport passes every request to one goroutine of
// its connection, has the answer read by another, and waits for both; here the caller writes and reads by itself.
// What is subtle about HTTP stays in net/http: unless an answer is the plainest there is, http.ReadResponse parses it, tells
// how long its body is and whether the connection may be kept. What is ours is when a connection is used again. Nobody
// reads from an idle one, so it is asked first, without waiting, whether it was closed or has something that nobody asked
// for; TLS is asked rather than its socket, as it may hold a record back. And a connection that the context broke off, at
// whatever point, is closed: a deadline in the past is set on its socket, which is all that another goroutine ever does to it.
// MX_TIMEOUT is such a deadline from the start, so a call over a connection that is there needs no timer.
//
// The rest is leaving out: the request is copied from a template into a pooled buffer and shares one header map
// (http.RoundTripper must not modify a request), the transport is called directly (a Client adds redirects, cookies and
// a second timer, none of which is wanted), compression is off (an answer is 1 to 2 kB; inflating it costs more than the
// bytes), the proxy is looked up once, the body lands in a pooled buffer, and the JSON is scanned once, with the strings
// of a member in a single allocation. BenchmarkDecodeMember and BenchmarkReadMember compare with the plain way.
//
// HTTP/1.1 is a choice: MaxInFlight connections of one request each cost less CPU than HTTP/2's framing, a lost or
// stalled connection harms one member rather than all of them, and the number of connections stays far below MX's limit
// (an older page of its documentation says 2,000 per address).
package mx
