package bus

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// The cases below follow the text of the CloudEvents NATS protocol binding,
// version 1.0.3-wip, section by section.

const (
	specSubject = "mx.commands.member.refresh"
	specBody    = `{"user":"USR-1","member":"MBR-1"}`
	specEvent   = `{"specversion":"1.0","id":"1","source":"/app","type":"member.refresh","data":` + specBody + `}`
)

// binaryHeader is a binary CloudEvent's header with some fields changed; an
// empty value removes one.
func binaryHeader(changes ...string) nats.Header {
	h := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"/app"}, "ce-type": {"member.refresh"},
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(h, changes[i])
			continue
		}
		h[changes[i]] = []string{changes[i+1]}
	}
	return h
}

func TestCommandsAreReadAsTheNATSBindingSays(t *testing.T) {
	t.Parallel()
	s, err := events.NewSubjects("mx")
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for name, tc := range map[string]struct {
		header nats.Header
		body   string
		err    string // part of the error; empty: the command is taken
	}{
		// 3: structured when the Content-Type begins with application/cloudevents, in any case.
		"3 structured":                           {nats.Header{"Content-Type": {"application/cloudevents+json"}}, specEvent, ""},
		"3 structured, media type in capitals":   {nats.Header{"Content-Type": {"APPLICATION/CloudEvents+JSON"}}, specEvent, ""},
		"3 structured, header name in small":     {nats.Header{"content-type": {"application/cloudevents+json"}}, specEvent, ""},
		"3 structured, header name in capitals":  {nats.Header{"CONTENT-TYPE": {"application/cloudevents+json"}}, specEvent, ""},
		"3 structured, with charset":             {nats.Header{"Content-Type": {"application/cloudevents+json; charset=UTF-8"}}, specEvent, ""},
		"3 structured, format left open":         {nats.Header{"Content-Type": {"application/cloudevents"}}, specEvent, ""},
		"3 structured wins over ce- headers":     {binaryHeader("Content-Type", "application/cloudevents+json", "ce-type", "other"), specEvent, ""},
		"3 structured is JSON":                   {nats.Header{"Content-Type": {"application/cloudevents+json"}}, "{", "not JSON"},
		"1.3 no batches":                         {nats.Header{"Content-Type": {"application/cloudevents-batch+json"}}, "[" + specEvent + "]", "Content-Type"},
		"1.4 no other formats":                   {nats.Header{"Content-Type": {"application/cloudevents+avro"}}, "x", "Content-Type"},
		"1.4 structured before NATS had headers": {nil, specEvent, ""},

		// 3.1: otherwise binary. The data are the body, whatever they look like.
		"3.1 binary":                       {binaryHeader(), specBody, ""},
		"3.1 binary, media type JSON":      {binaryHeader("Content-Type", "application/json"), specBody, ""},
		"3.1 binary, any other media type": {binaryHeader("Content-Type", "text/plain"), specBody, "want application/json"},

		// 3.1.3.1: each attribute is a header of its name after ce-; names are case-insensitive.
		"3.1.3.1 names in capitals":               {nats.Header{"CE-SPECVERSION": {"1.0"}, "Ce-Id": {"1"}, "cE-sOURCE": {"/app"}, "Ce-Type": {"member.refresh"}}, specBody, ""},
		"3.1.3.1 datacontenttype":                 {binaryHeader("ce-datacontenttype", "application/json;charset=utf-8"), specBody, ""},
		"3.1.3.1 datacontenttype is checked":      {binaryHeader("ce-datacontenttype", "application/xml"), specBody, "want application/json"},
		"3.1.3.1 other attributes and extensions": {binaryHeader("ce-time", "2026-03-14T09:26:53Z", "ce-subject", "x", "ce-novelty", "y"), specBody, ""},
		"3.1.3.1 id is required":                  {binaryHeader("ce-id", ""), specBody, "id: missing"},
		"3.1.3.1 source is required":              {binaryHeader("ce-source", ""), specBody, "source: missing"},
		"3.1.3.1 type is required":                {binaryHeader("ce-type", ""), specBody, "type:"},
		"3.1.3.1 another version":                 {binaryHeader("ce-specversion", "0.3"), specBody, "specversion"},
		"3.1.3.1 another type":                    {binaryHeader("ce-type", "member.connected"), specBody, "type:"},

		// 3.1.3.2: one round of percent-decoding, upper and lower case, needed or not.
		"3.1.3.2 space and quotes":            {binaryHeader("ce-id", "a%20%22b%22"), specBody, ""},
		"3.1.3.2 the example of the text":     {binaryHeader("ce-id", "Euro%20%E2%82%AC%20%F0%9F%98%80"), specBody, ""},
		"3.1.3.2 lower-case digits":           {binaryHeader("ce-id", "%e2%82%ac"), specBody, ""},
		"3.1.3.2 encoded without need":        {binaryHeader("ce-type", "%6D%65mber%2erefresh"), specBody, ""},
		"3.1.3.2 one round and no more":       {binaryHeader("ce-type", "member%252Erefresh"), specBody, "type:"},
		"3.1.3.2 what is no UTF-8 is refused": {binaryHeader("ce-id", "%C0%A0"), specBody, "ce-id"},
		"3.1.3.2 quoted, of older senders":    {binaryHeader("ce-type", `"member.refresh"`), specBody, ""},
		"3.1.3.2 quoted with escapes":         {binaryHeader("ce-type", `"member\.refresh"`), specBody, ""},
		"3.1.3.2 quoted, then percent":        {binaryHeader("ce-type", `"member%2Erefresh"`), specBody, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := decodeCommand(s, specSubject, tc.header, []byte(tc.body))
			switch {
			case tc.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.err == "" && (r.User != "USR-1" || r.Member != "MBR-1"):
				t.Errorf("read as %+v", r.Command)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error is %v, want one that contains %q", err, tc.err)
			}
		})
	}

	// Distributed tracing: the attributes of whoever asked come before the headers of the last hop.
	r, err := decodeCommand(s, specSubject, binaryHeader("ce-traceparent", trace, "traceparent", strings.Replace(trace, "4bf9", "5bf9", 1)), []byte(specBody))
	if err != nil || r.traceparent != trace {
		t.Errorf("traceparent is %q, %v", r.traceparent, err)
	}
}
