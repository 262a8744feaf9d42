package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
)

func TestReadmeShowsTheSettingsThatTheCatalogPrints(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := run(t.Context(), []string{"catalog", "--config"}, envconfig.MapLookuper(nil), &table, io.Discard); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for row := range strings.Lines(table.String()) {
		if !strings.HasPrefix(row, "| `OTEL_") { // the names and meanings are OpenTelemetry's
			want.WriteString(row)
		}
	}
	if want := strings.TrimSpace(want.String()); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not show this table; paste it under Settings:\n%s", want)
	}
}

func TestReadmeShowsWhatComesOutAsTheCatalogHasIt(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range outOfStep(t, string(readme)) {
		t.Error(problem)
	}
}

// TestReadmeOutOfStepIsNamedWithItsRow edits copies.
func TestReadmeOutOfStepIsNamedWithItsRow(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, with, want string }{
		"a stream":                         {"| `MX_OAUTH` |", "| `MX_EVENTS` |", "row 2 of What comes out"},
		"a subject":                        {"| `mx.events.member.<type>", "| `mx.events.members.<type>", "row 1 of What comes out"},
		"per what":                         {"one event per change, never per read", "one event per read", "row 1 of What comes out"},
		"a row less":                       {"| `mx.oauth.", "`mx.oauth.", "row 2 of What comes out"},
		"a row more":                       {"| `mx.oauth.", "| `mx.x` | `MX_X` | x |\n| `mx.oauth.", "row 3 of What comes out"},
		"a type more":                      {"or `deleted`", "`renamed` or `deleted`", "renamed"},
		"a type less":                      {"`aggregated`, ", "", "aggregated"},
		"a status wrong":                   {"(`connected`, ", "(`linked`, ", "linked"},
		"an announcement among the events": {"or `deleted`", "`oauth_required` or `deleted`", "oauth_required"},
	} {
		edited := strings.Replace(string(readme), tc.old, tc.with, 1)
		problems := strings.Join(outOfStep(t, edited), "\n")
		if edited == string(readme) || !strings.Contains(problems, tc.want) {
			t.Errorf("%s: told %q, want %q", name, problems, tc.want)
		}
	}
}

var quoted = regexp.MustCompile("`([a-z_]+)`")

// outOfStep tells where the README's section on what comes out differs from the
// catalog: its table, and the types of events in the text below it.
func outOfStep(t *testing.T, readme string) (problems []string) {
	t.Helper()
	const title = "What comes out"
	_, section, ok := strings.Cut(readme, "\n## "+title+"\n")
	if !ok {
		t.Fatalf("README.md has no section %s", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var got []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want, types := comesOut(t)
	for i := range max(len(got), len(want)) {
		shown, due := "nothing", "nothing"
		if i < len(got) {
			shown = got[i]
		}
		if i < len(want) {
			due = want[i]
		}
		if shown != due {
			problems = append(problems, fmt.Sprintf("README.md: row %d of %s is\n%s\nwant\n%s", i+1, title, shown, due))
		}
	}
	_, text, _ := strings.Cut(section, "\n`<type>` is ")
	text, _, _ = strings.Cut(text, ": `memberwatch catalog`")
	var named []string
	for _, m := range quoted.FindAllStringSubmatch(text, -1) {
		if s := events.Status(strings.ToUpper(m[1])); !slices.Contains(events.Statuses(), s) { // statuses are there as examples
			named = append(named, m[1])
		}
	}
	if diff := cmp.Diff(types, named); diff != "" {
		problems = append(problems, "README.md: the types that are no status (-catalog +shown):\n"+diff)
	}
	return problems
}

// comesOut returns a row for each stream of events, and the types on the first of
// them that are not a status.
func comesOut(t *testing.T) (rows, types []string) {
	t.Helper()
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	var order []events.Stream
	on := map[events.Stream][]catalogEvent{}
	all := newContract(s).Events
	for e := range events.Types() {
		if !slices.Contains(order, e.Stream) {
			order = append(order, e.Stream)
		}
		row := slices.IndexFunc(all, func(c catalogEvent) bool { return c.Type == e.Type })
		on[e.Stream] = append(on[e.Stream], all[row])
		if e.Stream == events.StreamEvents && e.Status == "" {
			types = append(types, e.Type.Token())
		}
	}
	for _, stream := range order {
		subject := on[stream][0].Subject
		if len(on[stream]) > 1 {
			subject = strings.Replace(subject, "."+on[stream][0].Type.Token()+".", ".<type>.", 1)
		}
		name := strings.ToUpper(s.Prefix()) + "_" + string(stream)
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | %s |", subject, name, stream.What()))
	}
	return rows, types
}
