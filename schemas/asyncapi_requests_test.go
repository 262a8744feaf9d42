package schemas_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

// queue is the group in which the workers of an installation share requests, the
// micro protocol's usual one.
const queue = "q"

// requests adds, for each endpoint of the micro service, its channel, that of its
// answers, and the operation that ties them: the request/reply pattern.
func (d *apiDocument) requests(t *testing.T, s events.Subjects) {
	t.Helper()
	d.Components.Messages["api.error"] = apiMessage{
		Name: "api.error", Title: "refusal of a request", ContentType: "application/json",
		Summary: "Why a request was not served. Its headers tell it from the endpoint's response.",
		Tags:    []apiTag{{Name: "request"}},
		Headers: object{
			"type": "object", "required": []string{events.APIErrorCodeHeader, events.APIErrorHeader},
			"properties": object{
				events.APIErrorCodeHeader: object{
					"type": "string", "anyOf": []object{{"enum": events.APICodes()}, {"pattern": "^[0-9]{3}$"}},
					"description": meanings(events.APICodes()) + " A later version may know more of them.",
				},
				events.APIErrorHeader: object{"type": "string", "description": "The same in words, as in the body's message."},
			},
		},
		Payload: payload("api.error"), Examples: []apiExample{refusal(t)},
	}
	for _, e := range events.Endpoints() {
		id, request, response := "api."+e.Name, "api."+e.Name+".request", "api."+e.Name+".response"
		d.Components.Messages[request] = apiMessage{
			Name: request, Title: "request to " + e.Name, ContentType: "application/json", Summary: e.What,
			Tags: []apiTag{{Name: "request"}},
			Headers: object{"type": "object", "properties": object{
				"traceparent": object{"type": "string", "description": "W3C trace context, carried to the event. May be absent."},
			}},
			Payload: payload(request), Examples: []apiExample{example(t, request)},
		}
		d.Components.Messages[response] = apiMessage{
			Name: response, Title: "answer of " + e.Name, ContentType: "application/json",
			Summary: "The request was served.", Tags: []apiTag{{Name: "request"}},
			Payload: payload(response), Examples: []apiExample{example(t, response)},
		}
		d.Channels[id] = apiChannel{
			Address: new(s.API(e.Name)), Title: "requests to " + e.Name, Servers: []ref{{"#/servers/nats"}},
			Description: e.What + " Send a NATS request: the answer comes to its reply subject.",
			Messages:    map[string]ref{"request": {"#/components/messages/" + request}},
			Bindings:    object{"nats": object{}},
		}
		d.Channels[id+".reply"] = apiChannel{
			Title: "answers of " + e.Name, Servers: []ref{{"#/servers/nats"}},
			Description: "The reply subject that the request names, an inbox of whoever asks.",
			Messages:    map[string]ref{"response": {"#/components/messages/" + response}, "error": {"#/components/messages/api.error"}},
			Bindings:    object{"nats": object{}},
		}
		d.Operations["receive."+id] = apiOp{
			Action: "receive", Channel: ref{"#/channels/" + id}, Summary: e.What,
			Description: "Refused with " + meanings(e.Codes),
			Messages:    []ref{{"#/channels/" + id + "/messages/request"}},
			Reply: &apiReply{ref{"#/channels/" + id + ".reply"}, []ref{
				{"#/channels/" + id + ".reply/messages/response"}, {"#/channels/" + id + ".reply/messages/error"},
			}},
			Bindings: object{"nats": object{"queue": queue, "bindingVersion": "0.1.0"}},
		}
	}
}

func meanings(codes []events.APICode) string {
	var all []string
	for _, c := range codes {
		all = append(all, fmt.Sprintf("%s: %s", c, c.Meaning()))
	}
	return strings.Join(all, "; ") + "."
}

// refusal is the golden refusal with the headers that it comes with.
func refusal(t *testing.T) apiExample {
	t.Helper()
	x := example(t, "api.error")
	var body struct {
		Code    string `yaml:"code"`
		Message string `yaml:"message"`
	}
	if err := x.Payload.Decode(&body); err != nil {
		t.Fatal(err)
	}
	x.Headers = object{events.APIErrorCodeHeader: body.Code, events.APIErrorHeader: body.Message}
	return x
}

func TestEveryCodeHasAMeaningAndAnEndpointThatGivesIt(t *testing.T) {
	t.Parallel()
	given := map[events.APICode]bool{}
	for _, e := range events.Endpoints() {
		for _, c := range e.Codes {
			given[c] = true
		}
		if !slices.IsSorted(e.Codes) || !strings.HasSuffix(e.What, ".") {
			t.Errorf("%s is described badly: %+v", e.Name, e)
		}
	}
	for _, c := range events.APICodes() {
		if !given[c] || c.Meaning() == "" {
			t.Errorf("%s is given by an endpoint: %v; it means %q", c, given[c], c.Meaning())
		}
	}
	if len(given) != len(events.APICodes()) || events.APICode("418").Meaning() != "" {
		t.Errorf("endpoints give %d codes, there are %d; 418 means %q", len(given), len(events.APICodes()), events.APICode("418").Meaning())
	}
}

func TestAsyncAPIHasARequestAndAReplyForEveryEndpoint(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	var d struct {
		Channels map[string]struct {
			Address  *string        `yaml:"address"`
			Messages map[string]ref `yaml:"messages"`
		} `yaml:"channels"`
		Operations map[string]struct {
			Action  string `yaml:"action"`
			Channel ref    `yaml:"channel"`
			Reply   struct {
				Channel ref `yaml:"channel"`
			} `yaml:"reply"`
		} `yaml:"operations"`
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &d); err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Endpoints() {
		op := d.Operations["receive.api."+e.Name]
		asked, told := d.Channels["api."+e.Name], d.Channels["api."+e.Name+".reply"]
		if op.Action != "receive" || op.Channel.Ref != "#/channels/api."+e.Name || op.Reply.Channel.Ref != op.Channel.Ref+".reply" {
			t.Errorf("operation of %s: %+v", e.Name, op)
		}
		if asked.Address == nil || *asked.Address != "mx.api.member."+e.Name || told.Address != nil {
			t.Errorf("%s is asked at %v and answers at %v, which the request names", e.Name, asked.Address, told.Address)
		}
		want := map[string]ref{"response": {"#/components/messages/api." + e.Name + ".response"}, "error": {"#/components/messages/api.error"}}
		if diff := cmp.Diff(want, told.Messages); diff != "" {
			t.Errorf("answers of %s (-want +got):\n%s", e.Name, diff)
		}
	}
}
