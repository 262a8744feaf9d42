package compat_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/schemas"
	"github.com/memberwatch/memberwatch/schemas/compat"
)

var release = flag.Bool("release", false, "take over the present schemas, and the digests of the golden files, as the released ones")

// Where a release is kept, and what it is of.
var (
	releasedDir = filepath.Join("testdata", "released")
	digestsFile = filepath.Join("..", "..", "events", "testdata", "golden", digests)
)

const digests = "DIGESTS"

// TestNothingThatWasReleasedIsBroken is the check that every change of the
// contract has to pass. What it reports cannot be had within this major version.
func TestNothingThatWasReleasedIsBroken(t *testing.T) {
	if !*release { // others read what is written then
		t.Parallel()
	}
	for _, b := range broken(t, releasedDir, present(), readFile(t, digestsFile)) {
		t.Error(b)
	}
	if *release && !t.Failed() {
		takeOver(t, releasedDir, present(), readFile(t, digestsFile))
	}
}

// broken compares a release with what is to follow: the schemas, and the digests
// of the golden files, which are only added to.
func broken(t *testing.T, dir string, next map[string][]byte, nextDigests []byte) (problems []string) {
	t.Helper()
	breaks, err := compat.Check(releasedSchemas(t, dir), next, schemas.Inputs()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaks {
		problems = append(problems, b.String())
	}
	for line := range strings.Lines(string(readFile(t, filepath.Join(dir, digests)))) {
		if !bytes.Contains(nextDigests, []byte(line)) {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			problems = append(problems, name+": the golden file is gone or another one")
		}
	}
	return problems
}

// takeOver makes schemas and digests the released ones.
func takeOver(t *testing.T, dir string, next map[string][]byte, nextDigests []byte) {
	t.Helper()
	for name, text := range next {
		if err := os.WriteFile(filepath.Join(dir, schemas.Version, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, digests), nextDigests, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReleaseMakesWhatWasAddedABreakToRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(releasedDir)); err != nil {
		t.Fatal(err)
	}
	before, lines := present(), readFile(t, digestsFile)
	next, nextLines := present(), append(slices.Clone(lines), strings.Repeat("0", 64)+"  member.quarantined.2.json\n"...)
	next["member.quarantined.json"] = []byte(`{"type":"object","properties":{"severity":{"type":"integer"}}}`)
	if problems := broken(t, dir, next, nextLines); problems != nil {
		t.Fatalf("what only adds breaks %q", problems)
	}
	takeOver(t, dir, next, nextLines)
	if problems := broken(t, dir, next, nextLines); problems != nil {
		t.Errorf("the release breaks itself: %q", problems)
	}
	want := []string{"member.quarantined.json: the schema is gone", "member.quarantined.2.json: the golden file is gone or another one"}
	if diff := cmp.Diff(want, broken(t, dir, before, lines)); diff != "" {
		t.Errorf("without what was released (-want +got):\n%s", diff)
	}
	edited := bytes.Replace(nextLines, []byte("0000  member.quarantined.2"), []byte("0001  member.quarantined.2"), 1)
	if diff := cmp.Diff(want[1:], broken(t, dir, next, edited)); diff != "" {
		t.Errorf("with an edited golden file and its digest (-want +got):\n%s", diff)
	}
}

func TestOnlyDescriptionsMayDifferWithoutBeingAChange(t *testing.T) {
	t.Parallel()
	n, err := compat.Check(present(), present(), schemas.Inputs()...)
	if err != nil || len(n) != 0 {
		t.Errorf("the schemas differ from themselves: %v, %v", n, err)
	}
}

func TestEachKindOfBreakIsNamedWithItsField(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file string
		edit func(*testing.T, object)
		want string
	}{
		"a field removed": {
			schemas.Event, remove("$defs.memberFields.properties.institution_code"),
			"member.event.json: data.member.institution_code: the field is gone",
		},
		"a field retyped": {
			schemas.Event, set("$defs.data.properties.revision.type", "string"),
			`member.event.json: data.revision: its type was "integer" and is "string"`,
		},
		"a field that may be null now": {
			schemas.Event, set("$defs.oauth_required.type", []any{"boolean", "null"}),
			`member.event.json: data.oauth_required: its type was "boolean" and is ["boolean","null"]`,
		},
		"a field that may not be null any more": {
			schemas.Event, set("$defs.memberFields.properties.name.type", "string"),
			`member.event.json: data.member.name: its type was ["string","null"] and is "string"`,
		},
		"a field of a known name required": {
			schemas.Command, set("required", []any{"user", "member", "reason"}),
			"member.refresh.json: reason: it is required now",
		},
		"a new field required": {
			schemas.Event, func(t *testing.T, o object) {
				t.Helper()
				set("$defs.data.properties.severity", object{"type": "integer"})(t, o)
				required, _ := at(t, o, "$defs.data")["required"].([]any)
				set("$defs.data.required", append(required, "severity"))(t, o)
			},
			"member.event.json: data.severity: it is required now",
		},
		"a field that may be missing": {
			schemas.Result, set("properties.data.required", []any{"command_id", "outcome"}),
			"member.refresh.result.json: data.finished_at: it may be missing now",
		},
		"an enumeration narrowed": {
			schemas.Event, set("$defs.action.properties.actor.enum", []any{"user", "none"}),
			`member.event.json: data.action.actor: "support" is no value of it any more`,
		},
		"an enumeration added": {
			schemas.Result, set("properties.data.properties.reason.enum", []any{"why"}),
			`member.refresh.result.json: data.reason: it has an enumeration now: ["why"]`,
		},
		"a pattern tightened": {
			schemas.DeadLetter, set("properties.body_sha256.pattern", "^[0-9a-f]{63}$"),
			`deadletter.json: body_sha256: its rule pattern was "^[0-9a-f]{64}$" and is "^[0-9a-f]{63}$"`,
		},
		"a pattern added": {
			schemas.Event, set("$defs.memberFields.properties.name.pattern", "^A"),
			`member.event.json: data.member.name: its rule pattern was none and is "^A"`,
		},
		"a constant changed": {
			"member.closed.json", set("properties.data.properties.member.properties.connection_status.const", "SHUT"),
			`member.closed.json: data.member.connection_status: its only value was "CLOSED" and is "SHUT"`,
		},
		"a constant added": {
			schemas.Event, set("$defs.data.properties.revision.const", 1),
			`member.event.json: data.revision: its only value was none and is 1`,
		},
		"a minimum raised": {
			schemas.DeadLetter, set("properties.body_size.minimum", 1),
			"deadletter.json: body_size: minimum was 0 and is 1",
		},
		"a length shortened": {
			schemas.Command, set("properties.user.maxLength", 512),
			"member.refresh.json: user: maxLength was 1024 and is 512",
		},
		"a format added": {
			schemas.Event, set("$defs.memberFields.properties.name.format", "email"),
			`member.event.json: data.member.name: its rule format was none and is "email"`,
		},
		"elements of a list retyped": {
			schemas.Event, set("$defs.data.properties.changed.items.type", "integer"),
			`member.event.json: data.changed[]: its type was "string" and is "integer"`,
		},
		"values of a map retyped": {
			schemas.DeadLetter, set("properties.headers.additionalProperties.items.type", "integer"),
			`deadletter.json: headers[][]: its type was "string" and is "integer"`,
		},
		"unknown fields forbidden": {
			schemas.Event, set("$defs.data.additionalProperties", false),
			"member.event.json: data: its rule additionalProperties was none and is false",
		},
		"a condition changed": {
			schemas.Event, set("$defs.data.then.properties.revision.const", 2),
			"member.event.json: data: its rule then",
		},
		"a field forbidden": {
			schemas.Event, set("$defs.memberFields.properties.id.not", object{}),
			"member.event.json: data.member.id: its rule not was none and is {}",
		},
		"the schema of a type bound to another": {
			"member.closed.json", set("$ref", "member.refresh.json"),
			`member.closed.json: its rule $ref was "member.event.json" and is "member.refresh.json"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			breaks := check(t, tc.file, tc.edit)
			if !slices.ContainsFunc(breaks, func(b string) bool { return strings.HasPrefix(b, tc.want) }) {
				t.Errorf("breaks are %q, want one that begins %q", breaks, tc.want)
			}
		})
	}
}

func TestSchemaRemovedIsABreak(t *testing.T) {
	t.Parallel()
	next := present()
	delete(next, "member.closed.json")
	breaks, err := compat.Check(present(), next)
	if err != nil || len(breaks) != 1 || breaks[0].String() != "member.closed.json: the schema is gone" {
		t.Errorf("breaks are %v, %v", breaks, err)
	}
}

func TestWhatOnlyAddsIsNoBreak(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		file string
		edit func(*testing.T, object)
	}{
		"a field":                                   {schemas.Event, set("$defs.data.properties.severity", object{"type": "integer", "minimum": 1})},
		"a value of an enumeration":                 {schemas.DeadLetter, set("properties.category.enum", append(categories(t), "stale"))},
		"a description":                             {schemas.Event, set("$defs.data.properties.revision.description", "Another.")},
		"an example in a condition":                 {schemas.Event, set("$defs.data.then.properties.revision.examples", []any{1})},
		"a minimum lowered":                         {schemas.DeadLetter, set("properties.body_size.minimum", -1)},
		"a length extended":                         {schemas.Command, set("properties.user.maxLength", 2048)},
		"a pattern dropped":                         {schemas.DeadLetter, remove("properties.body_sha256.pattern")},
		"a constant dropped":                        {schemas.Event, remove("$defs.envelope.properties.specversion.const")},
		"what is never there dropped":               {schemas.Event, remove("$defs.memberFields.properties.metadata")},
		"a field of a command that may be left out": {schemas.Command, set("required", []any{"user"})},
		"another name for a definition": {schemas.Event, func(t *testing.T, o object) {
			t.Helper()
			defs := at(t, o, "$defs")
			defs["deed"] = defs["action"]
			delete(defs, "action")
			set("$defs.data.properties.action.$ref", "#/$defs/deed")(t, o)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if breaks := check(t, tc.file, tc.edit); len(breaks) > 0 {
				t.Errorf("breaks are %q", breaks)
			}
		})
	}
	next := present()
	next["member.quarantined.json"] = []byte(`{"type":"object"}`)
	if breaks, err := compat.Check(present(), next); err != nil || len(breaks) > 0 {
		t.Errorf("a new type gives %v, %v", breaks, err)
	}
}

func TestWhatIsNoSchemaIsToldWithItsFile(t *testing.T) {
	t.Parallel()
	good := map[string][]byte{"a.json": []byte(`{"properties":{"x":{"$ref":"#/$defs/x"}},"$defs":{"x":{"type":"string"}}}`)}
	for _, text := range []string{"", "{", "[]", `{"properties":{"x":{"$ref":"#/$defs/y"}}}`} {
		bad := map[string][]byte{"a.json": []byte(text)}
		for _, pair := range [][2]map[string][]byte{{good, bad}, {bad, good}} {
			if breaks, err := compat.Check(pair[0], pair[1]); (err == nil || !strings.Contains(err.Error(), "a.json")) && len(breaks) == 0 {
				t.Errorf("%q: %v, %v", text, breaks, err)
			}
		}
	}
}

type object = map[string]any

// check edits a copy of one of the schemas and returns what that breaks.
func check(t *testing.T, file string, edit func(*testing.T, object)) (breaks []string) {
	t.Helper()
	next := present()
	var doc object
	if err := json.Unmarshal(next[file], &doc); err != nil {
		t.Fatal(err)
	}
	edit(t, doc)
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(text, next[file]) {
		t.Fatal("the edit changed nothing")
	}
	next[file] = text
	found, err := compat.Check(present(), next, schemas.Inputs()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range found {
		breaks = append(breaks, b.String())
	}
	return breaks
}

// set sets the value at a path of keys.
func set(path string, value any) func(*testing.T, object) {
	return func(t *testing.T, o object) {
		t.Helper()
		parent, key := split(path)
		at(t, o, parent)[key] = value
	}
}

// remove removes what is at a path of keys.
func remove(path string) func(*testing.T, object) {
	return func(t *testing.T, o object) {
		t.Helper()
		parent, key := split(path)
		from := at(t, o, parent)
		if _, ok := from[key]; !ok {
			t.Fatalf("nothing at %s", path)
		}
		delete(from, key)
	}
}

func split(path string) (parent, key string) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

func at(t *testing.T, o object, path string) object {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		if key == "" {
			continue
		}
		next, ok := o[key].(object)
		if !ok {
			t.Fatalf("no object at %s of %s", key, path)
		}
		o = next
	}
	return o
}

func categories(t *testing.T) []any {
	t.Helper()
	var doc object
	if err := json.Unmarshal(present()[schemas.DeadLetter], &doc); err != nil {
		t.Fatal(err)
	}
	all, _ := at(t, doc, "properties.category")["enum"].([]any)
	return all
}

func present() map[string][]byte {
	all := map[string][]byte{}
	for _, s := range schemas.All() {
		all[s.Name] = s.Bytes
	}
	return all
}

func releasedSchemas(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, schemas.Version, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no released schemas in %s: %v", dir, err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		all[filepath.Base(path)] = readFile(t, path)
	}
	return all
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReleasedSchemasAreOfThisVersion(t *testing.T) {
	t.Parallel()
	for name, text := range releasedSchemas(t, releasedDir) {
		var head struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal(text, &head); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff("https://github.com/memberwatch/memberwatch/schemas/"+schemas.Version+"/"+name, head.ID); diff != "" {
			t.Errorf("$id of %s:\n%s", name, diff)
		}
	}
}
