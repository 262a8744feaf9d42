package compat

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// asyncAPI is the part of an AsyncAPI 3.0 document that says where each message is
// found and what it is. The schemas of payloads are compared by [Check].
type asyncAPI struct {
	DefaultContentType string               `yaml:"defaultContentType"`
	Channels           map[string]channel   `yaml:"channels"`
	Operations         map[string]operation `yaml:"operations"`
	Components         struct {
		Messages map[string]message `yaml:"messages"`
		Traits   map[string]message `yaml:"messageTraits"`
	} `yaml:"components"`
}

type (
	pointer struct {
		Ref string `yaml:"$ref"`
	}
	channel struct {
		Address   *string            `yaml:"address"` // nil: told with each message
		Messages  map[string]pointer `yaml:"messages"`
		JetStream struct {
			Stream string `yaml:"stream"`
		} `yaml:"x-jetstream"`
	}
	operation struct {
		Action   string    `yaml:"action"`
		Channel  pointer   `yaml:"channel"`
		Messages []pointer `yaml:"messages"`
		Reply    struct {
			Channel  pointer   `yaml:"channel"`
			Messages []pointer `yaml:"messages"`
		} `yaml:"reply"`
		Bindings struct {
			NATS struct {
				Queue string `yaml:"queue"`
			} `yaml:"nats"`
		} `yaml:"bindings"`
	}
	message struct {
		ContentType string         `yaml:"contentType"`
		Traits      []pointer      `yaml:"traits"`
		Headers     map[string]any `yaml:"headers"`
		Payload     struct {
			Schema pointer `yaml:"schema"`
		} `yaml:"payload"`
	}
)

// CheckAsyncAPI compares the AsyncAPI document as released with the one that is to
// follow. A break is a channel, an operation or a message that is gone, and a
// subject, a stream, a queue group, a schema, a media type or a header that is
// another one. The field of a break is the path in the document.
func CheckAsyncAPI(name string, released, next []byte) ([]Break, error) {
	var before, after asyncAPI
	if err := yaml.Unmarshal(released, &before); err != nil {
		return nil, fmt.Errorf("reading released %s: %w", name, err)
	}
	if err := yaml.Unmarshal(next, &after); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	c := &comparison{schema: name}
	c.same("defaultContentType", "value", before.DefaultContentType, after.DefaultContentType)
	each(c, "channels", "channel", before.Channels, after.Channels, func(field string, was, is channel) {
		c.same(field, "address", address(was), address(is))
		c.same(field, "stream", was.JetStream.Stream, is.JetStream.Stream)
		each(c, field+".messages", "message", was.Messages, is.Messages, func(field string, was, is pointer) {
			c.same(field, "message", was.Ref, is.Ref)
		})
	})
	each(c, "operations", "operation", before.Operations, after.Operations, func(field string, was, is operation) {
		c.same(field, "action", was.Action, is.Action)
		c.same(field, "channel", was.Channel.Ref, is.Channel.Ref)
		c.same(field, "channel of replies", was.Reply.Channel.Ref, is.Reply.Channel.Ref)
		c.same(field, "queue group", was.Bindings.NATS.Queue, is.Bindings.NATS.Queue)
		c.all(field, "message", was.Messages, is.Messages)
		c.all(field, "reply", was.Reply.Messages, is.Reply.Messages)
	})
	received := before.received()
	described := func(field string, was, is message) {
		c.same(field, "media type", was.ContentType, is.ContentType)
		c.same(field, "schema", was.Payload.Schema.Ref, is.Payload.Schema.Ref)
		c.all(field, "trait", was.Traits, is.Traits)
		c.input = received["#/"+strings.ReplaceAll(field, "components.messages.", "components/messages/")]
		c.headers(field+".headers", was.Headers, is.Headers)
	}
	each(c, "components.messages", "message", before.Components.Messages, after.Components.Messages, described)
	each(c, "components.messageTraits", "trait", before.Components.Traits, after.Components.Traits, described)
	return c.breaks, nil
}

// each compares what has the same name.
func each[T any](c *comparison, field, what string, before, after map[string]T, compare func(field string, was, is T)) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		is, ok := after[name]
		if !ok {
			c.report(field+"."+name, "the %s is gone", what)
			continue
		}
		compare(field+"."+name, before[name], is)
	}
}

func (c *comparison) same(field, what, was, is string) {
	if was != is {
		c.report(field, "its %s was %q and is %q", what, was, is)
	}
}

// all reports what a list has lost.
func (c *comparison) all(field, what string, was, is []pointer) {
	for _, p := range was {
		if !slices.Contains(is, p) {
			c.report(field, "its %s %s is gone", what, p.Ref)
		}
	}
}

// headers compares the schemas of a message's headers.
func (c *comparison) headers(field string, was, is map[string]any) {
	before, err := asJSON(was)
	after, err2 := asJSON(is)
	if err != nil || err2 != nil {
		c.report(field, "they are no schema: %v, %v", err, err2)
		return
	}
	if err := c.compare(field, before, after, nil); err != nil {
		c.report(field, "they are no schema: %v", err)
	}
}

// asJSON is a schema written in YAML as one read from JSON.
func asJSON(schema map[string]any) (node, error) {
	text, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return parse(text)
}

func address(c channel) string {
	if c.Address == nil {
		return ""
	}
	return *c.Address
}

// received returns the references of the messages that are sent to the service.
func (d asyncAPI) received() map[string]bool {
	all := map[string]bool{}
	for _, o := range d.Operations {
		if o.Action != "receive" {
			continue
		}
		for _, m := range d.Channels[strings.TrimPrefix(o.Channel.Ref, "#/channels/")].Messages {
			all[m.Ref] = true
		}
	}
	return all
}
