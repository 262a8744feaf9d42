package compat

import (
	"encoding/json"
	"maps"
	"math/big"
	"slices"
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
	case "type", "required", "enum", "const", "properties", "items",
		"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties",
		"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties":
		return true
	}
	return false
}

// types compares the JSON types that a field may have. Every difference counts:
// one type less refuses what was valid, one more is what consumers do not expect.
func (c *comparison) types(field string, was, is node) {
	before, after := typesOf(was["type"]), typesOf(is["type"])
	if !slices.Equal(before, after) {
		c.report(field, "its type was %s and is %s", text(was["type"]), text(is["type"]))
	}
}

// typesOf returns the types that a value of "type" names, sorted.
func typesOf(v any) []string {
	var out []string
	switch v := v.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, t := range v {
			if name, ok := t.(string); ok {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// required compares the fields that are always there.
func (c *comparison) required(field string, was, is node) {
	names := func(n node) map[string]bool {
		out := map[string]bool{}
		for _, v := range list(n["required"]) {
			if name, ok := v.(string); ok {
				out[name] = true
			}
		}
		return out
	}
	path := func(name string) string {
		if field == "" {
			return name
		}
		return field + "." + name
	}
	before, after := names(was), names(is)
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if !before[name] {
			c.report(path(name), "it is required now")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !after[name] && !c.input && fields(is)[name] != nil {
			c.report(path(name), "it may be missing now")
		}
	}
}

// values compares what a field may be by name.
func (c *comparison) values(field string, was, is node) {
	if allowed, ok := is["enum"]; ok {
		if _, had := was["enum"]; !had {
			c.report(field, "it has an enumeration now: %s", text(allowed))
		}
		for _, v := range list(was["enum"]) {
			if !slices.ContainsFunc(list(allowed), func(a any) bool { return text(a) == text(v) }) {
				c.report(field, "%s is no value of it any more", text(v))
			}
		}
	}
	if value, ok := is["const"]; ok && text(value) != text(was["const"]) {
		c.report(field, "its only value was %s and is %s", text(was["const"]), text(value))
	}
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
		limit, ok := number(is[b.keyword])
		if !ok {
			continue
		}
		before, had := number(was[b.keyword])
		if !had || limit.Cmp(before) == b.tighter {
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
// contains and the like. Dropping one is no break.
func (c *comparison) rules(field string, was, is node) {
	for _, keyword := range slices.Sorted(maps.Keys(is)) {
		if annotates(keyword) || compared(keyword) {
			continue
		}
		if keyword == "additionalProperties" && bothSchemas(was[keyword], is[keyword]) {
			continue // compared as a field
		}
		before, after := text(bare(was[keyword])), text(bare(is[keyword]))
		if before != after {
			c.report(field, "its rule %s was %s and is %s", keyword, before, after)
		}
	}
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
