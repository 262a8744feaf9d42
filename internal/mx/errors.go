package mx

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind says what came of a call. The comments name the HTTP status or cause and whose fault it is.
type Kind uint8

// The kinds. Code that acts on them should list them all (the exhaustive linter checks).
const (
	None          Kind = iota // no error, or an error that is not of this package
	BadRequest                // 400, and arguments that no request can carry: the request
	Unauthorized              // 401: our client id or key
	Forbidden                 // 403: our address is not allow-listed, or the feature is off
	NotFound                  // 404: deleted member or user, wrong id or host; cannot be told apart
	NotAcceptable             // 406: our Accept-Version
	Conflict                  // 409: another job is running
	Unprocessable             // 422: the request
	RateLimited               // 429: load
	Unavailable               // 503: MX is being updated
	ServerFailed              // every other 5xx: MX
	BadAnswer                 // not JSON, too big, another's guid, a field of the wrong type, a redirect or another unexpected status: MX
	Timeout                   // no whole answer within Config.Timeout
	Connection                // no connection, or it was cut before the answer was whole
	Canceled                  // the caller's own context ended
)

// String returns the name in snake case, as used for metric labels.
func (k Kind) String() string {
	switch k {
	case None:
		return "none"
	case BadRequest:
		return "bad_request"
	case Unauthorized:
		return "unauthorized"
	case Forbidden:
		return "forbidden"
	case NotFound:
		return "not_found"
	case NotAcceptable:
		return "not_acceptable"
	case Conflict:
		return "conflict"
	case Unprocessable:
		return "unprocessable"
	case RateLimited:
		return "rate_limited"
	case Unavailable:
		return "unavailable"
	case ServerFailed:
		return "server_failed"
	case BadAnswer:
		return "bad_answer"
	case Timeout:
		return "timeout"
	case Connection:
		return "connection"
	case Canceled:
		return "canceled"
	}
	return "kind_" + strconv.Itoa(int(k))
}

// kindOfStatus is the one table from an HTTP status that is not the wanted one to its kind.
func kindOfStatus(status int) Kind {
	switch status {
	case http.StatusBadRequest:
		return BadRequest
	case http.StatusUnauthorized:
		return Unauthorized
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound:
		return NotFound
	case http.StatusNotAcceptable:
		return NotAcceptable
	case http.StatusConflict:
		return Conflict
	case http.StatusUnprocessableEntity:
		return Unprocessable
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusServiceUnavailable:
		return Unavailable
	}
	if status >= 500 && status <= 599 {
		return ServerFailed
	}
	return BadAnswer
}

// ErrNoURI is in the chain when MX answered a request for an OAuth window URI with a blank one.
var ErrNoURI = errors.New("answer holds no oauth window uri")

// CallError is what every failed call returns.
type CallError struct {
	Kind       Kind
	Op         string        // which call: one of the Op constants
	StatusCode int           // of the answer; 0 when none came
	RetryAfter time.Duration // how long MX asks to wait, at most 10 minutes; 0 when it does not say
	Excerpt    string        // of an error's body or cause, at most 256 printable bytes, without credentials, URIs and the ids asked for
	Err        error         // the cause, if there is one beyond the status
}

// Error names the call, the kind, the status and the excerpt, or the cause where there is no excerpt.
func (e *CallError) Error() string {
	var b strings.Builder
	b.WriteString("mx " + e.Op + ": " + e.Kind.String())
	if e.StatusCode != 0 {
		b.WriteString(" (status " + strconv.Itoa(e.StatusCode) + ")")
	}
	if e.Excerpt != "" {
		b.WriteString(": " + e.Excerpt)
	} else if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// KindOf returns the kind of the [*CallError] in err's chain, [None] when there is none.
func KindOf(err error) Kind {
	if call, ok := errors.AsType[*CallError](err); ok {
		return call.Kind
	}
	return None
}

// maxRetryAfter is how long a Retry-After is believed. MX documents neither the header nor how long a limit lasts; ten
// minutes outlast any usual window, and keep a nonsensical value from stopping the service for a day.
const maxRetryAfter = 10 * time.Minute

// retryAfter reads the header's two forms, seconds and HTTP date (RFC 9110, 10.2.3); 0 for anything else and the past.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return maxRetryAfter // Out of range: more digits than anyone means.
		}
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
