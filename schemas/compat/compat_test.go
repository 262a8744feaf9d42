package compat_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/schemas"
	"github.com/memberwatch/memberwatch/schemas/compat"
)

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
			schemas.Event, set("$defs.action.properties.actor.anyOf", []any{object{"enum": []any{"user", "none"}}, object{"pattern": "^[a-z][a-z0-9_]{0,63}$"}}),
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
		"a type's reference to all events removed": {
			"member.closed.json", remove("$ref"),
			`member.closed.json: its rule $ref was "member.event.json" and is none`,
		},
		"a field's reference to another file removed": {
			schemas.APIResponse("get"), remove("properties.state.$ref"),
			`api.get.response.json: state: its rule $ref was "member.event.json#/$defs/data" and is none`,
		},
		"a field's reference removed from a request": {
			schemas.APIRequest("get"), remove("properties.user.$ref"),
			`api.get.request.json: user: its rule $ref was "member.refresh.json#/properties/user" and is none`,
		},
		"a field's reference within the file removed": {
			schemas.Event, set("$defs.data.properties.action", object{}),
			"member.event.json: data.action.actor: the field is gone",
		},
		"the elements of a list left open": {
			schemas.Event, remove("$defs.data.properties.changed.items"),
			`member.event.json: data.changed: its rule items was {"minLength":1,"type":"string"} and is none`,
		},
		"the values of a map left open": {
			schemas.DeadLetter, remove("properties.headers.additionalProperties"),
			"deadletter.json: headers: its rule additionalProperties was",
		},
		"the format of a time dropped": {
			schemas.Event, remove("$defs.data.properties.observed_at.format"),
			`member.event.json: data.observed_at: its rule format was "date-time" and is none`,
		},
		"a pattern of output dropped": {
			schemas.DeadLetter, remove("properties.body_sha256.pattern"),
			"deadletter.json: body_sha256: its rule pattern was",
		},
		"a minimum of output lowered": {
			schemas.DeadLetter, set("properties.body_size.minimum", -1),
			"deadletter.json: body_size: minimum was 0 and is -1",
		},
		"a constant of output dropped": {
			schemas.Event, remove("$defs.envelope.properties.specversion.const"),
			`member.event.json: specversion: its only value was "1.0" and is none`,
		},
		"what is never there left open": {
			schemas.Event, remove("$defs.memberFields.properties.metadata"),
			"member.event.json: data.member.metadata: it was never there and may be now",
		},
		"a field of another file that may be missing": {
			schemas.APIResponse("refresh"), remove("properties.result.required"),
			"api.refresh.response.json: result.member_guid: it may be missing now",
		},
		"an enumeration closed": {
			schemas.Result, func(t *testing.T, o object) {
				t.Helper()
				remove("properties.data.properties.outcome.anyOf")(t, o)
				set("properties.data.properties.outcome.enum", []any{"changed", "unchanged", "not_found", "failed"})(t, o)
			},
			"member.refresh.result.json: data.outcome: it has an enumeration now",
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
		"a field": {schemas.Event, set("$defs.data.properties.severity", object{"type": "integer", "minimum": 1})},
		"a value of an enumeration": {schemas.DeadLetter, set("properties.category.anyOf", []any{
			object{"enum": append(categories(t), "stale")}, object{"pattern": "^[a-z][a-z0-9_]{0,63}$"},
		})},
		"a description":                             {schemas.Event, set("$defs.data.properties.revision.description", "Another.")},
		"an example in a condition":                 {schemas.Event, set("$defs.data.then.properties.revision.examples", []any{1})},
		"a pattern of a command dropped":            {schemas.Command, remove("properties.command_id.pattern")},
		"a value of an option":                      {schemas.APIRequest("oauth_uri"), set("properties.referral_source.enum", []any{"", "BROWSER", "APP", nil, "KIOSK"})},
		"a length extended":                         {schemas.Command, set("properties.user.maxLength", 2048)},
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

// split cuts off the last key of a path. In a key ~ stands for a dot.
func split(path string) (parent, key string) {
	i := strings.LastIndexByte(path, '.')
	return path[:max(i, 0)], strings.ReplaceAll(path[i+1:], "~", ".")
}

func at(t *testing.T, o object, path string) object {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		if key == "" {
			continue
		}
		next, ok := o[strings.ReplaceAll(key, "~", ".")].(object)
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
	ways, _ := at(t, doc, "properties.category")["anyOf"].([]any)
	known, _ := ways[0].(object)
	all, _ := known["enum"].([]any)
	if len(all) == 0 {
		t.Fatal("the schema of dead letters has no open enumeration of categories")
	}
	return all
}

func present() map[string][]byte {
	all := map[string][]byte{}
	for _, s := range schemas.All() {
		all[s.Name] = s.Bytes
	}
	return all
}
