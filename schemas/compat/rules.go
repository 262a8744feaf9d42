package compat

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// annotates reports whether a keyword constrains nothing.
func annotates(keyword string) bool {
	switch keyword {
	case "$schema", "$id", "$comment", "$defs", "title", "description", "examples", "default", "deprecated", "readOnly", "writeOnly":
		return true
	}
	return false
}

// compared reports whether a keyword is looked at on its own.
func compared(keyword string) bool {
	switch keyword {
	case "type", "required", "enum", "const", "properties",
		"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties",
		"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties":
		return true
	}
	return false
}

// types compares the JSON types that a field may have.
func (c *comparison) types(field string, was, is node) {
	before, after := typesOf(was["type"]), typesOf(is["type"])
	if slices.Equal(before, after) || c.input && takes(after, before) {
		return
	}
	c.report(field, "its type was %s and is %s", text(was["type"]), text(is["type"]))
}

// takes reports whether each of some types is among those of a field, which has
// any type when it names none.
func takes(types, each []string) bool {
	if len(types) == 0 {
		return true
	}
	return len(each) > 0 && !slices.ContainsFunc(each, func(t string) bool {
		return !slices.Contains(types, t) && (t != "integer" || !slices.Contains(types, "number"))
	})
}

// typesOf returns the types that a value of "type" names, sorted.
func typesOf(v any) []string {
	if name, ok := v.(string); ok {
		return []string{name}
	}
	return slices.Sorted(maps.Keys(names(v)))
}

// names returns the texts in a list.
func names(v any) map[string]bool {
	out := map[string]bool{}
	for _, v := range list(v) {
		if name, ok := v.(string); ok {
			out[name] = true
		}
	}
	return out
}

// required compares the fields that are always there.
func (c *comparison) required(field string, was, is node) {
	path := func(name string) string { return strings.TrimPrefix(field+"."+name, ".") }
	before, after := names(was["required"]), names(is["required"])
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !before[name] {
			c.report(path(name), "it is required now")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		// A field that is gone is told as that.
		if gone := fields(was)[name] != nil && fields(is)[name] == nil; !after[name] && !c.input && !gone {
			c.report(path(name), "it may be missing now")
		}
	}
}

// values compares what a field may be by name.
func (c *comparison) values(field string, was, is node) {
	before, had := was["enum"]
	after, has := is["enum"]
	switch {
	case has && !had:
		c.report(field, "it has an enumeration now: %s", text(after))
	case had && !has && !c.input:
		c.report(field, "it has no enumeration any more, which was %s", text(before))
	case had && has:
		c.listed(field, list(before), list(after))
		for _, v := range list(after) {
			if !c.input && !contains(list(before), v) {
				c.report(field, "%s is a value of it now, and it was closed", text(v))
			}
		}
	}
	if known, _, ok := openEnum(was); ok {
		later, _, _ := openEnum(is)
		c.listed(field, known, later)
	}
	before, had = was["const"]
	after, has = is["const"]
	if differs := had != has || text(before) != text(after); differs && (has || !c.input) {
		c.report(field, "its only value was %s and is %s", text(before), text(after))
	}
}

// listed reports the values that a list has lost.
func (c *comparison) listed(field string, before, after []any) {
	for _, v := range before {
		if !contains(after, v) {
			c.report(field, "%s is no value of it any more", text(v))
		}
	}
}

func contains(values []any, v any) bool {
	return slices.ContainsFunc(values, func(x any) bool { return text(x) == text(v) })
}

// openEnum returns the values of an enumeration to which values are added as time
// goes by, and the rule that every one of them keeps. It is written
//
//	"anyOf": [{ "enum": ["known", "so", "far"] }, { "pattern": "^[a-z]+$" }]
//
// so that people and generators see the values, and no validator refuses another.
func openEnum(schema node) (known []any, rule any, ok bool) {
	ways := list(schema["anyOf"])
	if len(ways) != 2 {
		return nil, nil, false
	}
	first, _ := bare(ways[0]).(node)
	if _, ok := first["enum"]; !ok || len(first) != 1 {
		return nil, nil, false
	}
	return list(first["enum"]), ways[1], true
}

// bounds compares the ends of ranges.
func (c *comparison) bounds(field string, was, is node) {
	for _, b := range []struct {
		keyword string
		tighter int // sign of (new - old) when fewer values fit
	}{
		{"minimum", 1},
		{"exclusiveMinimum", 1},
		{"minLength", 1},
		{"minItems", 1},
		{"minProperties", 1},
		{"maximum", -1},
		{"exclusiveMaximum", -1},
		{"maxLength", -1},
		{"maxItems", -1},
		{"maxProperties", -1},
	} {
		before, had := number(was[b.keyword])
		limit, has := number(is[b.keyword])
		differs := had != has || had && limit.Cmp(before) != 0
		tighter := has && (!had || limit.Cmp(before) == b.tighter)
		if tighter || differs && !c.input {
			c.report(field, "%s was %s and is %s", b.keyword, text(was[b.keyword]), text(is[b.keyword]))
		}
	}
}

func number(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetString(n.String())
}

// rules compares every other keyword that constrains: pattern, format, not, if,
// contains and the like, and references to other files.
func (c *comparison) rules(field string, was, is node) {
	keywords := maps.Clone(was)
	maps.Copy(keywords, is)
	for _, keyword := range slices.Sorted(maps.Keys(keywords)) {
		if annotates(keyword) || compared(keyword) {
			continue
		}
		if slices.Contains(elements(), keyword) && bothSchemas(was[keyword], is[keyword]) {
			continue // compared as a field
		}
		before, after := bare(was[keyword]), bare(is[keyword])
		if keyword == "anyOf" {
			before, after = opened(was, before), opened(is, after)
		}
		if text(before) == text(after) || c.input && after == nil && loosens(keyword) {
			continue
		}
		c.report(field, "its rule %s was %s and is %s", keyword, text(before), text(after))
	}
}

// opened is a rule without the values of an open enumeration, which are compared
// on their own.
func opened(schema node, rule any) any {
	if _, every, ok := openEnum(schema); ok {
		return []any{"known values", bare(every)}
	}
	return rule
}

// elements are the keywords whose schema is that of what a field holds.
func elements() []string { return []string{"additionalProperties", "items"} }

// loosens reports whether dropping a keyword can only let more through. Of the
// others one shields from a stricter neighbor (patternProperties from
// additionalProperties, minContains 0 from contains), one names what a whole
// schema is ($ref), and one may be of a later draft.
func loosens(keyword string) bool {
	switch keyword {
	case "pattern", "format", "contentEncoding", "contentMediaType", "contentSchema", "multipleOf", "uniqueItems",
		"contains", "maxContains", "propertyNames", "additionalProperties", "items", "unevaluatedProperties", "unevaluatedItems",
		"dependentRequired", "dependentSchemas", "allOf", "anyOf", "oneOf", "not", "if", "then", "else":
		return true
	}
	return false
}

func bothSchemas(a, b any) bool {
	_, x := a.(node)
	_, y := b.(node)
	return x && y
}

// bare is a piece of schema without annotations. A field may have the name of
// one, so those below properties keep theirs.
func bare(v any) any {
	switch v := v.(type) {
	case node:
		out := node{}
		for key, value := range v {
			if properties, ok := value.(node); ok && key == "properties" {
				all := node{}
				for name, schema := range properties {
					all[name] = bare(schema)
				}
				out[key] = all
				continue
			}
			if !annotates(key) {
				out[key] = bare(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = bare(v[i])
		}
		return out
	}
	return v
}

// text is a value as JSON; nothing is "none".
func text(v any) string {
	if v == nil {
		return "none"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error() // Unreachable: it was JSON.
	}
	return string(b)
}
