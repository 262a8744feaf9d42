package schemas_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

// TestAsyncAPIIsGeneratedFromTheCatalog compares the committed document with
// what catalog, subjects and schemas give, or writes it when -update is set.
// That the official parser accepts it is checked in internal/e2e/interop.
func TestAsyncAPIIsGeneratedFromTheCatalog(t *testing.T) {
	t.Parallel()
	compareOrWrite(t, schemas.AsyncAPIFile, asyncAPI(t))
}

// compareOrWrite holds a generated file of this folder against its text.
func compareOrWrite(t *testing.T, name string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), readFile(t, name)); diff != "" {
		t.Errorf("%s is not what the catalog gives; run go test ./schemas -update (-want +got):\n%s", name, diff)
	}
}

// skipWhenUpdating skips a test of what this binary has embedded, while the files are written anew.
func skipWhenUpdating(t *testing.T) {
	t.Helper()
	if *update {
		t.Skip("what is embedded here was there before -update")
	}
}

// The parts of an AsyncAPI document that ours has, in the order in which they are read.
type (
	ref struct {
		Ref string `yaml:"$ref"`
	}
	apiDocument struct {
		AsyncAPI           string                `yaml:"asyncapi"`
		Info               apiInfo               `yaml:"info"`
		DefaultContentType string                `yaml:"defaultContentType"`
		Servers            map[string]apiServer  `yaml:"servers"`
		Channels           map[string]apiChannel `yaml:"channels"`
		Operations         map[string]apiOp      `yaml:"operations"`
		Components         apiComponents         `yaml:"components"`
	}
	apiInfo struct {
		Title       string            `yaml:"title"`
		Version     string            `yaml:"version"`
		Description string            `yaml:"description"`
		License     map[string]string `yaml:"license"`
		Tags        []apiTag          `yaml:"tags"`
	}
	apiTag struct {
		Name        string `yaml:"name"`
		Description string `yaml:"description,omitempty"`
	}
	apiServer struct {
		Host        string `yaml:"host"`
		Protocol    string `yaml:"protocol"`
		Description string `yaml:"description"`
		Security    []ref  `yaml:"security"`
		Bindings    object `yaml:"bindings"`
	}
	apiChannel struct {
		Address     *string        `yaml:"address"` // null: told with each message
		Title       string         `yaml:"title"`
		Description string         `yaml:"description"`
		Servers     []ref          `yaml:"servers"`
		Parameters  map[string]ref `yaml:"parameters,omitempty"`
		Messages    map[string]ref `yaml:"messages"`
		Bindings    object         `yaml:"bindings"`
		JetStream   *apiStream     `yaml:"x-jetstream,omitempty"`
	}
	apiStream struct {
		Stream string `yaml:"stream"`
	}
	apiOp struct {
		Action      string    `yaml:"action"`
		Channel     ref       `yaml:"channel"`
		Summary     string    `yaml:"summary"`
		Description string    `yaml:"description,omitempty"`
		Messages    []ref     `yaml:"messages"`
		Reply       *apiReply `yaml:"reply,omitempty"`
		Bindings    object    `yaml:"bindings"`
	}
	apiReply struct {
		Channel  ref   `yaml:"channel"`
		Messages []ref `yaml:"messages"`
	}
	apiComponents struct {
		SecuritySchemes map[string]object     `yaml:"securitySchemes"`
		Parameters      map[string]object     `yaml:"parameters"`
		CorrelationIDs  map[string]object     `yaml:"correlationIds"`
		MessageTraits   map[string]object     `yaml:"messageTraits"`
		Messages        map[string]apiMessage `yaml:"messages"`
	}
	apiMessage struct {
		Name        string       `yaml:"name"`
		Title       string       `yaml:"title"`
		Summary     string       `yaml:"summary"`
		ContentType string       `yaml:"contentType,omitempty"`
		Tags        []apiTag     `yaml:"tags,omitempty"`
		Traits      []ref        `yaml:"traits,omitempty"`
		Headers     object       `yaml:"headers,omitempty"`
		Payload     apiPayload   `yaml:"payload"`
		Examples    []apiExample `yaml:"examples"`
	}
	apiPayload struct {
		SchemaFormat string `yaml:"schemaFormat"`
		Schema       ref    `yaml:"schema"`
	}
	apiExample struct {
		Name    string    `yaml:"name"`
		Headers object    `yaml:"headers,omitempty"`
		Payload yaml.Node `yaml:"payload"`
	}
)

const schemaFormat = "application/schema+json;version=draft-2020-12"

func asyncAPI(t *testing.T) []byte {
	t.Helper()
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	d := apiDocument{
		AsyncAPI: "3.0.0",
		Info: apiInfo{
			Title: "memberwatch", Version: strings.TrimPrefix(schemas.Version, "v") + ".0.0",
			Description: "What happens to the connections of people to their banks that MX holds, as CloudEvents 1.0 in structured JSON " +
				"on NATS JetStream, and the commands that have a member read again.\n\n" +
				"Operations are those of the service: what it sends you receive. `" + events.DefaultPrefix + "` stands for the " +
				"installation's SUBJECT_PREFIX; stream names begin with it in upper case. Within a major version types, fields, " +
				"attributes and values of enumerations are only added: ignore what you do not know.",
			License: map[string]string{"name": "Apache-2.0"},
			Tags: []apiTag{
				{"event", "something happened to a member; stored on " + s.EventStream()},
				{"announcement", "a user must authorize; stored on " + s.OAuthStream() + ", the only place where a URI is"},
				{"command", "asks for a refresh; stored on " + s.CommandStream()},
				{"result", "how a command ended; sent once, not stored"},
				{"request", "asks the micro service " + events.APIService + ", and is answered to the reply subject"},
				{"dead-letter", "what could not be carried out; stored on " + s.DeadLetterStream()},
			},
		},
		DefaultContentType: events.ContentType,
		Servers: map[string]apiServer{"nats": {
			"127.0.0.1:4222", "nats", "NATS 2.12 or newer with JetStream. This address is that of memberwatch dev, and of serve without NATS_URL.",
			[]ref{{"#/components/securitySchemes/credentials"}, {"#/components/securitySchemes/certificate"}, {"#/components/securitySchemes/password"}},
			object{"nats": object{}},
		}},
		Channels: map[string]apiChannel{}, Operations: map[string]apiOp{},
		Components: apiComponents{
			SecuritySchemes: map[string]object{
				"credentials": {"type": "asymmetricEncryption", "description": "An NKey, alone or with a JWT in a credentials file. Rights to read are per stream: whoever may read " + s.OAuthStream() + " may read URIs."},
				"certificate": {"type": "X509", "description": "A client certificate, where the server wants one."},
				"password":    {"type": "userPassword", "description": "User and password. The server of memberwatch dev asks for nothing."},
			},
			Parameters: map[string]object{
				"user_guid":   {"description": "MX's guid of the user.", "examples": []string{"USR-fa7537f3-48aa-a683-a02a-b18940482f54"}},
				"member_guid": {"description": "MX's guid of the member.", "examples": []string{"MBR-7c6f361b-e582-15b6-60c0-358f12466b4b"}},
				"user":        {"description": "MX's guid of the user, or the partner's own id of letters, digits, _ and -.", "examples": []string{"USR-fa7537f3-48aa-a683-a02a-b18940482f54"}},
				"member":      {"description": "MX's guid of the member, or the partner's own id.", "examples": []string{"MBR-7c6f361b-e582-15b6-60c0-358f12466b4b"}},
				"command_id":  {"description": "The command's own id, else its sequence in the stream.", "examples": []string{"cmd-7f3a"}},
				"category":    {"description": "What has to be done about it. A later version may know more of them.", "examples": events.Categories()},
				"type":        {"description": "The type without \"member.\"; a status that MX added later makes one of its own.", "examples": []string{"quarantined"}},
			},
			CorrelationIDs: map[string]object{
				"command": {"description": "The id of the command whose read it was.", "location": "$message.payload#/correlationid"},
			},
			MessageTraits: map[string]object{"cloudevent": {
				"contentType": events.ContentType,
				"headers": object{"type": "object", "properties": object{
					"Content-Type": object{"const": events.ContentType},
					"traceparent":  object{"type": "string", "description": "W3C trace context of this hop. That of what started the event is an attribute of the event."},
				}},
				"correlationId": ref{"#/components/correlationIds/command"},
			}},
			Messages: map[string]apiMessage{},
		},
	}
	named := func(filter string, parameters ...string) string { // the filters end in as many wildcards
		for _, name := range slices.Backward(parameters) {
			at := strings.LastIndex(filter, "*")
			filter = filter[:at] + "{" + name + "}" + filter[at+1:]
		}
		return filter
	}
	d.catalog(t, s, named)
	d.commands(t, s, named)
	d.requests(t, s)
	var b bytes.Buffer
	b.WriteString("# Generated by go test ./schemas -update from package events; edited there.\n")
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// catalog adds a channel, a message and an operation for each type of event, and
// for those of a later version.
func (d *apiDocument) catalog(t *testing.T, s events.Subjects, named func(string, ...string) string) {
	t.Helper()
	for e := range events.Types() {
		tag, stream, address := "event", s.EventStream(), strings.Replace(s.Events(), "*", e.Type.Token(), 1)
		if e.Stream == events.StreamOAuth {
			tag, stream, address = "announcement", s.OAuthStream(), s.OAuth()
		}
		id := string(e.Type)
		d.add(t, id, "send", stream, named(address, "user_guid", "member_guid"), e.When, apiMessage{
			Name: id, Title: id, Summary: e.When, Tags: []apiTag{{Name: tag}},
			Traits:   []ref{{"#/components/messageTraits/cloudevent"}},
			Payload:  payload(id),
			Examples: []apiExample{example(t, id)},
		})
	}
	d.add(t, "member.event", "send", s.EventStream(), named(s.Events(), "type", "user_guid", "member_guid"),
		"Any event of the stream: subscribe here, with * in place of what is named, to everything, types of later versions included.",
		apiMessage{
			Name: "member.event", Title: "member event", Summary: "An event whose type may be newer than this document.", Tags: []apiTag{{Name: "event"}},
			Traits:  []ref{{"#/components/messageTraits/cloudevent"}},
			Payload: payload("member.event"), Examples: []apiExample{example(t, "member.quarantined")},
		})
}

// commands adds what is not an event.
func (d *apiDocument) commands(t *testing.T, s events.Subjects, named func(string, ...string) string) {
	t.Helper()
	command := apiMessage{
		Name: events.CommandType, Title: "refresh command", ContentType: "application/json",
		Summary: "Read this member from MX and publish what changed. As JSON, or as a CloudEvent of type " + events.CommandType + ", structured or binary, with it as data.",
		Tags:    []apiTag{{Name: "command"}}, Payload: payload(events.CommandType),
		Examples: []apiExample{example(t, events.CommandType), example(t, events.CommandType+".minimal")},
	}
	d.add(t, events.ResultType, "send", "", named(s.Results(), "command_id"), "How a command ended. Sent once on core NATS: listen before you publish the command.", apiMessage{
		Name: events.ResultType, Title: "result of a refresh command", Summary: "How one command ended.", Tags: []apiTag{{Name: "result"}},
		Traits: []ref{{"#/components/messageTraits/cloudevent"}}, Payload: payload(events.ResultType),
		Examples: []apiExample{
			example(t, events.ResultType+".changed"), example(t, events.ResultType+".unchanged"),
			example(t, events.ResultType+".not_found"), example(t, events.ResultType+".failed"),
		},
	})
	d.add(t, events.CommandType, "receive", s.CommandStream(), s.Refresh(), "Commands whose body names the member.", command)
	// What the body need not say differs, and no more.
	command.Name, command.Payload = events.CommandType+".of", payload(events.CommandType+".of")
	command.Title, command.Examples = "refresh command whose subject names the member", []apiExample{example(t, events.CommandType+".of")}
	command.Summary = strings.TrimSuffix(command.Summary, ".") + "; there may be no body at all."
	d.add(t, events.CommandType+".of", "receive", s.CommandStream(), s.Refresh()+".{user}.{member}", "Commands whose subject names the member.", command)
	for _, id := range []string{events.CommandType, events.CommandType + ".of"} {
		c := d.Channels[id]
		c.Messages = map[string]ref{"command": {"#/components/messages/" + id}}
		d.Channels[id] = c
		op := d.Operations["receive."+id]
		op.Messages = []ref{{"#/channels/" + id + "/messages/command"}}
		op.Reply = &apiReply{ref{"#/channels/" + events.ResultType}, []ref{{"#/channels/" + events.ResultType + "/messages/message"}}}
		d.Operations["receive."+id] = op
	}
	d.add(t, "deadletter", "send", s.DeadLetterStream(), named(s.DeadLetters(), "category"), "What could not be carried out.", apiMessage{
		Name: "deadletter", Title: "dead letter", ContentType: "application/json",
		Summary: "A message that could not be carried out, with all that is needed to understand it and to send it again.",
		Tags:    []apiTag{{Name: "dead-letter"}}, Payload: payload("deadletter"), Examples: []apiExample{example(t, "deadletter")},
	})
}

// add adds a channel with its one message and its operation.
func (d *apiDocument) add(t *testing.T, id, action, stream, address, description string, m apiMessage) {
	t.Helper()
	c := apiChannel{
		Address: &address, Title: m.Title, Description: description, Servers: []ref{{"#/servers/nats"}},
		Messages: map[string]ref{"message": {"#/components/messages/" + id}},
		Bindings: object{"nats": object{}}, // the binding reserves the name and defines nothing
	}
	for rest := address; strings.Contains(rest, "{"); {
		_, rest, _ = strings.Cut(rest, "{")
		var name string
		name, rest, _ = strings.Cut(rest, "}")
		if c.Parameters == nil {
			c.Parameters = map[string]ref{}
		}
		c.Parameters[name] = ref{"#/components/parameters/" + name}
		if _, ok := d.Components.Parameters[name]; !ok {
			t.Fatalf("%s has parameter %s, which is not described", address, name)
		}
	}
	if stream != "" {
		c.JetStream = &apiStream{stream}
	}
	d.Channels[id] = c
	d.Operations[action+"."+id] = apiOp{
		Action: action, Channel: ref{"#/channels/" + id}, Summary: description,
		Messages: []ref{{"#/channels/" + id + "/messages/message"}},
		Bindings: object{"nats": object{"bindingVersion": "0.1.0"}},
	}
	d.Components.Messages[id] = m
}

func payload(name string) apiPayload {
	return apiPayload{schemaFormat, ref{"./" + schemas.Version + "/" + name + ".json"}}
}

// example is a golden file, its fields in their own order.
func example(t *testing.T, name string) apiExample {
	t.Helper()
	var doc yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(readGolden(t, name), &doc); err != nil {
		t.Fatal(err)
	}
	plain(doc.Content[0])
	return apiExample{Name: name, Payload: *doc.Content[0]}
}

// plain forgets the style of JSON, so that YAML is written as people write it. A
// text keeps its quotes where it would be something else without.
func plain(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

func TestAsyncAPIHasEverySchemaAndSubject(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	var d struct {
		Channels map[string]struct {
			Address string `yaml:"address"`
		} `yaml:"channels"`
		Components struct {
			Messages map[string]struct {
				Payload struct {
					Schema ref `yaml:"schema"`
				} `yaml:"payload"`
			} `yaml:"messages"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &d); err != nil {
		t.Fatal(err)
	}
	var used, all []string
	for _, m := range d.Components.Messages {
		used = append(used, strings.TrimPrefix(m.Payload.Schema.Ref, "./v1/"))
	}
	for _, s := range schemas.All() {
		all = append(all, s.Name)
	}
	slices.Sort(used)
	if diff := cmp.Diff(all, used); diff != "" {
		t.Errorf("schemas (-there +in the document):\n%s", diff)
	}
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for id, c := range d.Channels {
		if typ := events.Type(id); typ.Known() {
			concrete := strings.NewReplacer("{user_guid}", "USR-1", "{member_guid}", "MBR-1").Replace(c.Address)
			if got, k, ok := s.ParseEvent(concrete); !ok || got != typ || k.User() != "USR-1" || k.Member() != "MBR-1" {
				t.Errorf("address %s of %s is read as %s, %v", c.Address, id, got, ok)
			}
		}
	}
}

func TestExamplesOfTheAsyncAPIAreTheGoldenFiles(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	var d struct {
		Components struct {
			Messages map[string]struct {
				Examples []struct {
					Name    string `yaml:"name"`
					Payload any    `yaml:"payload"`
				} `yaml:"examples"`
			} `yaml:"messages"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(schemas.AsyncAPI(), &d); err != nil {
		t.Fatal(err)
	}
	n := 0
	for id, m := range d.Components.Messages {
		for _, e := range m.Examples {
			n++
			got, err := json.Marshal(e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			var want any
			if err := json.Unmarshal(readGolden(t, e.Name), &want); err != nil {
				t.Fatal(err)
			}
			wantText, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(wantText) {
				t.Errorf("example %s of %s has become\n%s\nwant\n%s", e.Name, id, got, wantText)
			}
		}
	}
	if n < len(schemas.All()) {
		t.Errorf("there are %d examples, want one of each schema", n)
	}
}
