package bus

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

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
// error names the field, and is errMisdirected for a subject that is none.
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
	if err != nil {
		return request{}, err
	}
	switch {
	case len(data) > 0:
		if err := json.Unmarshal(data, &r.Command); err != nil {
			return request{}, fmt.Errorf("body: %w", explain(err))
		}
	case !named:
		return request{}, fmt.Errorf("body: is empty; give {\"user\":…,\"member\":…} or publish on %s.<user>.<member>", s.Refresh())
	}
	if named {
		if err := agree("user", &r.User, user); err != nil {
			return request{}, err
		}
		if err := agree("member", &r.Member, member); err != nil {
			return request{}, err
		}
	}
	r.dropBrokenTrace()
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
	lower := strings.ToLower(strings.TrimSpace(contentType))
	switch {
	case strings.HasPrefix(lower, "application/cloudevents"):
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || (media != events.ContentType && media != "application/cloudevents") {
			return nil, fmt.Errorf("Content-Type: %q; of CloudEvents formats only %s is understood", contentType, events.ContentType)
		}
		return structured(body, r)
	case header(h, "ce-specversion") != "":
		return binary(h, lower, body, r)
	}
	var probe struct {
		SpecVersion *string `json:"specversion"`
	}
	if json.Unmarshal(body, &probe) == nil && probe.SpecVersion != nil {
		return structured(body, r) // sent without the header: what else could it be
	}
	return body, nil
}

// structured reads a CloudEvent that is the body.
func structured(body []byte, r *request) ([]byte, error) {
	var ce struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		DataContentType *string         `json:"datacontenttype"`
		Data            json.RawMessage `json:"data"`
		DataBase64      *string         `json:"data_base64"`
		Traceparent     string          `json:"traceparent"`
		Tracestate      string          `json:"tracestate"`
	}
	if err := json.Unmarshal(body, &ce); err != nil {
		return nil, fmt.Errorf("cloudevent: %w", explain(err))
	}
	if err := checkEnvelope(ce.SpecVersion, ce.ID, ce.Source, ce.Type); err != nil {
		return nil, err
	}
	if ce.DataContentType != nil {
		if err := checkJSON("datacontenttype", *ce.DataContentType); err != nil {
			return nil, err
		}
	}
	r.take(ce.Traceparent, ce.Tracestate)
	if ce.DataBase64 != nil {
		data, err := base64.StdEncoding.DecodeString(*ce.DataBase64)
		if err != nil {
			return nil, errors.New("data_base64: is not base64")
		}
		return data, nil
	}
	if string(ce.Data) == "null" {
		return nil, nil
	}
	return ce.Data, nil
}

// binary reads a CloudEvent whose attributes are headers and whose data is the body.
func binary(h nats.Header, contentType string, body []byte, r *request) ([]byte, error) {
	var bad error
	attribute := func(name string) string {
		v, err := decodeHeader(header(h, "ce-"+name))
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("ce-%s: %w", name, err))
		}
		return v
	}
	err := checkEnvelope(attribute("specversion"), attribute("id"), attribute("source"), attribute("type"))
	media := attribute("datacontenttype")
	traceparent, tracestate := attribute("traceparent"), attribute("tracestate")
	if bad != nil {
		return nil, bad
	}
	if err != nil {
		return nil, err
	}
	if media != "" {
		if err := checkJSON("ce-datacontenttype", media); err != nil {
			return nil, err
		}
	}
	if contentType != "" {
		if err := checkJSON(headerContentType, contentType); err != nil {
			return nil, err
		}
	}
	r.take(traceparent, tracestate)
	return body, nil
}

// take prefers the trace of the CloudEvent, which is that of whoever asked, to
// that of the message's last hop.
func (r *request) take(traceparent, tracestate string) {
	if traceparent != "" {
		r.traceparent, r.tracestate = traceparent, tracestate
	}
}

func checkEnvelope(specVersion, id, source, typ string) error {
	switch {
	case specVersion != "1.0":
		return fmt.Errorf("specversion: %q; want 1.0", short(specVersion))
	case typ != events.CommandType:
		return fmt.Errorf("type: %q; want %s", short(typ), events.CommandType)
	case id == "":
		return errors.New("id: missing; a CloudEvent has one")
	case source == "":
		return errors.New("source: missing; a CloudEvent has one")
	}
	return nil
}

// checkJSON accepts JSON media types, those with the +json suffix included.
func checkJSON(field, contentType string) error {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || (media != "application/json" && media != "text/json" && !strings.HasSuffix(media, "+json")) {
		return fmt.Errorf("%s: %q; want application/json", field, short(contentType))
	}
	return nil
}

// header returns a header's value whatever the case of its name: NATS compares
// names byte by byte, publishers do not agree on one.
func header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// decodeHeader undoes, in the binding's order, the quotes that older senders put
// around values, and one round of percent-encoding. An encoding that is none is
// taken as it stands; one of what is no UTF-8 the binding wants refused.
func decodeHeader(v string) (string, error) {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		var b strings.Builder
		for inner := v[1 : len(v)-1]; inner != ""; inner = inner[1:] {
			if inner[0] == '\\' && len(inner) > 1 {
				inner = inner[1:]
			}
			b.WriteByte(inner[0])
		}
		v = b.String()
	}
	if strings.Contains(v, "%") {
		if d, err := url.PathUnescape(v); err == nil {
			v = d
		}
	}
	if !utf8.ValidString(v) {
		return "", errors.New("is not UTF-8")
	}
	return v, nil
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
