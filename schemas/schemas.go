// Package schemas holds memberwatch's public contract as JSON Schema (draft
// 2020-12), for consumers in any language.
//
// There is a schema for each type of event, one for member events in general
// (what a type newer than the schemas is held against), and one each for the
// refresh command, its result, dead letters, and the requests to the micro service
// and their answers. Those of events and results describe the whole message: the
// CloudEvents envelope and its data.
//
// A schema's $id is an identifier, not a place to load from: its last two
// segments are its path in this folder, v1/member.connected.json. Schemas refer
// to each other by these names.
//
// What is said about a field is said once, in v1/member.event.json; the schema of
// a type refers to it and adds only what is special about the type. Those are
// generated from the catalog, [events.Types], by go test ./schemas -update.
//
// asyncapi.yaml is the same contract as an AsyncAPI document, README.md a catalog
// for people; both are generated in the same way. [Export] writes all of it.
//
// # Compatibility
//
// Within v1, fields, types and values of enumerations are only added. The schemas
// therefore allow fields and attributes that they do not name, except those that the
// contract says are never there: metadata, credentials, and an OAuth URI outside
// announcements. And an enumeration of what the service sends is an anyOf of the
// values known so far and a pattern that every later one matches. Package compat
// holds every change against the schemas and the AsyncAPI document that were
// released, and names the field of one that breaks.
package schemas

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/memberwatch/memberwatch/events"
)

// FS holds the schemas at v1/<name>.
//
//go:embed v1/*.json
var FS embed.FS

// File names, in v1, of the schemas that are not of a single type of event.
const (
	Event      = "member.event.json"          // member events in general
	Command    = "member.refresh.json"        // the body of a refresh command
	CommandOf  = "member.refresh.of.json"     // the same where the subject names the member; there may be none
	Result     = "member.refresh.result.json" // the result of a refresh command
	DeadLetter = "deadletter.json"            // a dead letter
	APIError   = "api.error.json"             // why a request was not served
)

// APIRequest and APIResponse name the schemas of what an endpoint of the micro
// service takes, such as [events.APIGet], and of what it answers with when it
// serves the request.
func APIRequest(endpoint string) string { return "api." + endpoint + ".request.json" }

// APIResponse is explained at [APIRequest].
func APIResponse(endpoint string) string { return "api." + endpoint + ".response.json" }

// Inputs names the schemas of what is sent to the service. They say what it
// takes, not what a consumer may rely on.
func Inputs() []string {
	names := []string{Command, CommandOf}
	for _, e := range events.Endpoints() {
		names = append(names, APIRequest(e.Name))
	}
	return names
}

// Version is the major version of the contract, and the folder of its schemas. A
// change that could break a consumer would begin the next, beside this one.
const Version = "v1"

// base is what every $id begins with.
const base = "https://github.com/memberwatch/memberwatch/schemas/" + Version + "/"

// Schema is one schema file.
type Schema struct {
	ID    string // its $id
	Name  string // its file name in v1
	Bytes []byte // the JSON text
}

// All returns every schema, sorted by name.
func All() []Schema {
	entries, err := FS.ReadDir(Version) // sorted
	if err != nil {
		panic(fmt.Sprintf("schemas: reading embedded folder: %v", err)) // the compiler embedded it
	}
	all := make([]Schema, 0, len(entries))
	for _, e := range entries {
		s, err := ByName(e.Name())
		if err != nil {
			panic(fmt.Sprintf("schemas: %v", err))
		}
		all = append(all, s)
	}
	return all
}

// ByName returns the schema in the file v1/name.
func ByName(name string) (Schema, error) {
	b, err := FS.ReadFile(path.Join(Version, name))
	if err != nil {
		return Schema{}, fmt.Errorf("reading schema %q: %w", name, err)
	}
	return Schema{ID: base + name, Name: name, Bytes: b}, nil
}

// ByType returns the schema of events of type t: its own, or that of member
// events in general when t is newer than this package. It refuses what is no
// member event's type.
func ByType(t events.Type) ([]byte, error) {
	token, ok := strings.CutPrefix(string(t), "member.")
	if !ok || !events.ValidToken(token) || t == events.CommandType {
		return nil, fmt.Errorf("finding schema: %q is no type of a member event", t)
	}
	s, err := ByName(strings.TrimPrefix(t.SchemaID(), base))
	return s.Bytes, err
}
