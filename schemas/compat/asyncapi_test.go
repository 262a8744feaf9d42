package compat_test

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/memberwatch/memberwatch/schemas"
	"github.com/memberwatch/memberwatch/schemas/compat"
)

// TestEachMoveOfAMessageIsNamed edits copies of the document.
func TestEachMoveOfAMessageIsNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit func(*testing.T, object)
		want string
	}{
		"a type on another subject": {
			set("channels.member~closed.address", "mx.events.members.closed.{user_guid}.{member_guid}"),
			`asyncapi.yaml: channels.member.closed: its address was "mx.events.member.closed.{user_guid}.{member_guid}" and is "mx.events.members.closed.{user_guid}.{member_guid}"`,
		},
		"announcements on the stream of events": {
			set("channels.member~oauth_required.x-jetstream.stream", "MX_EVENTS"),
			`asyncapi.yaml: channels.member.oauth_required: its stream was "MX_OAUTH" and is "MX_EVENTS"`,
		},
		"results on a stream": {
			set("channels.member~refresh~result.x-jetstream", object{"stream": "MX_RESULTS"}),
			`asyncapi.yaml: channels.member.refresh.result: its stream was "" and is "MX_RESULTS"`,
		},
		"dead letters on another subject": {
			set("channels.deadletter.address", "mx.dead.{category}"),
			"asyncapi.yaml: channels.deadletter: its address was",
		},
		"requests on another subject": {
			set("channels.api~get.address", "mx.api.get"),
			`asyncapi.yaml: channels.api.get: its address was "mx.api.member.get" and is "mx.api.get"`,
		},
		"answers on a subject of their own": {
			set("channels.api~get~reply.address", "mx.answers"),
			`asyncapi.yaml: channels.api.get.reply: its address was "" and is "mx.answers"`,
		},
		"a channel removed": {remove("channels.member~closed"), "asyncapi.yaml: channels.member.closed: the channel is gone"},
		"a channel's message removed": {
			remove("channels.member~closed.messages.message"), "asyncapi.yaml: channels.member.closed.messages.message: the message is gone",
		},
		"a channel's message another one": {
			set("channels.member~closed.messages.message.$ref", "#/components/messages/member.denied"),
			"asyncapi.yaml: channels.member.closed.messages.message: its message was",
		},
		"an operation removed":        {remove("operations.receive~member~refresh"), "asyncapi.yaml: operations.receive.member.refresh: the operation is gone"},
		"an operation turned round":   {set("operations.send~member~closed.action", "receive"), `asyncapi.yaml: operations.send.member.closed: its action was "send" and is "receive"`},
		"an operation elsewhere":      {set("operations.send~member~closed.channel.$ref", "#/channels/member.denied"), "asyncapi.yaml: operations.send.member.closed: its channel was"},
		"an operation's message gone": {set("operations.send~member~closed.messages", []any{}), "asyncapi.yaml: operations.send.member.closed: its message #/channels/member.closed/messages/message is gone"},
		"answers elsewhere":           {set("operations.receive~api~get.reply.channel.$ref", "#/channels/api.refresh.reply"), "asyncapi.yaml: operations.receive.api.get: its channel of replies was"},
		"an answer gone":              {set("operations.receive~api~get.reply.messages", []any{}), "asyncapi.yaml: operations.receive.api.get: its reply #/channels/api.get.reply/messages/response is gone"},
		"another queue group":         {set("operations.receive~api~get.bindings.nats.queue", "workers"), `asyncapi.yaml: operations.receive.api.get: its queue group was "q" and is "workers"`},
		"a message removed":           {remove("components.messages.deadletter"), "asyncapi.yaml: components.messages.deadletter: the message is gone"},
		"a message of another schema": {
			set("components.messages.member~closed.payload.schema.$ref", "./v1/member.event.json"),
			`asyncapi.yaml: components.messages.member.closed: its schema was "./v1/member.closed.json" and is "./v1/member.event.json"`,
		},
		"a message of another media type": {set("components.messages.deadletter.contentType", "text/plain"), "asyncapi.yaml: components.messages.deadletter: its media type was"},
		"events of another media type":    {set("components.messageTraits.cloudevent.contentType", "application/json"), "asyncapi.yaml: components.messageTraits.cloudevent: its media type was"},
		"events without a trait":          {remove("components.messages.member~closed.traits"), "asyncapi.yaml: components.messages.member.closed: its trait #/components/messageTraits/cloudevent is gone"},
		"the usual media type":            {set("defaultContentType", "application/json"), "asyncapi.yaml: defaultContentType: its value was"},
		"a header removed": {
			remove("components.messages.api~error.headers.properties.Nats-Service-Error"),
			"asyncapi.yaml: components.messages.api.error.headers.Nats-Service-Error: the field is gone",
		},
		"a header that may be missing": {
			set("components.messages.api~error.headers.required", []any{"Nats-Service-Error"}),
			"asyncapi.yaml: components.messages.api.error.headers.Nats-Service-Error-Code: it may be missing now",
		},
		"a header asked for": {
			set("components.messages.api~get~request.headers.required", []any{"traceparent"}),
			"asyncapi.yaml: components.messages.api.get.request.headers.traceparent: it is required now",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if breaks := checkAsyncAPI(t, tc.edit); !slices.ContainsFunc(breaks, func(b string) bool { return strings.HasPrefix(b, tc.want) }) {
				t.Errorf("breaks are %q, want one that begins %q", breaks, tc.want)
			}
		})
	}
}

func TestWhatIsAddedToTheAsyncAPIIsNoBreak(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*testing.T, object){
		"a channel":                set("channels.member~quarantined", object{"address": "mx.events.member.quarantined.{user_guid}.{member_guid}"}),
		"a message of a channel":   set("channels.deadletter.messages.later", object{"$ref": "#/components/messages/deadletter"}),
		"an operation":             set("operations.send~member~quarantined", object{"action": "send"}),
		"a message":                set("components.messages.member~quarantined", object{"name": "member.quarantined"}),
		"a header":                 set("components.messages.api~error.headers.properties.Later", object{"type": "string"}),
		"a header less strict":     set("components.messages.api~get~request.headers.properties.traceparent", object{}),
		"another title":            set("channels.deadletter.title", "letters"),
		"another description":      set("components.messages.deadletter.summary", "Another."),
		"another address of a dev": set("servers.nats.host", "127.0.0.1:4333"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if breaks := checkAsyncAPI(t, edit); len(breaks) > 0 {
				t.Errorf("breaks are %q", breaks)
			}
		})
	}
}

func TestWhatIsNoAsyncAPIIsAnError(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"[", "{}"}, {"{}", "["}} {
		if breaks, err := compat.CheckAsyncAPI("asyncapi.yaml", []byte(pair[0]), []byte(pair[1])); err == nil {
			t.Errorf("%q gives %v", pair, breaks)
		}
	}
}

// checkAsyncAPI edits a copy of the document and returns what that breaks. In the
// path of an edit ~ stands for a dot in a name.
func checkAsyncAPI(t *testing.T, edit func(*testing.T, object)) (breaks []string) {
	t.Helper()
	var doc object
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	edit(t, doc)
	next, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	found, err := compat.CheckAsyncAPI(schemas.AsyncAPIFile, schemas.AsyncAPI(), next)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range found {
		breaks = append(breaks, b.String())
	}
	return breaks
}
