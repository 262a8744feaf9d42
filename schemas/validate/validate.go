// Package validate holds messages against the schemas in [schemas]. It is apart
// from them so that a program which only wants the texts does not carry a JSON
// Schema implementation with it.
//
// It is stricter than a consumer may be: it asserts formats, and it wants an event
// of a known type to be that type's schema and not only an event. It loads
// nothing from the network.
package validate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas"
)

// ErrInvalid is wrapped by errors about a message that does not match its
// schema. The text names the place in the message and the rule.
var ErrInvalid = errors.New("message does not match its schema")

// Validator checks messages. It is safe for concurrent use.
type Validator struct {
	byName map[string]*jsonschema.Schema
}

// New compiles every schema.
func New() (*Validator, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(nowhere{})
	all := schemas.All()
	for _, s := range all {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(s.Bytes))
		if err != nil {
			return nil, fmt.Errorf("reading schema %s: %w", s.Name, err)
		}
		if err := c.AddResource(s.ID, doc); err != nil {
			return nil, fmt.Errorf("adding schema %s: %w", s.Name, err)
		}
	}
	v := &Validator{byName: make(map[string]*jsonschema.Schema, len(all))}
	for _, s := range all {
		compiled, err := c.Compile(s.ID)
		if err != nil {
			return nil, fmt.Errorf("compiling schema %s: %w", s.Name, err)
		}
		v.byName[s.Name] = compiled
	}
	return v, nil
}

// nowhere is the loader of a compiler that has been given all it needs.
type nowhere struct{}

// Load refuses.
func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("schema %s is not one of ours", url)
}

// Event checks a structured CloudEvent about a member against the schema of its
// type, or that of member events in general when the type is not in the
// catalog.
func (v *Validator) Event(raw []byte) error {
	var envelope struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return fmt.Errorf("%w: reading type: %w", ErrInvalid, err)
	}
	return v.check(schemaOf(envelope.Type), raw)
}

// schemaOf names the schema for a CloudEvents type, whatever stands in front of it.
func schemaOf(ceType string) string {
	for e := range events.Types() {
		if ceType == string(e.Type) || strings.HasSuffix(ceType, "."+string(e.Type)) {
			return string(e.Type) + ".json"
		}
	}
	return schemas.Event
}

// Command checks the body of a refresh command.
func (v *Validator) Command(raw []byte) error { return v.check(schemas.Command, raw) }

// CommandOf checks the body of a refresh command whose subject names the member. That
// there may be none at all is for the caller to know.
func (v *Validator) CommandOf(raw []byte) error { return v.check(schemas.CommandOf, raw) }

// Result checks the result of a refresh command, a structured CloudEvent.
func (v *Validator) Result(raw []byte) error { return v.check(schemas.Result, raw) }

// DeadLetter checks a dead letter.
func (v *Validator) DeadLetter(raw []byte) error { return v.check(schemas.DeadLetter, raw) }

// APIRequest checks a request to an endpoint of the micro service, such as
// [events.APIGet].
func (v *Validator) APIRequest(endpoint string, raw []byte) error {
	return v.check(schemas.APIRequest(endpoint), raw)
}

// APIResponse checks what an endpoint answers with when it serves a request.
func (v *Validator) APIResponse(endpoint string, raw []byte) error {
	return v.check(schemas.APIResponse(endpoint), raw)
}

// APIError checks the body of an answer that is an error.
func (v *Validator) APIError(raw []byte) error { return v.check(schemas.APIError, raw) }

func (v *Validator) check(name string, raw []byte) error {
	message, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrInvalid, name, err)
	}
	schema, ok := v.byName[name]
	if !ok {
		return fmt.Errorf("%w: there is no schema %s", ErrInvalid, name)
	}
	if err := schema.Validate(message); err != nil {
		return fmt.Errorf("%w %s: %w", ErrInvalid, name, err)
	}
	return nil
}
