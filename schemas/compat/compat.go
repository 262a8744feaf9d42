// Package compat tells whether a change of the JSON Schemas breaks the contract.
//
// Streams keep messages for years, and consumers are written against the schemas
// that were there at the time. So two things must hold of every change within a
// major version: what was valid stays valid, and what a consumer could rely on
// stays there. [Check] compares two versions of the schemas and names the field of
// each [Break]:
//
//   - a schema or a field that is gone, or may be missing where it was always there;
//   - a field whose type differs, null included;
//   - a field that is required now and was not;
//   - an enumeration or a range that lost values, a constant, format or pattern
//     that was added or is another one;
//   - any other rule that was added or is another one.
//
// Adding fields, types of event and values to an enumeration, and dropping a rule,
// are no breaks; nor is any change of a description or an example. Whether a
// pattern only became wider is not something a program can know: such a change is
// reported, and the answer to a right one is another field.
//
// The schemas of the last release, and the digests of its golden files, are in
// testdata/released. A test holds those of the module against them. A release
// takes over the present ones with
//
//	go test ./schemas/compat -release
//
// which is refused while there is a break, and commits what that changed. From
// then on what the release added can only be added to.
package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Break is one incompatible change.
type Break struct {
	Schema string // file name
	Field  string // path from the top of the message, as data.member.name; empty: the message as a whole
	What   string
}

func (b Break) String() string {
	if b.Field == "" {
		return b.Schema + ": " + b.What
	}
	return b.Schema + ": " + b.Field + ": " + b.What
}

// Check compares schemas as released with those that are to follow, both by
// file name, and returns every break in the order of file and field. Schemas named
// in input are of messages that consumers send: of those nobody relies on a field
// being there.
func Check(released, next map[string][]byte, input ...string) ([]Break, error) {
	var all []Break
	for _, name := range slices.Sorted(maps.Keys(released)) {
		text, ok := next[name]
		if !ok {
			all = append(all, Break{name, "", "the schema is gone"})
			continue
		}
		before, err := parse(released[name])
		if err != nil {
			return nil, fmt.Errorf("reading released schema %s: %w", name, err)
		}
		after, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading schema %s: %w", name, err)
		}
		c := &comparison{schema: name, before: before, after: after, input: slices.Contains(input, name)}
		if err := c.compare("", before, after); err != nil {
			return nil, fmt.Errorf("comparing schema %s: %w", name, err)
		}
		all = append(all, c.breaks...)
	}
	return all, nil
}

// node is a JSON Schema, or a part of one, that is an object.
type node = map[string]any

func parse(text []byte) (n node, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&n); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	return n, nil
}

// comparison is that of one file.
type comparison struct {
	schema        string
	before, after node // the whole files, which references lead into
	input         bool
	breaks        []Break
}

func (c *comparison) report(field, format string, args ...any) {
	c.breaks = append(c.breaks, Break{c.schema, field, fmt.Sprintf(format, args...)})
}

// compare compares the schema of one field.
func (c *comparison) compare(field string, before, after any) error {
	was, err := view(c.before, before)
	if err != nil {
		return err
	}
	is, err := view(c.after, after)
	if err != nil {
		return err
	}
	c.types(field, was, is)
	c.required(field, was, is)
	c.values(field, was, is)
	c.bounds(field, was, is)
	c.rules(field, was, is)
	for _, keyword := range []string{"items", "additionalProperties"} {
		if _, ok := was[keyword].(node); ok && is[keyword] != nil {
			if err := c.compare(field+"[]", was[keyword], is[keyword]); err != nil {
				return err
			}
		}
	}
	old, added := fields(was), fields(is)
	for _, name := range slices.Sorted(maps.Keys(old)) {
		path := strings.TrimPrefix(field+"."+name, ".")
		next, ok := added[name]
		if !ok {
			if !forbids(old[name]) {
				c.report(path, "the field is gone")
			}
			continue
		}
		if err := c.compare(path, old[name], next); err != nil {
			return err
		}
	}
	return nil
}

// view is a schema with what it refers to in the same file. References to other
// files stay: those files are compared themselves.
func view(file node, schema any) (node, error) {
	n, ok := schema.(node)
	if !ok {
		return node{"schema": schema}, nil // true or false
	}
	ref, _ := n["$ref"].(string)
	pointer, local := strings.CutPrefix(ref, "#/")
	if !local {
		return n, nil
	}
	var target any = file
	for key := range strings.SplitSeq(pointer, "/") {
		at, _ := target.(node)
		if target, ok = at[key]; !ok {
			return nil, fmt.Errorf("reference %s leads nowhere", ref)
		}
	}
	base, err := view(file, target)
	if err != nil {
		return nil, err
	}
	out := maps.Clone(base)
	for keyword, value := range n {
		switch keyword {
		case "$ref":
		case "properties":
			all := maps.Clone(fields(base))
			if all == nil {
				all = node{}
			}
			maps.Copy(all, fields(n))
			out[keyword] = all
		case "required":
			out[keyword] = append(slices.Clone(list(base[keyword])), list(value)...)
		default:
			out[keyword] = value
		}
	}
	return out, nil
}

// fields returns the schemas of an object's fields.
func fields(schema node) node {
	f, _ := schema["properties"].(node)
	return f
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

// forbids reports whether a schema says that a field is never there.
func forbids(schema any) bool {
	n, _ := schema.(node)
	not, ok := n["not"].(node)
	return ok && len(not) == 0
}
