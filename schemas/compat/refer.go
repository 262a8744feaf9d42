package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// view is a schema with what it refers to in the same file. References to other
// files stay, and are compared as such: those files are compared themselves.
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
	target, err := find(file, pointer)
	if err != nil {
		return nil, fmt.Errorf("reference %s: %w", ref, err)
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

// find returns what a JSON pointer leads to, which is written without its first slash.
func find(file node, pointer string) (any, error) {
	var target any = file
	for key := range strings.SplitSeq(pointer, "/") {
		at, _ := target.(node)
		var ok bool
		if target, ok = at[key]; !ok {
			return nil, fmt.Errorf("there is no %s", key)
		}
	}
	return target, nil
}

// place is a schema, as [view] gives it, in its file.
type place struct{ file, schema node }

// inherit adds to the schemas in force for a field the one of another file that
// its own refers to, and those that one refers to in turn.
func (c *comparison) inherit(inherited []place, schema node) ([]place, error) {
	for {
		ref, _ := schema["$ref"].(string)
		if ref == "" {
			return inherited, nil
		}
		name, pointer, _ := strings.Cut(ref, "#/")
		file, ok := c.released[strings.TrimSuffix(name, "#")]
		if !ok {
			return nil, fmt.Errorf("reference %s leads to no file", ref)
		}
		var target any = file
		if pointer != "" {
			var err error
			if target, err = find(file, pointer); err != nil {
				return nil, fmt.Errorf("reference %s: %w", ref, err)
			}
		}
		next, err := view(file, target)
		if err != nil {
			return nil, err
		}
		inherited, schema = append(slices.Clip(inherited), place{file, next}), next
	}
}

// below returns what the schemas in force for an object say about one of its fields.
func below(inherited []place, name string) ([]place, error) {
	var out []place
	for _, p := range inherited {
		field, ok := fields(p.schema)[name]
		if !ok {
			continue
		}
		n, err := view(p.file, field)
		if err != nil {
			return nil, err
		}
		out = append(out, place{p.file, n})
	}
	return out, nil
}

// beyond is what a schema says that those in force beside it do not say already.
func beyond(inherited []place, schema any) any {
	n, ok := schema.(node)
	if !ok {
		return schema
	}
	out := maps.Clone(n)
	maps.DeleteFunc(out, func(keyword string, value any) bool {
		return slices.ContainsFunc(inherited, func(p place) bool { return text(bare(p.schema[keyword])) == text(bare(value)) })
	})
	return out
}
