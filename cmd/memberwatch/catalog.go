package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/settings"
	"github.com/memberwatch/memberwatch/schemas"
)

// contract is what the catalog shows: all of it derived from package events.
type contract struct {
	Events   []catalogEvent   `json:"events"`
	Subjects []catalogSubject `json:"subjects"`
	Requests []catalogRequest `json:"requests"`
}

type catalogEvent struct {
	Type    events.Type   `json:"type"`
	Status  events.Status `json:"status,omitempty"`
	Subject string        `json:"subject"`
	Schema  string        `json:"schema"`
	When    string        `json:"when"`
}

type catalogSubject struct {
	What    string `json:"what"`
	Stream  string `json:"stream,omitempty"` // none: core NATS
	Subject string `json:"subject"`
}

type catalogRequest struct {
	Subject string           `json:"subject"`
	Schema  string           `json:"schema"` // of what is asked
	Answer  string           `json:"answer"` // schema
	Codes   []events.APICode `json:"codes"`  // of refusals
	What    string           `json:"what"`
}

func (p *program) catalogCommand() *cobra.Command {
	var config, metrics, asJSON bool
	var export string
	c := &cobra.Command{
		Use:   "catalog",
		Short: "List event types, subjects, requests and schemas, or all settings or metrics",
		Long: `catalog prints what this version publishes and takes: every event type with its
subject and schema, and the subjects of everything else.

With --config it prints the settings as a Markdown table instead, with --metrics
the metrics. With --export it writes the contract into a directory: JSON Schemas, the AsyncAPI document and a
description of both. It prints the path of each file. What has the same name is replaced; other files stay, and
schemas among them that this version does not have are named on standard error.`,
		Example: `  memberwatch catalog
  memberwatch catalog --config
  memberwatch catalog --metrics
  memberwatch catalog --export ./memberwatch-contract
  memberwatch catalog --json | jq -r '.events[].type'`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if export != "" {
				return p.export(export)
			}
			if metrics {
				return p.metrics(asJSON)
			}
			return p.catalog(c.Context(), config, asJSON)
		},
	}
	c.Flags().BoolVar(&config, "config", false, "the settings")
	c.Flags().BoolVar(&metrics, "metrics", false, "the metrics")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	c.Flags().StringVar(&export, "export", "", "write schemas and AsyncAPI into this directory")
	c.MarkFlagsMutuallyExclusive("export", "config", "metrics")
	c.MarkFlagsMutuallyExclusive("export", "json")
	return c
}

// export writes the contract for people and programs that do not read Go.
func (p *program) export(dir string) error {
	written, err := schemas.Export(dir)
	for _, path := range written {
		fmt.Fprintln(p.stdout, path)
	}
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	// Whoever generates code from the directory takes all that is there.
	there, err := os.ReadDir(filepath.Join(dir, schemas.Version))
	if err != nil {
		return fmt.Errorf("looking for other schemas: %w", err)
	}
	for _, file := range there {
		if path := filepath.Join(dir, schemas.Version, file.Name()); !slices.Contains(written, path) {
			fmt.Fprintf(p.stderr, "left as it is, not of this version: %s\n", path)
		}
	}
	return nil
}

func (p *program) metrics(asJSON bool) error {
	all := allMetrics()
	if asJSON {
		return p.printJSON(all)
	}
	p.printMetrics(all)
	return nil
}

func (p *program) catalog(ctx context.Context, showConfig, asJSON bool) error {
	if showConfig {
		all := settings.Of(new(config).parts()...)
		if asJSON {
			return p.printJSON(all)
		}
		p.printSettings(all)
		return nil
	}
	c, err := p.busConfig(ctx)
	if err != nil {
		return err
	}
	subjects, err := events.NewSubjects(c.SubjectPrefix)
	if err != nil {
		return usagef("SUBJECT_PREFIX: %w", err)
	}
	all := newContract(subjects)
	if asJSON {
		return p.printJSON(all)
	}
	p.printContract(all)
	return nil
}

func newContract(s events.Subjects) contract {
	named := func(filter string) string { // the filters end in user and member
		return strings.TrimSuffix(filter, ".*.*") + ".<user_guid>.<member_guid>"
	}
	var c contract
	for e := range events.Types() {
		subject := named(s.OAuth())
		if e.Stream == events.StreamEvents {
			subject = named(filters(s.Events(), []string{e.Type.Token()}, "", "")[0])
		}
		c.Events = append(c.Events, catalogEvent{e.Type, e.Status, subject, e.Type.SchemaID(), e.When})
	}
	c.Subjects = []catalogSubject{
		{"refresh commands", s.CommandStream(), s.Refresh()},
		{"refresh commands without a body", s.CommandStream(), s.Refresh() + ".<user>.<member>"},
		{"events", s.EventStream(), s.Events()},
		{"announcements with OAuth URIs", s.OAuthStream(), s.OAuth()},
		{"results of commands", "", s.Result("<command_id>")},
		{"dead letters", s.DeadLetterStream(), s.DeadLetters()},
		{"scheduled reads, for workers only", s.BackgroundStream(), s.Background()},
	}
	for _, e := range events.Endpoints() {
		c.Requests = append(c.Requests, catalogRequest{
			s.API(e.Name), schemaID(schemas.APIRequest(e.Name)), schemaID(schemas.APIResponse(e.Name)), e.Codes, e.What,
		})
	}
	return c
}

// schemaID is the id of the schema in a file that there is.
func schemaID(name string) string {
	s, err := schemas.ByName(name)
	if err != nil {
		panic(err)
	}
	return s.ID
}

func (p *program) printContract(c contract) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TYPE\tSUBJECT\tSCHEMA")
	for _, e := range c.Events {
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.Type, e.Subject, e.Schema)
	}
	fmt.Fprintln(w, "\nWHAT\tSUBJECT\tSTREAM")
	for _, s := range c.Subjects {
		stream := s.Stream
		if stream == "" {
			stream = "none: core NATS"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.What, s.Subject, stream)
	}
	fmt.Fprintln(w, "\nREQUEST\tSCHEMA\tANSWER\tREFUSED WITH")
	for _, r := range c.Requests {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Subject, r.Schema, r.Answer, strings.Trim(fmt.Sprint(r.Codes), "[]"))
	}
	fmt.Fprintln(w, "\nREQUEST\tWHAT")
	for _, r := range c.Requests {
		fmt.Fprintf(w, "%s\t%s\n", r.Subject, r.What)
	}
	fmt.Fprintln(w, "\nTYPE\tWHEN")
	for _, e := range c.Events {
		fmt.Fprintf(w, "%s\t%s\n", e.Type, e.When)
	}
	_ = w.Flush() // Output for a person.
}

// printSettings writes the table that the README shows.
func (p *program) printSettings(all []settings.Setting) {
	fmt.Fprint(p.stdout, "| Setting | Default | Meaning |\n|---|---|---|\n")
	for _, s := range all {
		value := ""
		if s.Default != "" && !s.Secret {
			value = "`" + s.Default + "`"
		}
		fmt.Fprintf(p.stdout, "| `%s` | %s | %s |\n", s.Name, value, strings.ReplaceAll(s.Meaning, "|", `\|`))
	}
}

func (p *program) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("printing JSON: %w", err)
	}
	return nil
}
