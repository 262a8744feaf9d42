package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// maxBody bounds a command's body. One with every field at its bound is below 3 KiB;
// the rest is room for fields we do not know.
const maxBody = 64 << 10

// errMisdirected: the message is on the command stream, but not a refresh.
var errMisdirected = errors.New("not a refresh command")

// request is a decoded command with the trace it came with.
type request struct {
	events.Command
	traceparent, tracestate string
}

// decodeCommand reads a command in any of its forms: plain JSON, a structured or
// a binary CloudEvent, or none at all on a subject that names the member. The
// error names the field, and is errMisdirected for a subject that is none. What
// could be read is returned beside it: whoever sent it listens for its id.
func decodeCommand(s events.Subjects, subject string, h nats.Header, body []byte) (request, error) {
	user, member, named, ok := s.ParseRefresh(subject)
	if !ok {
		return request{}, fmt.Errorf("subject: %q is no refresh; publish on %s or %s.<user>.<member>: %w", subject, s.Refresh(), s.Refresh(), errMisdirected)
	}
	if len(body) > maxBody {
		return request{}, fmt.Errorf("body: has %d bytes; at most %d", len(body), maxBody)
	}
	r := request{traceparent: header(h, headerTraceparent), tracestate: header(h, headerTracestate)}
	data, err := unwrap(h, body, &r)
	r.dropBrokenTrace()
	if err != nil {
		return r, err
	}
	switch data = bytes.TrimSpace(data); {
	case len(data) > 0:
		if err := json.Unmarshal(exactNames(data), &r.Command); err != nil {
			return r, fmt.Errorf("body: %w", explain(err))
		}
	case !named:
		return r, fmt.Errorf("body: is empty; give {\"user\":…,\"member\":…} or publish on %s.<user>.<member>", s.Refresh())
	}
	if named {
		if err := agree("user", &r.User, user); err != nil {
			return r, err
		}
		if err := agree("member", &r.Member, member); err != nil {
			return r, err
		}
	}
	return r, r.Validate() //nolint:wrapcheck // It names the fields.
}

// dropBrokenTrace forgets a trace that is none: it must not keep a command from its work.
func (r *request) dropBrokenTrace() {
	if !validTrace.MatchString(r.traceparent) {
		r.traceparent, r.tracestate = "", ""
	}
	if len(r.tracestate) > maxTracestate || strings.ContainsFunc(r.tracestate, func(c rune) bool { return c < ' ' || c > '~' }) {
		r.tracestate = ""
	}
}

// validTrace is the form of a W3C traceparent.
var validTrace = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// maxTracestate is what W3C asks everybody to propagate at least.
const maxTracestate = 512

// agree takes an id from the subject, and refuses a body that says otherwise.
func agree(field string, inBody *string, inSubject string) error {
	if *inBody != "" && *inBody != inSubject {
		return fmt.Errorf("%s: the body says another one than the subject", field)
	}
	*inBody = inSubject
	return nil
}

// unwrap returns the command in a message: the body, or the data of the
// CloudEvent that it is by the rules of the CloudEvents NATS binding.
func unwrap(h nats.Header, body []byte, r *request) ([]byte, error) {
	contentType := header(h, headerContentType)
	switch {
	case hasPrefixFold(strings.TrimSpace(contentType), "application/cloudevents"):
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || (media != events.ContentType && media != "application/cloudevents") {
			return nil, fmt.Errorf("Content-Type: %q; of CloudEvents formats only %s is understood", contentType, events.ContentType)
		}
		members, err := membersOf(body)
		if err != nil {
			return nil, fmt.Errorf("cloudevent: %w", explain(err))
		}
		return structured(members, r)
	case isBinary(h):
		return binary(h, body, r)
	}
	// Sent without the header, as from before NATS had any. Nearly every command is
	// no event, and need not be parsed twice: the name cannot be there unless it is
	// seen, or spelled with escapes.
	if !bytes.Contains(body, []byte(`"specversion"`)) && !bytes.Contains(body, []byte(`\u`)) {
		return body, nil
	}
	if members, err := membersOf(body); err == nil && !isNull(members["specversion"]) {
		return structured(members, r)
	}
	return body, nil
}

// explain says what is wrong with JSON in terms of its fields.
func explain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := e.Field
		if field == "" {
			return fmt.Errorf("is a JSON %s; want an object", e.Value)
		}
		return fmt.Errorf("%s: is a JSON %s; want a %s", field, e.Value, e.Type)
	}
	return fmt.Errorf("is not JSON: %w", err)
}

func short(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
