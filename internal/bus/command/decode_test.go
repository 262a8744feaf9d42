package command

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

func subjects(tb testing.TB) events.Subjects {
	tb.Helper()
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

const (
	plain  = "mx.commands.member.refresh"
	long   = "mx.commands.member.refresh.USR-1.MBR-1"
	body   = `{"user":"USR-1","member":"MBR-1","command_id":"c-1","reason":"why","aggregate":true}`
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// full is what body says.
func full() events.Command {
	return events.Command{User: "USR-1", Member: "MBR-1", CommandID: "c-1", Reason: "why", Aggregate: true}
}

func structuredEvent(data string) string {
	return `{"specversion":"1.0","type":"member.refresh","id":"1","source":"/app",` + data + `}`
}

// ce is the headers of a binary CloudEvent, with some replaced or added.
func ce(more ...string) nats.Header {
	h := nats.Header{"ce-specversion": {"1.0"}, "ce-type": {"member.refresh"}, "ce-id": {"1"}, "ce-source": {"/app"}}
	for i := 0; i < len(more); i += 2 {
		h[more[i]] = []string{more[i+1]}
	}
	return h
}

func contentType(v string) nats.Header { return nats.Header{"Content-Type": {v}} }

func TestDecodeInEveryForm(t *testing.T) {
	t.Parallel()
	named := events.Command{User: "USR-1", Member: "MBR-1"}
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	for name, tc := range map[string]struct {
		subject string // plain when empty
		header  nats.Header
		body    string
		want    events.Command
		trace   string
	}{
		"plain":                           {body: body, want: full()},
		"plain with a content type":       {header: contentType("application/json; charset=utf-8"), body: body, want: full()},
		"plain with unknown fields":       {body: `{"user":"USR-1","member":"MBR-1","color":{"deep":[1]}}`, want: named},
		"names in other letters":          {body: `{"user":"USR-1","member":"MBR-1","Member":"MBR-2","USER":7,"\u0055ser":"USR-3","aggregate":false,"Aggregate":true}`, want: named},
		"a name with a long s":            {body: `{"user":"USR-1","member":"MBR-1","reaſon":"because"}`, want: named},
		"a name with an escape":           {body: `{"user":"USR-1","\u006dember":"MBR-1","More":"\"user\":"}`, want: named},
		"nothing but white space":         {subject: long, body: " \r\n", want: named},
		"partner ids":                     {body: `{"user":"someone@example.com","member":"account-7"}`, want: events.Command{User: "someone@example.com", Member: "account-7"}},
		"a trace in the header":           {header: nats.Header{"traceparent": {parent}}, body: body, want: full(), trace: parent},
		"a trace header of another case":  {header: nats.Header{"Traceparent": {parent}}, body: body, want: full(), trace: parent},
		"a broken trace":                  {header: nats.Header{"traceparent": {"00-xyz"}}, body: body, want: full()},
		"structured":                      {header: contentType(events.ContentType), body: structuredEvent(`"data":` + body), want: full()},
		"structured, header of any case":  {header: nats.Header{"content-TYPE": {"Application/CloudEvents+JSON; charset=UTF-8"}}, body: structuredEvent(`"data":` + body), want: full()},
		"structured, without +json":       {header: contentType("application/cloudevents"), body: structuredEvent(`"data":` + body), want: full()},
		"structured, without header":      {body: structuredEvent(`"data":` + body), want: full()},
		"structured, data in base64":      {header: contentType(events.ContentType), body: structuredEvent(`"data_base64":"` + encoded + `"`), want: full()},
		"structured, data of a +json":     {body: structuredEvent(`"datacontenttype":"application/vnd.app+json","data":` + body), want: full()},
		"structured, unknown attributes":  {body: structuredEvent(`"color":"red","time":"2026-08-01T12:00:00Z","data":` + body), want: full()},
		"structured, with a trace":        {header: nats.Header{"traceparent": {"00-" + strings.Repeat("1", 32) + "-" + strings.Repeat("2", 16) + "-00"}}, body: structuredEvent(`"traceparent":"` + parent + `","data":` + body), want: full(), trace: parent},
		"structured, named by subject":    {subject: long, header: contentType(events.ContentType), body: structuredEvent(`"subject":"x"`), want: named},
		"structured, null data":           {subject: long, body: structuredEvent(`"data":null`), want: named},
		"binary":                          {header: ce(), body: body, want: full()},
		"binary with a content type":      {header: ce("Content-Type", "application/json"), body: body, want: full()},
		"binary, of another media type":   {header: ce("Content-Type", "text/xml"), body: body, want: full()},
		"binary, headers of any case":     {header: nats.Header{"CE-SpecVersion": {"1.0"}, "Ce-Type": {"member.refresh"}, "cE-iD": {"1"}, "Ce-Source": {"/app"}}, body: body, want: full()},
		"binary, percent-encoded":         {header: ce("ce-type", "member%2Erefresh", "ce-source", "/a%2520b", "ce-subject", "b%C3%A9"), body: body, want: full()},
		"binary, with a trace":            {header: ce("ce-traceparent", parent), body: body, want: full(), trace: parent},
		"binary, named by subject":        {subject: long, header: ce(), want: named},
		"named by subject":                {subject: long, want: named},
		"named by subject, ids of yours":  {subject: "mx.commands.member.refresh.you_1.account-7", want: events.Command{User: "you_1", Member: "account-7"}},
		"named by subject, with the rest": {subject: long, body: `{"command_id":"c-1","reason":"why","aggregate":true}`, want: full()},
		"named by subject and body alike": {subject: long, body: body, want: full()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.subject == "" {
				tc.subject = plain
			}
			got, trace, err := Decode(subjects(t), tc.subject, tc.header, []byte(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			if trace.Parent != tc.trace {
				t.Errorf("traceparent %q, want %q", trace.Parent, tc.trace)
			}
		})
	}
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		subject     string // plain when empty
		header      nats.Header
		body        string
		field       string // what the error begins with
		misdirected bool
	}{
		"no body":                       {field: "body:"},
		"no JSON":                       {body: "user=1", field: "body:"},
		"half a body":                   {body: body[:20], field: "body:"},
		"two bodies":                    {body: body + body, field: "body:"},
		"a string":                      {body: `"USR-1"`, field: "body: is a JSON string"},
		"an array":                      {body: "[" + body + "]", field: "body: is a JSON array"},
		"a batch":                       {header: contentType("application/cloudevents-batch+json"), body: "[" + structuredEvent(`"data":`+body) + "]", field: "Content-Type:"},
		"another format of CloudEvents": {header: contentType("application/cloudevents+avro"), body: body, field: "Content-Type:"},
		"null":                          {body: "null", field: "user:"},
		"nothing in it":                 {body: "{}", field: "user:"},
		"white space":                   {body: " \n", field: "body: is empty"},
		"names in capitals":             {body: `{"USER":"USR-1","MEMBER":"MBR-1"}`, field: "user: missing"},
		"no user":                       {body: `{"member":"MBR-1"}`, field: "user:"},
		"no member":                     {body: `{"user":"USR-1"}`, field: "member:"},
		"a number for a user":           {body: `{"user":7,"member":"MBR-1"}`, field: "body: user: is a JSON number"},
		"a list for a member":           {body: `{"user":"USR-1","member":["MBR-1"]}`, field: "body: member: is a JSON array"},
		"text for aggregate":            {body: `{"user":"USR-1","member":"MBR-1","aggregate":"yes"}`, field: "body: aggregate: is a JSON string"},
		"a wildcard":                    {body: `{"user":"*","member":"MBR-1"}`, field: "user:"},
		"a full wildcard":               {body: `{"user":"USR-1","member":">"}`, field: "member:"},
		"a dot":                         {body: `{"user":".","member":"MBR-1"}`, field: "user:"},
		"two dots":                      {body: `{"user":"..","member":"MBR-1"}`, field: "user:"},
		"a dotted guid":                 {body: `{"user":"USR-1.2","member":"MBR-1"}`, field: "user:"},
		"a slash":                       {body: `{"user":"USR-1","member":"a/b"}`, field: "member:"},
		"a space":                       {body: `{"user":"USR-1","member":"a b"}`, field: "member:"},
		"a control character":           {body: `{"user":"USR-1","member":"a\u0000b"}`, field: "member:"},
		"a line end":                    {body: `{"user":"USR-1","member":"a\nb"}`, field: "member:"},
		"a long user":                   {body: `{"user":"` + strings.Repeat("u", 2000) + `","member":"MBR-1"}`, field: "user:"},
		"a long member":                 {body: `{"user":"USR-1","member":"` + strings.Repeat("m", 2000) + `"}`, field: "member:"},
		"a command id with dots":        {body: `{"user":"USR-1","member":"MBR-1","command_id":"a.b"}`, field: "command_id:"},
		"a long command id":             {body: `{"user":"USR-1","member":"MBR-1","command_id":"` + strings.Repeat("c", 65) + `"}`, field: "command_id:"},
		"a long reason":                 {body: `{"user":"USR-1","member":"MBR-1","reason":"` + strings.Repeat("r", 257) + `"}`, field: "reason:"},
		"a megabyte":                    {body: `{"user":"USR-1","member":"MBR-1","more":"` + strings.Repeat("x", 1<<20) + `"}`, field: "body:"},

		"an event of another type":    {header: contentType(events.ContentType), body: `{"specversion":"1.0","type":"member.deleted","id":"1","source":"/a","data":{}}`, field: "type:"},
		"an event without a type":     {header: contentType(events.ContentType), body: `{"specversion":"1.0","id":"1","source":"/a","data":` + body + `}`, field: "type:"},
		"an event of another version": {header: contentType(events.ContentType), body: `{"specversion":"0.3","type":"member.refresh","id":"1","source":"/a","data":{}}`, field: "specversion:"},
		"a body under a wrong name":   {header: contentType(events.ContentType), body: body, field: "specversion:"},
		"an event without an id":      {body: `{"specversion":"1.0","type":"member.refresh","source":"/a","data":{}}`, field: "id:"},
		"an event without a source":   {body: `{"specversion":"1.0","type":"member.refresh","id":"1","data":{}}`, field: "source:"},
		"an event that is no JSON":    {header: contentType(events.ContentType), body: "{", field: "cloudevent:"},
		"a number for an event id":    {body: `{"specversion":"1.0","type":"member.refresh","id":1,"source":"/a"}`, field: "cloudevent: id: is a JSON number"},
		"an event without data":       {body: structuredEvent(`"time":"2026-08-01T12:00:00Z"`), field: "body:"},
		"an event with null data":     {body: structuredEvent(`"data":null`), field: "body: is empty"},
		"data that is XML":            {body: structuredEvent(`"datacontenttype":"application/xml","data":"<a/>"`), field: "datacontenttype:"},
		"data that is no base64":      {body: structuredEvent(`"data_base64":"%%%"`), field: "data_base64:"},
		"data that is text":           {body: structuredEvent(`"data":"USR-1"`), field: "body: is a JSON string"},

		"binary of another type":    {header: ce("ce-type", "member.deleted"), body: body, field: "type:"},
		"binary of another version": {header: ce("ce-specversion", "0.3"), body: body, field: "specversion:"},
		"binary without an id":      {header: ce("ce-id", ""), body: body, field: "id:"},
		"binary without a source":   {header: ce("ce-source", ""), body: body, field: "source:"},
		"binary without a version":  {header: ce("ce-specversion", ""), body: body, field: "specversion:"},
		"binary XML":                {header: ce("ce-datacontenttype", "text/xml"), body: body, field: "datacontenttype:"},

		"another user than the subject":   {subject: long, body: `{"user":"USR-2"}`, field: "user:"},
		"another member than the subject": {subject: long, body: `{"member":"MBR-2"}`, field: "member:"},

		"a subject above":         {subject: "mx.commands.member", body: body, field: "subject:", misdirected: true},
		"another verb":            {subject: "mx.commands.member.delete", body: body, field: "subject:", misdirected: true},
		"a subject of one id":     {subject: "mx.commands.member.refresh.USR-1", body: body, field: "subject:", misdirected: true},
		"a subject of three ids":  {subject: "mx.commands.member.refresh.USR-1.MBR-1.x", body: body, field: "subject:", misdirected: true},
		"another kind of subject": {subject: "mx.commands.user.refresh", body: body, field: "subject:", misdirected: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.subject == "" {
				tc.subject = plain
			}
			_, _, err := Decode(subjects(t), tc.subject, tc.header, []byte(tc.body))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.HasPrefix(err.Error(), tc.field) {
				t.Errorf("error %q, want it to begin with %q", err, tc.field)
			}
			if errors.Is(err, ErrMisdirected) != tc.misdirected {
				t.Errorf("error %q: misdirected %t, want %t", err, !tc.misdirected, tc.misdirected)
			}
			if len(err.Error()) > 1024 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// TestBadCommandKeepsItsID: whoever sent it listens for that id.
func TestBadCommandKeepsItsID(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{`"user":7,"member":"MBR-1"`, `"user":"USR-1","member":["x"]`, `"user":"USR-1","member":"MBR-1","aggregate":"yes"`, `"user":"a b"`} {
		for name, bad := range map[string]string{
			"plain": `{` + wrong + `,"command_id":"c-9"}`, "structured": structuredEvent(`"data":{` + wrong + `,"command_id":"c-9"}`),
		} {
			got, _, err := Decode(subjects(t), plain, nil, []byte(bad))
			if err == nil || got.CommandID != "c-9" {
				t.Errorf("%s, %s: id %q and error %v, want c-9 and what is wrong", name, wrong, got.CommandID, err)
			}
		}
	}
}

func TestDecodeNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, _, err := Decode(subjects(t), plain, nil, []byte(`{"user":"a b","command_id":"x y","reason":"`+strings.Repeat("r", 300)+`"}`))
	for _, field := range []string{"user:", "member:", "command_id:", "reason:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

func TestDecodeDropsTracestateThatNobodyCouldCarry(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ parent, state, want string }{
		"good":             {parent, "a=1,b=2", "a=1,b=2"},
		"too long":         {parent, strings.Repeat("a", maxTracestate+1), ""},
		"binary":           {parent, "a=\x01", ""},
		"without a parent": {"", "a=1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := nats.Header{"traceparent": {tc.parent}, "tracestate": {tc.state}}
			_, got, err := Decode(subjects(t), plain, h, []byte(body))
			if err != nil || got.State != tc.want {
				t.Errorf("tracestate %q, %v; want %q", got.State, err, tc.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		body, "", "null", "[]", "{", structuredEvent(`"data":` + body), structuredEvent(`"data_base64":"e30="`),
		`{"specversion":"0.3"}`, `{"user":{"a":1}}`, "\xff\xfe", `{"user":"\ud800","member":"MBR-1"}`,
	} {
		f.Add(plain, events.ContentType, "1.0", parent, []byte(s))
		f.Add(long, "", "", "", []byte(s))
		f.Add("mx.commands.>", "application/json", "1.0", "x", []byte(s))
	}
	s := subjects(f)
	f.Fuzz(func(t *testing.T, subject, contentType, version, parent string, data []byte) {
		h := nats.Header{
			"Content-Type": {contentType}, "ce-specversion": {version}, "ce-type": {"member.refresh"},
			"ce-id": {"1"}, "ce-source": {"/"}, "traceparent": {parent},
		}
		c, trace, err := Decode(s, subject, h, data)
		if err != nil {
			if !errors.Is(err, ErrMisdirected) && !strings.Contains(err.Error(), ":") {
				t.Errorf("error %q names no field", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("accepted an invalid command: %v", err)
		}
		if trace.Parent != "" && !validTrace.MatchString(trace.Parent) {
			t.Errorf("traceparent %q", trace.Parent)
		}
		if len(trace.State) > maxTracestate {
			t.Errorf("tracestate of %d bytes", len(trace.State))
		}
	})
}
