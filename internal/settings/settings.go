package main

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// setting is one variable of the environment, as a field of a configuration
// declares it: `env:"NAME, default=VALUE" desc:"Meaning."`.
type setting struct {
	Name    string `json:"name"`
	Default string `json:"default"`
	Meaning string `json:"meaning"`
	Secret  bool   `json:"secret"` // its value is never shown

	form reflect.Type
}

// settings lists the variables that configure parts, pointers to structs.
func settings(parts ...any) []setting {
	secrets := []reflect.Type{reflect.TypeFor[mx.Secret](), reflect.TypeFor[webhook.Secret](), reflect.TypeFor[observe.Secret]()}
	var all []setting
	for _, part := range parts {
		for f := range reflect.TypeOf(part).Elem().Fields() {
			tag, ok := f.Tag.Lookup("env")
			if !ok {
				continue
			}
			name, options, _ := strings.Cut(tag, ",")
			_, value, _ := strings.Cut(options, "default=")
			all = append(all, setting{
				Name: name, Default: value, Meaning: f.Tag.Get("desc"),
				Secret: slices.Contains(secrets, f.Type), form: f.Type,
			})
		}
	}
	return all
}

// readSettings fills parts from env and returns what cannot be read, each
// problem naming its variable. The library stops at the first one and names
// the field instead, so every variable is tried on its own beforehand; one that
// cannot be read then counts as not set.
func readSettings(ctx context.Context, env envconfig.Lookuper, parts ...any) []error {
	env = given{env, nil}
	var problems []error
	var bad []string
	for _, part := range parts {
		for _, s := range settings(part) {
			scratch := reflect.New(reflect.TypeOf(part).Elem()).Interface()
			one := &envconfig.Config{Target: scratch, Lookuper: only{env, s.Name}}
			if err := envconfig.ProcessWith(ctx, one); err != nil {
				value, _ := env.Lookup(s.Name)
				problems = append(problems, s.unreadable(value))
				bad = append(bad, s.Name)
			}
		}
		if err := envconfig.ProcessWith(ctx, &envconfig.Config{Target: part, Lookuper: given{env, bad}}); err != nil {
			problems = append(problems, err) // Unreachable: each was tried.
		}
	}
	return problems
}

// unreadable says what a value should look like. The value of a secret is not repeated.
func (s setting) unreadable(value string) error {
	form := "a text"
	switch {
	case s.form == reflect.TypeFor[time.Duration]():
		form = "a duration such as " + cmp.Or(s.Default, "10s")
	case s.form.Kind() == reflect.Bool:
		form = "true or false"
	case s.form.Kind() == reflect.Float64:
		form = "a number"
	case s.form.Kind() == reflect.Int, s.form.Kind() == reflect.Int64:
		form = "a whole number"
	}
	if s.Secret {
		return fmt.Errorf("%s: is not %s", s.Name, form)
	}
	return fmt.Errorf("%s: %.40q is not %s", s.Name, value, form)
}

// given is an environment in which an empty variable is not set, as a compose
// file or a chart writes one that nobody filled in; nor are those in without.
type given struct {
	envconfig.Lookuper
	without []string
}

// Lookup implements envconfig.Lookuper.
func (g given) Lookup(name string) (string, bool) {
	if slices.Contains(g.without, name) {
		return "", false
	}
	v, ok := g.Lookuper.Lookup(name)
	return v, ok && v != ""
}

// only is an environment that has no other variable.
type only struct {
	envconfig.Lookuper
	name string
}

// Lookup implements envconfig.Lookuper.
func (o only) Lookup(name string) (string, bool) {
	if name != o.name {
		return "", false
	}
	return o.Lookuper.Lookup(name)
}
