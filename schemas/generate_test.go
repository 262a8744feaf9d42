package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

var update = flag.Bool("update", false, "write the schemas of the types of events")

const goldenDir = "../events/testdata/golden"

// TestSchemasOfTypesAreGeneratedFromTheCatalog compares the committed files
// with what the catalog gives, or writes them when -update is set.
func TestSchemasOfTypesAreGeneratedFromTheCatalog(t *testing.T) {
	t.Parallel()
	for e := range events.Types() {
		want := generate(t, e)
		name := string(e.Type) + ".json"
		if *update {
			if err := os.WriteFile(filepath.Join("v1", name), want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := schemas.ByName(name)
		if err != nil {
			t.Errorf("%v; run go test ./schemas -update", err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got.Bytes)); diff != "" {
			t.Errorf("%s is not what the catalog gives; run go test ./schemas -update (-want +got):\n%s", name, diff)
		}
	}
}

// readGolden returns the golden file of one message.
func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, name+".json"))
	if err != nil {
		t.Fatalf("%s has no golden file, see go test ./events: %v", name, err)
	}
	return b
}

// object is a piece of schema. Its keys are written in alphabetical order.
type object map[string]any

// typeSchema is the schema of a type, in the order in which it is read.
type typeSchema struct {
	Schema      string            `json:"$schema"`
	ID          string            `json:"$id"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Ref         string            `json:"$ref"`
	Properties  object            `json:"properties"`
	Examples    []json.RawMessage `json:"examples"`
}

func generate(t *testing.T, e events.Entry) []byte {
	t.Helper()
	example := readGolden(t, string(e.Type))
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(typeSchema{
		Schema:      "https://json-schema.org/draft/2020-12/schema",
		ID:          e.Type.SchemaID(),
		Title:       string(e.Type),
		Description: e.When,
		Ref:         schemas.Event,
		Properties: object{
			"type":       object{"pattern": `^(.+\.)?member\.` + e.Type.Token() + "$"},
			"dataschema": object{"const": e.Type.SchemaID()},
			"data":       object{"properties": special(t, e)},
		},
		Examples: []json.RawMessage{bytes.TrimSpace(example)},
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// special is what the data of a type have beyond those of every event.
func special(t *testing.T, e events.Entry) object {
	t.Helper()
	var (
		existing = object{"const": false}
		known    = object{"type": "object"} // of previous: not the first sight
		is       = func(field string, value object) object { return object{"properties": object{field: value}} }
		changed  = func(oneOf ...string) object { return object{"contains": object{"enum": oneOf}} }
		// only says that a field changed and nothing that would have given the event another type.
		only = func(field string, heavier ...string) object {
			c := object{"not": changed(heavier...)}
			if field != "" {
				c["contains"] = object{"const": field}
			}
			return c
		}
	)
	if e.Status != "" {
		return object{
			"member":  is("connection_status", object{"const": e.Status}),
			"changed": changed("connection_status", "deleted"), // a deleted member may come back with the status it had
			"deleted": existing,
		}
	}
	switch e.Type {
	case events.TypeErrorRaised:
		return object{
			"member": is("error", object{"type": "object"}), "previous": known,
			"changed": only("error", "connection_status", "deleted"), "deleted": existing,
		}
	case events.TypeErrorCleared:
		previous := is("error", object{"type": "object"})
		previous["type"], previous["required"] = "object", []string{"error"}
		return object{
			"member": is("error", object{"type": "null"}), "previous": previous,
			"changed": only("error", "connection_status", "deleted"), "deleted": existing,
		}
	case events.TypeAttributesChanged:
		return object{"previous": known, "changed": only("", "connection_status", "deleted"), "deleted": existing}
	case events.TypeAggregated:
		return object{
			"member":   is("successfully_aggregated_at", object{"type": "string"}),
			"previous": known, "changed": only("successfully_aggregated_at", "connection_status", "deleted"), "deleted": existing,
		}
	case events.TypeDiscovered:
		return object{"changed": changed("guid", "deleted"), "deleted": existing}
	case events.TypeDeleted:
		previous := is("deleted", object{"const": false})
		previous["type"], previous["required"] = "object", []string{"deleted"}
		return object{
			"previous": previous, "changed": object{"const": []string{"deleted"}},
			"oauth_required": object{"const": false}, "deleted": object{"const": true},
		}
	case events.TypeOAuthRequired:
		return object{"oauth_required": object{"const": true}, "deleted": existing}
	default:
		t.Fatalf("%s is new: say here what is special about its data", e.Type)
		return nil
	}
}

func TestGeneratedSchemasHaveNoFileWithoutAType(t *testing.T) {
	t.Parallel()
	others := map[string]bool{schemas.Event: true, schemas.Command: true, schemas.CommandOf: true, schemas.Result: true, schemas.DeadLetter: true, schemas.APIError: true}
	for _, e := range events.Endpoints() {
		others[schemas.APIRequest(e.Name)], others[schemas.APIResponse(e.Name)] = true, true
	}
	for _, s := range schemas.All() {
		if typ := events.Type(strings.TrimSuffix(s.Name, ".json")); !typ.Known() && !others[s.Name] {
			t.Errorf("%s is the schema of nothing", s.Name)
		}
	}
}
