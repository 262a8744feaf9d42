package command

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// MaxBody bounds a command's body, in bytes. One with every field at its bound is below 3 KiB;
// the rest is room for fields we do not know.
const MaxBody = 64 << 10

// ErrMisdirected tells that the message is on the command stream, but not a refresh.
var ErrMisdirected = errors.New("not a refresh command")

// Decode reads a command in any of its forms: plain JSON, a structured or a binary
// CloudEvent, or none at all on a subject that names the member. The error names the
// field, and is ErrMisdirected for a subject that is none. What could be read is
// returned beside it: whoever sent it listens for its id.
func Decode(s events.Subjects, subject string, h nats.Header, body []byte) (c events.Command, t Trace, err error) {
	user, member, named, ok := s.ParseRefresh(subject)
	if !ok {
		return c, t, fmt.Errorf("subject: %q is no refresh; publish on %s or %s.<user>.<member>: %w", subject, s.Refresh(), s.Refresh(), ErrMisdirected)
	}
	if len(body) > MaxBody {
		return c, t, fmt.Errorf("body: has %d bytes; at most %d", len(body), MaxBody)
	}
	data, t, err := unwrap(h, body)
	if err != nil {
		return c, t, err
	}
	switch data = bytes.TrimSpace(data); {
	case len(data) > 0:
		if err := Unmarshal(data, &c); err != nil {
			return c, t, err
		}
	case !named:
		return c, t, fmt.Errorf("body: is empty; give {\"user\":…,\"member\":…} or publish on %s.<user>.<member>", s.Refresh())
	}
	if named {
		if err := agree("user", &c.User, user); err != nil {
			return c, t, err
		}
		if err := agree("member", &c.Member, member); err != nil {
			return c, t, err
		}
	}
	return c, t, c.Validate() //nolint:wrapcheck // It names the fields.
}

// agree takes an id from the subject, and refuses a body that says otherwise.
func agree(field string, inBody *string, inSubject string) error {
	if *inBody != "" && *inBody != inSubject {
		return fmt.Errorf("%s: the body says another one than the subject", field)
	}
	*inBody = inSubject
	return nil
}

// unwrap returns the command in a message, the body or the data of the CloudEvent that
// it is by the rules of the CloudEvents NATS binding, and the trace that it came with.
func unwrap(h nats.Header, body []byte) ([]byte, Trace, error) {
	hop := TraceOf(h)
	contentType := Header(h, HeaderContentType)
	switch {
	case hasPrefixFold(strings.TrimSpace(contentType), "application/cloudevents"):
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || (media != events.ContentType && media != "application/cloudevents") {
			return nil, hop, fmt.Errorf("Content-Type: %q; of CloudEvents formats only %s is understood", contentType, events.ContentType)
		}
		members, err := membersOf(body)
		if err != nil {
			return nil, hop, fmt.Errorf("cloudevent: %w", explain(err))
		}
		return structured(members, hop)
	case isBinary(h):
		return binary(h, body, hop)
	}
	// Sent without the header, as from before NATS had any. Nearly every command is
	// no event, and need not be parsed twice: the name cannot be there unless it is
	// seen, or spelled with escapes.
	if !bytes.Contains(body, []byte(`"specversion"`)) && !bytes.Contains(body, []byte(`\u`)) {
		return body, hop, nil
	}
	if members, err := membersOf(body); err == nil && !isNull(members["specversion"]) {
		return structured(members, hop)
	}
	return body, hop, nil
}
