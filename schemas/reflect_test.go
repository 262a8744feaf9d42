package schemas_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

// TestGoTypesAndSchemasSayTheSame compares, in both directions, the fields of
// each Go type with the properties of its schema: name, JSON type, null, and
// whether the field is always there.
func TestGoTypesAndSchemasSayTheSame(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		goType  reflect.Type
		file    string
		pointer []string // keys that lead to the schema in the file
		notNull []string // slices and maps that are never nil on the wire
	}{
		{reflect.TypeFor[events.Data](), schemas.Event, []string{"$defs", "data"}, []string{"changed"}},
		{reflect.TypeFor[events.Member](), schemas.Event, []string{"$defs", "member"}, nil},
		{reflect.TypeFor[events.Error](), schemas.Event, []string{"$defs", "error"}, nil},
		{reflect.TypeFor[events.Action](), schemas.Event, []string{"$defs", "action"}, nil},
		{reflect.TypeFor[events.Command](), schemas.Command, nil, nil},
		{reflect.TypeFor[events.Result](), schemas.Result, []string{"properties", "data"}, nil},
		{reflect.TypeFor[events.DeadLetter](), schemas.DeadLetter, nil, nil},
		{reflect.TypeFor[events.RefreshRequest](), schemas.APIRequest(events.APIRefresh), nil, nil},
		{reflect.TypeFor[events.RefreshResponse](), schemas.APIResponse(events.APIRefresh), nil, nil},
		{reflect.TypeFor[events.GetRequest](), schemas.APIRequest(events.APIGet), nil, nil},
		{reflect.TypeFor[events.GetResponse](), schemas.APIResponse(events.APIGet), nil, nil},
		{reflect.TypeFor[events.OAuthURIRequest](), schemas.APIRequest(events.APIOAuthURI), nil, nil},
		{reflect.TypeFor[events.OAuthURIResponse](), schemas.APIResponse(events.APIOAuthURI), nil, nil},
		{reflect.TypeFor[events.APIError](), schemas.APIError, nil, nil},
	} {
		t.Run(tc.goType.Name(), func(t *testing.T) {
			t.Parallel()
			doc := document(t, tc.file)
			got := shapesOfSchema(t, doc, dig(t, doc, tc.pointer...))
			want := map[string]shape{}
			for _, f := range reflect.VisibleFields(tc.goType) {
				name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name == "-" || f.Anonymous { // what is embedded is there field by field
					continue
				}
				s := shapeOfField(f.Type)
				s.required = !strings.Contains(options, "omitempty")
				if !s.required && slices.Contains(schemas.Inputs(), tc.file) && !slices.Contains(s.types, "null") {
					s.types = append(s.types, "null") // which Go reads as nothing, from whoever writes out what is absent
				}
				if slices.Contains(tc.notNull, name) {
					s.types = s.types[:1]
				}
				want[name] = s
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(shape{})); diff != "" {
				t.Errorf("fields (-Go +schema):\n%s", diff)
			}
		})
	}
}

// TestEnumerationsAreThoseOfTheGoTypes also holds those of what the service sends
// to be open: values are added to them within a major version, and a consumer that
// validates with the schema it has must not refuse what a newer service says.
func TestEnumerationsAreThoseOfTheGoTypes(t *testing.T) {
	t.Parallel()
	event, result, letter := document(t, schemas.Event), document(t, schemas.Result), document(t, schemas.DeadLetter)
	refusal, oauth := document(t, schemas.APIError), document(t, schemas.APIRequest(events.APIOAuthURI))
	action := dig(t, event, "$defs", "action", "properties")
	for name, tc := range map[string]struct{ schema, want any }{
		"category": {open(t, dig(t, letter, "properties", "category"), "not_yet"), events.Categories()},
		"code":     {open(t, dig(t, refusal, "properties", "code"), "429"), events.APICodes()},
		"referral": {dig(t, oauth, "properties", "referral_source")["enum"], []any{"", events.ReferralBrowser, events.ReferralApp, nil}},
		"outcome": {
			open(t, dig(t, result, "properties", "data", "properties", "outcome"), "not_yet"),
			[]events.Outcome{events.OutcomeChanged, events.OutcomeUnchanged, events.OutcomeNotFound, events.OutcomeFailed},
		},
		"actor": {open(t, dig(t, action, "actor"), "not_yet"), []events.Actor{events.ActorUser, events.ActorSupport, events.ActorNone}},
		"kind": {open(t, dig(t, action, "kind"), "not_yet"), []events.ActionKind{
			events.ActionUpdateCredentials, events.ActionAuthorize, events.ActionAnswerChallenge, events.ActionVisitInstitution,
			events.ActionContactSupport, events.ActionWait, events.ActionNone,
		}},
	} {
		got, err := json.Marshal(tc.schema)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(tc.want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s: the schema says %s, Go %s", name, got, want)
		}
	}
}

// open returns the values that an open enumeration knows. The rule for later ones
// must let each of them pass, and a likely later one.
func open(t *testing.T, schema map[string]any, later string) any {
	t.Helper()
	ways, _ := schema["anyOf"].([]any)
	if len(ways) != 2 || schema["enum"] != nil {
		t.Fatalf("no open enumeration: %v", schema)
	}
	known, _ := ways[0].(map[string]any)
	every, _ := ways[1].(map[string]any)
	pattern, err := regexp.Compile(fmt.Sprint(every["pattern"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range append(texts(known["enum"]), later) {
		if !pattern.MatchString(value) {
			t.Errorf("%q is no value by %s", value, pattern)
		}
	}
	return known["enum"]
}

func TestFormerValuesHaveTheFieldsOfAMemberAndTheDerivedOnes(t *testing.T) {
	t.Parallel()
	doc := document(t, schemas.Event)
	got := slices.Sorted(maps.Keys(shapesOfSchema(t, doc, dig(t, doc, "$defs", "previous"))))
	want := slices.Concat(events.MemberFields(), []string{events.FieldOAuthRequired, events.FieldProvisional, events.FieldDeleted})
	want = slices.DeleteFunc(want, func(f string) bool { return f == "guid" || f == "user_guid" }) // another member
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-Go +schema):\n%s", diff)
	}
}

// shape is what Go and JSON Schema can both say about a field.
type shape struct {
	types    []string // JSON types; null last
	format   string
	required bool
}

func shapeOfField(typ reflect.Type) shape {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return shape{types: []string{"string"}, format: "date-time"}
	case typ == reflect.TypeFor[[]byte]():
		return shape{types: []string{"string", "null"}}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		s := shapeOfField(typ.Elem())
		s.types = append(s.types, "null")
		return s
	case reflect.Slice:
		return shape{types: []string{"array", "null"}}
	case reflect.Map:
		return shape{types: []string{"object", "null"}}
	case reflect.Struct:
		return shape{types: []string{"object"}}
	case reflect.String:
		return shape{types: []string{"string"}}
	case reflect.Bool:
		return shape{types: []string{"boolean"}}
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return shape{types: []string{"integer"}}
	default:
		return shape{types: []string{"no JSON type for " + typ.String()}}
	}
}

// shapesOfSchema collects the properties of an object's schema, following
// references; those that it forbids are none.
func shapesOfSchema(t *testing.T, doc, schema map[string]any) map[string]shape {
	t.Helper()
	shapes := map[string]shape{}
	if file, definition, ok := resolve(t, doc, schema); ok {
		shapes = shapesOfSchema(t, file, definition)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name := range properties {
		s := dig(t, properties, name)
		if _, definition, ok := resolve(t, doc, s); ok {
			s = definition
		}
		if not, ok := s["not"].(map[string]any); ok && len(not) == 0 {
			delete(shapes, name)
			continue
		}
		shapes[name] = shapeOfSchema(s)
	}
	for _, name := range texts(schema["required"]) {
		s := shapes[name]
		s.required = true
		shapes[name] = s
	}
	return shapes
}

func shapeOfSchema(s map[string]any) shape {
	out := shape{types: texts(s["type"])}
	if values, ok := s["enum"].([]any); ok && out.types == nil {
		out.types = []string{"string"}
		if slices.Contains(values, nil) {
			out.types = append(out.types, "null")
		}
	}
	if s["format"] == "date-time" {
		out.format = "date-time"
	}
	return out
}

// texts reads a value that is a text, a list of texts, or nothing.
func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	var out []string
	list, _ := v.([]any)
	for _, item := range list {
		out = append(out, fmt.Sprint(item))
	}
	return out
}

// resolve returns the definition that a schema refers to, if it does, and the
// file that it is in.
func resolve(t *testing.T, doc, schema map[string]any) (file, definition map[string]any, ok bool) {
	t.Helper()
	ref, ok := schema["$ref"].(string)
	if !ok {
		return nil, nil, false
	}
	name, pointer, _ := strings.Cut(ref, "#")
	if name != "" {
		doc = document(t, name)
	}
	if pointer = strings.TrimPrefix(pointer, "/"); pointer == "" {
		return doc, doc, true
	}
	return doc, dig(t, doc, strings.Split(pointer, "/")...), true
}

func dig(t *testing.T, doc map[string]any, keys ...string) map[string]any {
	t.Helper()
	for _, key := range keys {
		next, ok := doc[key].(map[string]any)
		if !ok {
			t.Fatalf("no object at %v", keys)
		}
		doc = next
	}
	return doc
}
