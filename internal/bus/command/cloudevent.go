package command

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// Commands may come as CloudEvents 1.0: here is what its type system, its JSON
// format and the NATS binding (1.0.3-wip) ask of one. Extensions that we do not
// know pass; what the text forbids is refused with the attribute's name, since a
// sender that breaks the rules here breaks them for everybody else too.

// attributes are the texts of a CloudEvent's attributes by their names.
type attributes map[string]string

// check returns what is wrong with those that have a form to keep, naming the
// attribute and the way out. One that is empty is there, and must keep it.
func (a attributes) check() error {
	switch version, source := a["specversion"], a["source"]; {
	case version == "":
		return errors.New("specversion: missing; a CloudEvent has one: 1.0")
	case version != "1.0":
		return fmt.Errorf("specversion: %q; want 1.0", short(version))
	case a["type"] != events.CommandType:
		return fmt.Errorf("type: %q; want %s", short(a["type"]), events.CommandType)
	case a["id"] == "":
		return errors.New("id: missing; a CloudEvent has one")
	case source == "":
		return errors.New("source: missing; a CloudEvent has one")
	case !isURIReference(source):
		return fmt.Errorf("source: %q is no URI reference (RFC 3986); percent-encode what may not stand in one", short(source))
	}
	if at, ok := a["time"]; ok && !isTime(at) {
		return fmt.Errorf("time: %q is no time of RFC 3339; give one as 2026-03-14T09:26:53Z, or none", short(at))
	}
	if schema, ok := a["dataschema"]; ok && !isURI(schema) {
		return fmt.Errorf("dataschema: %q is no absolute URI; give it with its scheme, or none", short(schema))
	}
	if media, ok := a["datacontenttype"]; ok && !isJSON(media) {
		return fmt.Errorf("datacontenttype: %q; want application/json", short(media))
	}
	return nil
}

// trace prefers the trace of the CloudEvent, which is that of whoever asked, to
// that of the message's last hop.
func (a attributes) trace(hop Trace) Trace {
	if a[HeaderTraceparent] == "" {
		return hop
	}
	return Trace{a[HeaderTraceparent], a[HeaderTracestate]}.checked()
}

// structured reads a CloudEvent that is the body, given as the members of its
// JSON object. Their names are compared letter by letter, which encoding/json
// would not do.
func structured(members map[string]json.RawMessage, hop Trace) ([]byte, Trace, error) {
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	a := make(attributes, len(members))
	for name, value := range members {
		switch value[0] {
		case '"':
			a[name] = unquote(value)
		case 'n': // null: not there
			delete(members, name)
		}
	}
	if err := textAttributes(members); err != nil {
		return nil, hop, err
	}
	if err := a.check(); err != nil {
		return nil, hop, err
	}
	if err := extensions(members); err != nil {
		return nil, hop, err
	}
	t := a.trace(hop)
	switch {
	case isNull(encoded) && isNull(data):
		return nil, t, nil
	case isNull(encoded):
		return data, t, nil
	case !isNull(data):
		return nil, t, errors.New("data_base64: comes together with data; give one of them")
	}
	data, err := decodeBase64(encoded)
	return data, t, err
}

// textAttributes holds those of CloudEvents itself to be strings.
func textAttributes(members map[string]json.RawMessage) error {
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"} {
		if value, ok := members[name]; ok && value[0] != '"' {
			return fmt.Errorf("cloudevent: %s: is a JSON %s; want a string", name, kindOf(value))
		}
	}
	return nil
}

// extensions holds every attribute to the form that all of them have.
func extensions(members map[string]json.RawMessage) error {
	bad := slices.DeleteFunc(slices.Collect(maps.Keys(members)), func(name string) bool {
		return isAttributeName(name) && members[name][0] != '{' && members[name][0] != '['
	})
	if len(bad) == 0 {
		return nil
	}
	name := slices.Min(bad)
	if !isAttributeName(name) {
		return fmt.Errorf("%s: is no name of an attribute; they are of a to z and 0 to 9, in small letters", printable(name))
	}
	return fmt.Errorf("%s: is a JSON %s; an attribute is a string, a number or a boolean", short(name), kindOf(members[name]))
}

// unquote returns the text of a JSON string, nearly always as it stands.
func unquote(v json.RawMessage) string {
	s := string(v[1 : len(v)-1])
	if strings.ContainsFunc(s, func(c rune) bool { return c == '\\' || c > '~' }) {
		_ = json.Unmarshal(v, &s) // It is a string, and was parsed before.
	}
	return s
}

func decodeBase64(encoded json.RawMessage) ([]byte, error) {
	if encoded[0] != '"' {
		return nil, fmt.Errorf("data_base64: is a JSON %s; want a string", kindOf(encoded))
	}
	data, err := base64.StdEncoding.DecodeString(unquote(encoded))
	if err != nil {
		return nil, errors.New("data_base64: is not base64")
	}
	return data, nil
}

// membersOf returns the members of a JSON object by their names.
func membersOf(body []byte) (members map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err //nolint:wrapcheck // The caller explains it.
	}
	return members, nil
}

func isNull(v json.RawMessage) bool { return len(v) == 0 || v[0] == 'n' }

// kindOf names the kind of a JSON value.
func kindOf(v json.RawMessage) string {
	switch v[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// attributePrefix begins the name of each header that is an attribute.
const attributePrefix = "ce-"

// isBinary reports whether a header is an attribute: then the message is an event
// in binary mode, and has all that an event must have.
func isBinary(h nats.Header) bool {
	for name := range h {
		if hasPrefixFold(name, attributePrefix) {
			return true
		}
	}
	return false
}

// binary reads a CloudEvent whose attributes are headers and whose data is the
// body. The Content-Type tells only that it is not structured: what the data are
// is said by datacontenttype, and is JSON when nothing is said.
func binary(h nats.Header, body []byte, hop Trace) ([]byte, Trace, error) {
	a := attributes{}
	for _, header := range slices.Sorted(maps.Keys(h)) { // of two spellings of a name the one in small letters counts
		if !hasPrefixFold(header, attributePrefix) || len(h[header]) == 0 {
			continue
		}
		name := strings.ToLower(header[len(attributePrefix):])
		if !isAttributeName(name) {
			return nil, hop, fmt.Errorf("%s: is no name of an attribute; after ce- they are of a to z and 0 to 9", printable(header))
		}
		value, err := decodeHeader(h[header][0])
		if err != nil {
			return nil, hop, fmt.Errorf("ce-%s: %w", short(name), err)
		}
		a[name] = value
	}
	if err := a.check(); err != nil {
		return nil, hop, err
	}
	return body, a.trace(hop), nil
}

// decodeHeader undoes, in the binding's order, the quotes that older senders put
// around values, and one round of percent-encoding. What is no UTF-8 then, the
// binding wants refused.
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
		v = encodedByte.ReplaceAllStringFunc(v, unescape)
	}
	if !utf8.ValidString(v) {
		return "", errors.New("is not UTF-8; percent-encode the bytes of its UTF-8")
	}
	return v, nil
}

// encodedByte is one byte in percent-encoding. A percent sign before anything
// else stands for itself, and does not keep the rest from being decoded.
var encodedByte = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func unescape(triplet string) string {
	s, err := url.PathUnescape(triplet)
	if err != nil {
		return triplet // Unreachable: it matches encodedByte.
	}
	return s
}

func isAttributeName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// printable is a name that may have anything in it, as a reason can show it.
func printable(name string) string { return strings.Trim(strconv.Quote(short(name)), `"`) }

// isURIReference reports whether package url can read s, as the CloudEvents SDK
// asks of a source. It takes a space too, which is what a sender's %20 has become
// if it did not encode its percent sign.
func isURIReference(s string) bool {
	_, err := url.Parse(s)
	return err == nil
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.IsAbs()
}

// isTime reports whether s is a time of RFC 3339, whose T and Z may be small.
func isTime(s string) bool {
	var t time.Time // whose own parser is stricter than time.Parse, and lets only the comma of ISO 8601 pass
	return t.UnmarshalText([]byte(strings.ToUpper(s))) == nil && !strings.Contains(s, ",")
}

// isJSON reports whether a media type is JSON, those with the +json suffix included.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json"))
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
