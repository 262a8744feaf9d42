// Package compat tells whether a change of the JSON Schemas, or of the places
// where messages are found, breaks the contract.
//
// Streams keep messages for years, and consumers are written against the schemas
// that were there at the time. So two things must hold of every change within a
// major version: what was valid stays valid, and what a consumer could rely on
// stays there. [Check] compares two versions of the schemas and names the field of
// each [Break]. What a break is depends on who writes:
//
//   - Of output, which is everything that the service sends, both ends count. A
//     rule that is tightened refuses what streams hold already; one that is
//     loosened or dropped lets something through that no reader was written for.
//     So no rule of a field changes at all: type, null, format, pattern, length,
//     range, constant, list of values, whether it is always there, what it may not
//     have beside itself, and every condition.
//   - Of input, which is commands and requests, a rule that is tightened refuses
//     what publishers send. Loosening or dropping one breaks nobody.
//   - Of both, a schema or a field that is gone, and a reference to another schema
//     that is gone or leads elsewhere.
//
// Adding is no break: fields, types of event, and values of an open enumeration,
// which is an anyOf of the values known so far and a pattern that every later one
// matches (see [openEnum]). A field that a schema names is new only if the schema
// it refers to has no such field; else it is a rule more. Nor is any change of a
// description or an example a break. Whether a pattern only became wider is not
// something a program can know: such a change is reported, and the answer to a
// right one is another field.
//
// [CheckAsyncAPI] does the same for channels: where each message is found.
//
// The schemas and the AsyncAPI document of the last release, and the digests of
// its golden files, are in testdata/released. A test holds those of the module
// against them. A release takes over the present ones with
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
// in input are of messages that others send to the service.
func Check(released, next map[string][]byte, input ...string) ([]Break, error) {
	before, err := parseAll(released)
	if err != nil {
		return nil, fmt.Errorf("reading released schemas: %w", err)
	}
	var all []Break
	for _, name := range slices.Sorted(maps.Keys(released)) {
		text, ok := next[name]
		if !ok {
			all = append(all, Break{name, "", "the schema is gone"})
			continue
		}
		after, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading schema %s: %w", name, err)
		}
		c := &comparison{schema: name, released: before, before: before[name], after: after, input: slices.Contains(input, name)}
		if err := c.compare("", before[name], after, nil); err != nil {
			return nil, fmt.Errorf("comparing schema %s: %w", name, err)
		}
		all = append(all, c.breaks...)
	}
	return all, nil
}

// node is a JSON Schema, or a part of one, that is an object.
type node = map[string]any

func parseAll(texts map[string][]byte) (map[string]node, error) {
	all := make(map[string]node, len(texts))
	for name, text := range texts {
		n, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = n
	}
	return all, nil
}

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
	released      map[string]node // all files, which references lead to
	before, after node            // the whole file
	input         bool
	breaks        []Break
}

func (c *comparison) report(field, format string, args ...any) {
	c.breaks = append(c.breaks, Break{c.schema, field, fmt.Sprintf(format, args...)})
}

// compare compares the schema of one field. inherited are the schemas of other
// files that were in force for it beside its own.
func (c *comparison) compare(field string, before, after any, inherited []place) error {
	was, err := view(c.before, before)
	if err != nil {
		return err
	}
	is, err := view(c.after, after)
	if err != nil {
		return err
	}
	if inherited, err = c.inherit(inherited, was); err != nil {
		return err
	}
	c.types(field, was, is)
	c.required(field, was, is)
	c.values(field, was, is)
	c.bounds(field, was, is)
	c.rules(field, was, is)
	for _, keyword := range elements() {
		if !bothSchemas(was[keyword], is[keyword]) {
			continue // compared as a rule
		}
		if err := c.compare(field+"[]", was[keyword], is[keyword], nil); err != nil {
			return err
		}
	}
	return c.fields(field, fields(was), fields(is), inherited)
}

// fields compares the fields of an object.
func (c *comparison) fields(field string, old, added node, inherited []place) error {
	names := maps.Clone(old)
	if names == nil {
		names = node{}
	}
	maps.Copy(names, added)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := strings.TrimPrefix(field+"."+name, ".")
		base, err := below(inherited, name)
		if err != nil {
			return err
		}
		before, had := old[name]
		after, has := added[name]
		switch {
		case had && has:
		case len(base) > 0 && had: // what another file says of it goes on
			before, after = beyond(base, before), node{}
		case len(base) > 0:
			before, after = node{}, beyond(base, after)
		case has:
			continue // new
		case !forbids(before):
			c.report(path, "the field is gone")
			continue
		case c.input:
			continue
		default:
			c.report(path, "it was never there and may be now")
			continue
		}
		if err := c.compare(path, before, after, base); err != nil {
			return err
		}
	}
	return nil
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
