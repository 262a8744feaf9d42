package compat_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/schemas"
	"github.com/memberwatch/memberwatch/schemas/compat"
)

// TestWhatABreakIsDependsOnWhoWrites is the policy, keyword by keyword: what is
// sent by the service (output) changes no rule, what is sent to it (input) may
// have its rules loosened.
func TestWhatABreakIsDependsOnWhoWrites(t *testing.T) {
	t.Parallel()
	const open = `{"anyOf":[{"enum":["a","b"]},{"pattern":"^[a-z]$"}]}`
	for name, tc := range map[string]struct {
		before, after string // the schema of field x
		output, input string // what is reported of it; empty: nothing
	}{
		"type: one more":           {`{"type":"string"}`, `{"type":["string","null"]}`, "its type was", ""},
		"type: one less":           {`{"type":["string","null"]}`, `{"type":"string"}`, "its type was", "its type was"},
		"type: wider":              {`{"type":"integer"}`, `{"type":"number"}`, "its type was", ""},
		"type: narrower":           {`{"type":"number"}`, `{"type":"integer"}`, "its type was", "its type was"},
		"type: dropped":            {`{"type":"string"}`, `{}`, "its type was", ""},
		"type: added":              {`{}`, `{"type":"string"}`, "its type was", "its type was"},
		"type: another order":      {`{"type":["null","string"]}`, `{"type":["string","null"]}`, "", ""},
		"type: a list of one":      {`{"type":"string"}`, `{"type":["string"]}`, "", ""},
		"enum: a value less":       {`{"enum":["a","b"]}`, `{"enum":["a"]}`, `"b" is no value of it any more`, `"b" is no value of it any more`},
		"enum: a value more":       {`{"enum":["a"]}`, `{"enum":["a","b"]}`, `"b" is a value of it now, and it was closed`, ""},
		"enum: dropped":            {`{"enum":["a"]}`, `{}`, "it has no enumeration any more", ""},
		"enum: added":              {`{}`, `{"enum":["a"]}`, "it has an enumeration now", "it has an enumeration now"},
		"open enum: a value more":  {open, strings.Replace(open, `"b"`, `"b","c"`, 1), "", ""},
		"open enum: a value less":  {open, strings.Replace(open, `,"b"`, ``, 1), `"b" is no value of it any more`, `"b" is no value of it any more`},
		"open enum: closed":        {open, `{"enum":["a","b"]}`, "it has an enumeration now", "it has an enumeration now"},
		"open enum: another rule":  {open, strings.Replace(open, "a-z", "a-y", 1), "its rule anyOf was", "its rule anyOf was"},
		"open enum: from a closed": {`{"enum":["a","b"]}`, open, "its rule anyOf was", "its rule anyOf was"},
		"const: changed":           {`{"const":1}`, `{"const":2}`, "its only value was 1 and is 2", "its only value was 1 and is 2"},
		"const: dropped":           {`{"const":1}`, `{}`, "its only value was 1 and is none", ""},
		"const: null added":        {`{}`, `{"const":null}`, "its only value was none", "its only value was none"},
		"const: added":             {`{}`, `{"const":1}`, "its only value was none and is 1", "its only value was none and is 1"},
		"pattern: changed":         {`{"pattern":"a"}`, `{"pattern":"b"}`, "its rule pattern was", "its rule pattern was"},
		"pattern: dropped":         {`{"pattern":"a"}`, `{}`, "its rule pattern was", ""},
		"pattern: added":           {`{}`, `{"pattern":"a"}`, "its rule pattern was none", "its rule pattern was none"},
		"format: changed":          {`{"format":"uri"}`, `{"format":"email"}`, "its rule format was", "its rule format was"},
		"format: dropped":          {`{"format":"uri"}`, `{}`, `its rule format was "uri" and is none`, ""},
		"format: added":            {`{}`, `{"format":"uri"}`, "its rule format was none", "its rule format was none"},
		"minimum: raised":          {`{"minimum":1}`, `{"minimum":2}`, "minimum was 1 and is 2", "minimum was 1 and is 2"},
		"minimum: lowered":         {`{"minimum":1}`, `{"minimum":0}`, "minimum was 1 and is 0", ""},
		"minimum: dropped":         {`{"minimum":1}`, `{}`, "minimum was 1 and is none", ""},
		"minimum: added":           {`{}`, `{"minimum":1}`, "minimum was none and is 1", "minimum was none and is 1"},
		"minimum: written anew":    {`{"minimum":1}`, `{"minimum":1.0}`, "", ""},
		"maxLength: lowered":       {`{"maxLength":9}`, `{"maxLength":8}`, "maxLength was 9 and is 8", "maxLength was 9 and is 8"},
		"maxLength: raised":        {`{"maxLength":8}`, `{"maxLength":9}`, "maxLength was 8 and is 9", ""},
		"maxLength: dropped":       {`{"maxLength":8}`, `{}`, "maxLength was 8 and is none", ""},
		"required: one more":       {`{"required":[]}`, `{"required":["y"]}`, "it is required now", "it is required now"},
		"required: one less":       {`{"required":["y"]}`, `{}`, "it may be missing now", ""},
		"items: retyped":           {`{"items":{"type":"string"}}`, `{"items":{"type":"integer"}}`, "its type was", "its type was"},
		"items: dropped":           {`{"items":{"type":"string"}}`, `{}`, "its rule items was", ""},
		"items: added":             {`{}`, `{"items":{"type":"string"}}`, "its rule items was none", "its rule items was none"},
		"items: none allowed":      {`{"items":{"type":"string"}}`, `{"items":false}`, "its rule items was", "its rule items was"},
		"additionalProperties: schema dropped": {
			`{"additionalProperties":{"type":"string"}}`, `{}`, "its rule additionalProperties was", "",
		},
		"additionalProperties: schema changed": {
			`{"additionalProperties":{"type":"string"}}`, `{"additionalProperties":{"type":"integer"}}`, "its type was", "its type was",
		},
		"additionalProperties: forbidden": {
			`{}`, `{"additionalProperties":false}`, "its rule additionalProperties was none and is false", "its rule additionalProperties was none and is false",
		},
		"additionalProperties: allowed": {`{"additionalProperties":false}`, `{}`, "its rule additionalProperties was false", ""},
		"allOf: changed":                {`{"allOf":[{"minLength":1}]}`, `{"allOf":[{"minLength":2}]}`, "its rule allOf was", "its rule allOf was"},
		"allOf: dropped":                {`{"allOf":[{"minLength":1}]}`, `{}`, "its rule allOf was", ""},
		"anyOf: one way more":           {`{"anyOf":[{"const":1}]}`, `{"anyOf":[{"const":1},{"const":2}]}`, "its rule anyOf was", "its rule anyOf was"},
		"anyOf: dropped":                {`{"anyOf":[{"const":1}]}`, `{}`, "its rule anyOf was", ""},
		"not: dropped":                  {`{"not":{"enum":["."]}}`, `{}`, "its rule not was", ""},
		"not: added":                    {`{}`, `{"not":{"enum":["."]}}`, "its rule not was none", "its rule not was none"},
		"if: changed":                   {`{"if":{"minLength":1},"then":{"maxLength":2}}`, `{"if":{"minLength":2},"then":{"maxLength":2}}`, "its rule if was", "its rule if was"},
		"then: dropped":                 {`{"if":{"minLength":1},"then":{"maxLength":2}}`, `{"if":{"minLength":1}}`, "its rule then was", ""},
		"then: added":                   {`{"if":{"minLength":1}}`, `{"if":{"minLength":1},"then":{"maxLength":2}}`, "its rule then was none", "its rule then was none"},
		"contains: dropped":             {`{"contains":{"const":1}}`, `{}`, "its rule contains was", ""},
		"minContains: dropped":          {`{"contains":{"const":1},"minContains":0}`, `{"contains":{"const":1}}`, "its rule minContains was", "its rule minContains was"},
		"uniqueItems: dropped":          {`{"uniqueItems":true}`, `{}`, "its rule uniqueItems was", ""},
		"a keyword of another draft":    {`{"novelty":1}`, `{}`, "its rule novelty was", "its rule novelty was"},
		"a reference in the file":       {`{"type":"string","minLength":1}`, `{"$ref":"#/$defs/word"}`, "", ""},
		"a field below: gone":           {`{"properties":{"y":{}}}`, `{"properties":{}}`, "the field is gone", "the field is gone"},
		"a field below: forbidden":      {`{"properties":{"y":{}}}`, `{"properties":{"y":{"not":{}}}}`, "its rule not was none", "its rule not was none"},
		"a field below: added":          {`{}`, `{"properties":{"y":{"type":"string"}}}`, "", ""},
		"a field below: no longer forbidden": {
			`{"properties":{"y":{"not":{}}}}`, `{}`, "it was never there and may be now", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wrap := func(x string) map[string][]byte {
				return map[string][]byte{"a.json": []byte(`{"properties":{"x":` + x + `},"$defs":{"word":{"type":"string","minLength":1}}}`)}
			}
			for direction, want := range map[string]string{"output": tc.output, "input": tc.input} {
				var input []string
				if direction == "input" {
					input = append(input, "a.json")
				}
				breaks, err := compat.Check(wrap(tc.before), wrap(tc.after), input...)
				if err != nil {
					t.Fatal(err)
				}
				named := slices.ContainsFunc(breaks, func(b compat.Break) bool {
					return b.Schema == "a.json" && strings.HasPrefix(b.Field, "x") && strings.HasPrefix(b.What, want)
				})
				if want == "" && len(breaks) > 0 || want != "" && !named {
					t.Errorf("of %s it reports %q, want %q", direction, breaks, want)
				}
			}
		})
	}
}

// TestFieldsOfAnotherFileAreNotNew: the schema of a type refers to that of all
// events, so what it says about one of their fields is one rule more or less.
func TestFieldsOfAnotherFileAreNotNew(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		edit func(*testing.T, object)
		want []string
	}{
		"one rule more": {
			set("properties.data.properties.revision", object{"const": 7}),
			[]string{"member.closed.json: data.revision: its only value was none and is 7"},
		},
		"one rule more, deeper": {
			set("properties.data.properties.member.properties.name", object{"type": "string", "examples": []any{"MX Bank"}}),
			[]string{`member.closed.json: data.member.name: its type was none and is "string"`},
		},
		"a rule twice":            {set("properties.data.properties.revision", object{"type": "integer", "description": "Another."}), nil},
		"a rule dropped":          {remove("properties.data.properties.deleted"), []string{"member.closed.json: data.deleted: its only value was false and is none"}},
		"rules of a part dropped": {remove("properties.data.properties.member"), []string{`member.closed.json: data.member.connection_status: its only value was "CLOSED" and is none`}},
		"a field that is new":     {set("properties.data.properties.novelty", object{"const": 7}), nil},
		"one that is never there": {set("properties.data.properties.action", object{"not": object{}}), []string{"member.closed.json: data.action: its rule not was none and is {}"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, check(t, "member.closed.json", tc.edit)); diff != "" {
				t.Errorf("breaks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFieldsAreInheritedThroughTwoFiles(t *testing.T) {
	t.Parallel()
	files := func(a string) map[string][]byte {
		return map[string][]byte{
			"a.json": []byte(a), "b.json": []byte(`{"$ref":"c.json#/$defs/c"}`),
			"c.json": []byte(`{"$defs":{"c":{"properties":{"x":{"type":"string"}}}}}`),
		}
	}
	breaks, err := compat.Check(files(`{"$ref":"b.json"}`), files(`{"$ref":"b.json","properties":{"x":{"maxLength":1},"y":{"maxLength":1}}}`))
	if want := "[a.json: x: maxLength was none and is 1]"; err != nil || fmt.Sprint(breaks) != want {
		t.Errorf("breaks are %v, %v; want %s", breaks, err, want)
	}
	for _, bad := range []string{`{"$ref":"d.json"}`, `{"$ref":"c.json#/$defs/d"}`} {
		if breaks, err := compat.Check(files(bad), files(bad)); err == nil || !strings.Contains(err.Error(), "a.json") {
			t.Errorf("a reference to nowhere gives %v, %v", breaks, err)
		}
	}
}

// TestOnlyDescriptionsMayDifferWithoutBeingAChange rewords everything that people
// read, at every depth of every schema; then it does the same to one rule.
func TestOnlyDescriptionsMayDifferWithoutBeingAChange(t *testing.T) {
	t.Parallel()
	reworded := func(keyword string, value any) map[string][]byte {
		next := present()
		for name, raw := range next {
			var doc any
			if err := json.Unmarshal(raw, &doc); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(reword(doc, keyword, value))
			if err != nil {
				t.Fatal(err)
			}
			next[name] = text
		}
		return next
	}
	for keyword, value := range map[string]any{
		"title": "Another", "description": "Another.", "examples": []any{"another"}, "default": "another", "$comment": "Another.", "deprecated": true,
	} {
		breaks, err := compat.Check(present(), reworded(keyword, value), schemas.Inputs()...)
		if err != nil || len(breaks) != 0 {
			t.Errorf("another %s is reported: %v, %v", keyword, breaks, err)
		}
	}
	breaks, err := compat.Check(present(), reworded("maxLength", 1), schemas.Inputs()...)
	if err != nil || len(breaks) < len(present()) {
		t.Errorf("a rule more everywhere is reported %d times: %v", len(breaks), err)
	}
}

// reword sets a keyword in every schema that is an object. Below properties and
// $defs keys are names, and what is below an annotation is no schema.
func reword(v any, keyword string, value any) any {
	schema, ok := v.(object)
	if !ok {
		return v
	}
	out := maps.Clone(schema)
	for key, inner := range schema {
		switch key {
		case "properties", "$defs":
			all := object{}
			if below, ok := inner.(object); ok {
				for name, s := range below {
					all[name] = reword(s, keyword, value)
				}
			}
			out[key] = all
		case "items", "additionalProperties", "then", "else", "contains":
			out[key] = reword(inner, keyword, value)
		}
	}
	out[keyword] = value
	return out
}
