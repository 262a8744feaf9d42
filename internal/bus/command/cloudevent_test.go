package command

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

// eventWith is a structured CloudEvent with one more member.
func eventWith(member string) string { return strings.TrimSuffix(specEvent, "}") + "," + member + "}" }

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
		"3.1 binary":                  {binaryHeader(), specBody, ""},
		"3.1 binary, media type JSON": {binaryHeader("Content-Type", "application/json"), specBody, ""},
		// 3: a Content-Type other than application/cloudevents says "binary" and no more.
		// 2.1: what the data are is said by datacontenttype, so JSON in a message of
		// text or of bytes is fine as long as that attribute is absent or says JSON.
		"3 binary, a media type of text":               {binaryHeader("Content-Type", "text/plain"), specBody, ""},
		"3 binary, a media type of bytes":              {binaryHeader("Content-Type", "application/octet-stream"), specBody, ""},
		"3 binary, bytes that an attribute calls JSON": {binaryHeader("Content-Type", "application/octet-stream", "ce-datacontenttype", "application/json"), specBody, ""},
		"2.1 binary, an attribute says XML":            {binaryHeader("Content-Type", "application/json", "ce-datacontenttype", "application/xml"), specBody, "datacontenttype:"},
		"2.1 binary, the data are no JSON":             {binaryHeader("Content-Type", "text/plain"), "USR-1", "body: is not JSON"},

		// 3.1.3.1: each attribute is a header of its name after ce-; names are case-insensitive.
		"3.1.3.1 names in capitals": {nats.Header{"CE-SPECVERSION": {"1.0"}, "Ce-Id": {"1"}, "cE-sOURCE": {"/app"}, "Ce-Type": {"member.refresh"}}, specBody, ""},
		// 3.1: a message with one attribute is an event, and has those that every event has.
		"3.1.3.1 specversion is required":         {binaryHeader("ce-specversion", ""), specBody, "specversion: missing"},
		"3.1.3.1 specversion is not empty":        {nats.Header{"ce-specversion": {""}, "ce-id": {"1"}, "ce-source": {"/app"}, "ce-type": {"member.refresh"}}, specBody, "specversion: missing"},
		"3.1.3.1 one attribute makes it an event": {nats.Header{"CE-Novelty": {"x"}}, specBody, "specversion: missing"},
		"3.1.3.1 a name with other letters":       {binaryHeader("ce-my_novelty", "x"), specBody, "ce-my_novelty: is no name"},
		"3.1.3.1 a name of none":                  {nats.Header{"ce-": {"x"}}, specBody, "ce-: is no name"},
		"3.1.3.1 small letters win":               {nats.Header{"CE-TYPE": {"other"}, "ce-type": {"member.refresh"}, "ce-id": {"1"}, "ce-source": {"/app"}, "ce-specversion": {"1.0"}}, specBody, ""},
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
		"3.1.3.2 no UTF-8 in an extension":    {binaryHeader("ce-novelty", "%C0%A0"), specBody, "ce-novelty: is not UTF-8"},
		"3.1.3.2 no UTF-8 in a known one":     {binaryHeader("ce-subject", "a%FF"), specBody, "ce-subject: is not UTF-8"},
		"3.1.3.2 no UTF-8 after a bare sign":  {binaryHeader("ce-novelty", "100% %C0%A0"), specBody, "ce-novelty: is not UTF-8"},
		"3.1.3.2 a bare sign stands":          {binaryHeader("ce-novelty", "100%"), specBody, ""},
		"3.1.3.2 quoted, of older senders":    {binaryHeader("ce-type", `"member.refresh"`), specBody, ""},
		"3.1.3.2 quoted with escapes":         {binaryHeader("ce-type", `"member\.refresh"`), specBody, ""},
		"3.1.3.2 quoted, then percent":        {binaryHeader("ce-type", `"member%2Erefresh"`), specBody, ""},

		// CloudEvents 1.0, 3.1 and the type system: what the attributes must look like, in either mode.
		"time, binary":                         {binaryHeader("ce-time", "yesterday"), specBody, "time:"},
		"time, structured":                     {nil, eventWith(`"time":"2026-03-14 09:26"`), "time:"},
		"time with a comma":                    {binaryHeader("ce-time", "2026-03-14T09:26:53,5Z"), specBody, "time:"},
		"time without a zone":                  {nil, eventWith(`"time":"2026-03-14T09:26:53"`), "time:"},
		"time with an offset":                  {binaryHeader("ce-time", "2026-03-14T09%3A26%3A53.589793+01:00"), specBody, ""},
		"time in small letters":                {nil, eventWith(`"time":"2026-03-14t09:26:53z"`), ""},
		"an empty source, binary":              {nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"member.refresh"}, "ce-id": {"1"}, "ce-source": {""}}, specBody, "source: missing"},
		"a source with a space":                {binaryHeader("ce-source", "my%20app"), specBody, ""}, // its sender had %20 and did not encode the sign
		"a source with a broken escape":        {binaryHeader("ce-source", "/app%25zz"), specBody, "source:"},
		"a source with a broken host":          {nil, strings.Replace(specEvent, "/app", "http://[::1", 1), "source:"},
		"a source that is a URN":               {binaryHeader("ce-source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"), specBody, ""},
		"a source that is an address":          {nil, strings.Replace(specEvent, "/app", "https://shop.example/a%20b?x=1#y", 1), ""},
		"a schema that is relative":            {binaryHeader("ce-dataschema", "v1/member.refresh.json"), specBody, "dataschema:"},
		"a schema that is relative, in JSON":   {nil, eventWith(`"dataschema":"/schemas/x"`), "dataschema:"},
		"a schema with a space":                {binaryHeader("ce-dataschema", "urn:a%20b"), specBody, ""},
		"a schema":                             {nil, eventWith(`"dataschema":"https://github.com/memberwatch/memberwatch/schemas/v1/member.refresh.json"`), ""},
		"a schema with a fragment":             {nil, eventWith(`"dataschema":"https://shop.example/x#y"`), ""},
		"a number beyond 32 bits":              {nil, eventWith(`"number":1773480413000`), ""},
		"JSON 2: a name in capitals":           {nil, eventWith(`"Novelty":"x"`), "Novelty: is no name"},
		"JSON 2: a name with a line end":       {nil, eventWith(`"a\nb":"x"`), `a\nb: is no name`},
		"JSON 2: a known name in capitals":     {nats.Header{"Content-Type": {"application/cloudevents+json"}}, strings.Replace(specEvent, "specversion", "SPECVERSION", 1), "specversion: missing"},
		"JSON 2: capitals make no event":       {nil, `{"SPECVERSION":"1.0","user":"USR-1","member":"MBR-1"}`, ""},
		"JSON 2: the name spelled with escape": {nil, strings.Replace(specEvent, "specversion", `\u0073pecversion`, 1), ""},
		"JSON 2.2: an object":                  {nil, eventWith(`"novelty":{"a":1}`), "novelty: is a JSON object"},
		"JSON 2.2: an array":                   {nil, eventWith(`"novelty":[1]`), "novelty: is a JSON array"},
		"JSON 2.2: null is not there":          {nil, eventWith(`"time":null,"subject":null,"dataschema":null`), ""},
		"JSON: a value spelled with escapes":   {nil, strings.Replace(specEvent, "member.refresh", `member\u002erefresh`, 1), ""},
		"JSON 2.2: what else there is":         {nil, eventWith(`"number":1,"flag":true,"nothing":null`), ""},
		"JSON 2.2: a number for a time":        {nil, eventWith(`"time":1773480413`), "time: is a JSON number"},
		"JSON 2.2: a boolean for a subject":    {nil, eventWith(`"subject":true`), "subject: is a JSON boolean"},
		"JSON 3.1: data twice":                 {nil, eventWith(`"data_base64":"e30="`), "data_base64: comes together with data"},
		"JSON 3.1: data twice, one null":       {nil, eventWith(`"data_base64":null`), ""},
		"JSON 3.1: data that are a number":     {nil, strings.Replace(specEvent, `"data":`+specBody, `"data_base64":1`, 1), "data_base64: is a JSON number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _, err := Decode(s, specSubject, tc.header, []byte(tc.body))
			switch {
			case tc.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.err == "" && (c.User != "USR-1" || c.Member != "MBR-1"):
				t.Errorf("read as %+v", c)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error is %v, want one that contains %q", err, tc.err)
			}
		})
	}

	// Distributed tracing: the attributes of whoever asked come before the headers of the last hop.
	_, got, err := Decode(s, specSubject, binaryHeader("ce-traceparent", trace, "traceparent", strings.Replace(trace, "4bf9", "5bf9", 1)), []byte(specBody))
	if err != nil || got.Parent != trace {
		t.Errorf("traceparent is %q, %v", got.Parent, err)
	}
}
