package schemas_test

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

func TestEveryIDIsThePathOfItsFile(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	all := schemas.All()
	want := 5 + 2*len(events.Endpoints()) + 1
	for range events.Types() {
		want++
	}
	if len(all) != want {
		t.Errorf("there are %d schemas, want %d: one of each type, five of others, those of requests", len(all), want)
	}
	if !slices.IsSortedFunc(all, func(a, b schemas.Schema) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("All is not sorted by name")
	}
	for _, s := range all {
		var head struct {
			Schema      string `json:"$schema"`
			ID          string `json:"$id"`
			Title       string `json:"title"`
			Description string `json:"description"`
		}
		if err := json.Unmarshal(s.Bytes, &head); err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		if want := "https://github.com/memberwatch/memberwatch/schemas/v1/" + s.Name; head.ID != want || s.ID != want {
			t.Errorf("%s: $id is %s and ID %s, want %s", s.Name, head.ID, s.ID, want)
		}
		if head.Schema != "https://json-schema.org/draft/2020-12/schema" || head.Title == "" || !strings.HasSuffix(head.Description, ".") {
			t.Errorf("%s: $schema, title or description is missing: %+v", s.Name, head)
		}
		if !bytes.HasSuffix(s.Bytes, []byte("}\n")) || bytes.Contains(s.Bytes, []byte("\t")) {
			t.Errorf("%s is not indented text that ends in a newline", s.Name)
		}
	}
}

func TestEveryTypeHasASchema(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	for e := range events.Types() {
		b, err := schemas.ByType(e.Type)
		if err != nil || !bytes.Contains(b, []byte(`"$id": "`+e.Type.SchemaID()+`"`)) {
			t.Errorf("ByType(%s): %v, or its $id is not %s; go test ./schemas -update writes it", e.Type, err, e.Type.SchemaID())
		}
	}
	general, err := schemas.ByName(schemas.Event)
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []events.Status{"QUARANTINED", "EVENT", "REFRESH"} { // of which one is as the general schema's file, one as the command
		if b, err := schemas.ByType(status.Type()); err != nil || !bytes.Equal(b, general.Bytes) {
			t.Errorf("a status %s that is unknown has not the general schema: %v", status, err)
		}
	}
	for _, typ := range []events.Type{"", "member.", "connected", "deadletter", "member.refresh", "member.refresh.of", "member.refresh.result", "api.get.request", "member.a/../b", "com.example.member.connected"} {
		if b, err := schemas.ByType(typ); err == nil {
			t.Errorf("ByType(%q) = %.80s", typ, b)
		}
	}
	if _, err := schemas.ByName("../schemas.go"); err == nil {
		t.Error("ByName leaves the folder")
	}
}

func TestFilesAreEmbeddedUnderTheirVersion(t *testing.T) {
	t.Parallel()
	for _, s := range schemas.All() {
		b, err := schemas.FS.ReadFile(path.Join("v1", s.Name))
		if err != nil || !bytes.Equal(b, s.Bytes) {
			t.Errorf("%s: %v, or another text", s.Name, err)
		}
	}
}

// TestEveryFieldIsDescribed walks the hand-written schemas: each property says
// what it means and shows a value, unless it refers to a definition that does.
func TestEveryFieldIsDescribed(t *testing.T) {
	t.Parallel()
	names := []string{schemas.Event, schemas.Result, schemas.DeadLetter, schemas.APIError}
	for _, e := range events.Endpoints() {
		names = append(names, schemas.APIResponse(e.Name))
	}
	for _, name := range append(names, schemas.Inputs()...) {
		described(t, name, document(t, name))
	}
}

func described(t *testing.T, at string, schema map[string]any) {
	t.Helper()
	for _, key := range []string{"properties", "$defs"} {
		fields, _ := schema[key].(map[string]any)
		for field, v := range fields {
			s, ok := v.(map[string]any)
			if !ok {
				t.Errorf("%s/%s is no schema", at, field)
				continue
			}
			_, refers := s["$ref"]
			_, forbids := s["not"]
			_, object := s["properties"]
			if text, _ := s["description"].(string); !refers && !strings.ContainsAny(text, ".:") {
				t.Errorf("%s/%s: description is missing or no sentence: %q", at, field, text)
			}
			if _, shows := s["examples"]; key == "properties" && !refers && !object && (!forbids || s["type"] != nil) && !shows {
				t.Errorf("%s/%s has no examples", at, field)
			}
			described(t, at+"/"+field, s)
		}
	}
}

func document(t *testing.T, name string) map[string]any {
	t.Helper()
	s, err := schemas.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(s.Bytes, &doc); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return doc
}
