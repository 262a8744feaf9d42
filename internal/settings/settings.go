// Package settings reads the environment into the configurations that packages
// declare, with go-envconfig, and names every variable that cannot be read at once.
//
// A configuration is a struct whose fields say their variable, its default and its
// meaning: `env:"NAME, default=VALUE" desc:"Meaning."`. A field of a type that is a
// [slog.LogValuer] is a secret, whose value is never shown: nothing else has need to
// hide what a log says of it.
package settings

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"
)

// Setting is one variable of the environment, as a field of a configuration declares it.
type Setting struct {
	Name    string `json:"name"`
	Default string `json:"default"`
	Meaning string `json:"meaning"`
	Secret  bool   `json:"secret"` // its value is never shown

	form reflect.Type
}

// Of lists the variables that configure parts, pointers to structs.
func Of(parts ...any) []Setting {
	var all []Setting
	for _, part := range parts {
		for f := range reflect.TypeOf(part).Elem().Fields() {
			tag, ok := f.Tag.Lookup("env")
			if !ok {
				continue
			}
			name, options, _ := strings.Cut(tag, ",")
			_, value, _ := strings.Cut(options, "default=")
			all = append(all, Setting{
				Name: name, Default: value, Meaning: f.Tag.Get("desc"),
				Secret: f.Type.Implements(reflect.TypeFor[slog.LogValuer]()), form: f.Type,
			})
		}
	}
	return all
}

// Read fills parts from env and returns what cannot be read, each
// problem naming its variable. The library stops at the first one and names
// the field instead, so every variable is tried on its own beforehand; one that
// cannot be read then counts as not set.
func Read(ctx context.Context, env envconfig.Lookuper, parts ...any) []error {
	env = Given(env)
	var problems []error
	var bad []string
	for _, part := range parts {
		for _, s := range Of(part) {
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
func (s Setting) unreadable(value string) error {
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
	case s.form.Kind() == reflect.Uint64:
		form = "a whole number from 0 on"
	}
	if s.Secret {
		return fmt.Errorf("%s: is not %s", s.Name, form)
	}
	return fmt.Errorf("%s: %.40q is not %s", s.Name, value, form)
}

// Given returns env without the variables that are empty.
func Given(env envconfig.Lookuper) envconfig.Lookuper { return given{env, nil} }

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
