package house

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// root is the top of the repository, seen from this package.
const root = "../.."

// clock are the functions of package time that read the clock or wait for it.
var clock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true,
	"AfterFunc": true, "Tick": true, "NewTicker": true, "NewTimer": true,
}

func TestEveryPackageImportsOnlyWhatTheMapAllows(t *testing.T) {
	t.Parallel()
	files := sources(t, os.DirFS(root))
	if len(files) == 0 {
		t.Fatal("found no Go file: the map was checked against nothing")
	}
	for _, violation := range violations(files) {
		t.Error(violation)
	}
}

func TestCheckerReportsEachKindOfViolation(t *testing.T) {
	t.Parallel()
	ours := func(pkg string) string { return module + "/" + pkg }
	for name, tc := range map[string]struct {
		file, source string
		want         []string
	}{
		"a package that is not on the map": {
			"internal/common/common.go", `package common`,
			[]string{"internal/common/common.go:1: package internal/common is not on the import map (internal/house/map_test.go)"},
		},
		"a package below one that is on the map": {
			"internal/mx/retry/retry.go", `package retry`,
			[]string{"internal/mx/retry/retry.go:1: package internal/mx/retry is not on the import map (internal/house/map_test.go)"},
		},
		"a package whose name begins like a subtree": {
			"eventsourcing/doc.go", `package eventsourcing`,
			[]string{"eventsourcing/doc.go:1: package eventsourcing is not on the import map (internal/house/map_test.go)"},
		},
		"a package of ours against the direction": {
			"internal/mx/client.go", importing("mx", ours("internal/refresh")),
			[]string{"internal/mx/client.go:2: internal/mx may not import internal/refresh"},
		},
		"the bus learning about members": {
			"internal/bus/publish.go", importing("bus", ours("internal/refresh"), ours("internal/member")),
			[]string{"internal/bus/publish.go:3: internal/bus may not import internal/member"},
		},
		"the public contract importing a client library": {
			"events/publish.go", importing("events", "github.com/cloudevents/sdk-go/v2/event", "github.com/nats-io/nats.go"),
			[]string{"events/publish.go:3: events may not import github.com/nats-io/nats.go"},
		},
		"the public contract importing the whole CloudEvents SDK": {
			"events/parse.go", importing("events", "github.com/cloudevents/sdk-go/v2"),
			[]string{"events/parse.go:2: events may not import github.com/cloudevents/sdk-go/v2"},
		},
		"NATS outside the bus": {
			"internal/refresh/run.go", importing("refresh", "github.com/nats-io/nats.go/jetstream"),
			[]string{"internal/refresh/run.go:2: internal/refresh may not import github.com/nats-io/nats.go/jetstream"},
		},
		"NATS behind a build tag": {
			"internal/webhook/nats.go", "//go:build windows\n\n" + importing("webhook", "github.com/nats-io/nats.go"),
			[]string{"internal/webhook/nats.go:4: internal/webhook may not import github.com/nats-io/nats.go"},
		},
		"the core doing I/O": {
			"internal/member/member.go", importing("member", "context", "net/http", "time"),
			[]string{
				"internal/member/member.go:2: internal/member may not import context",
				"internal/member/member.go:3: internal/member may not import net/http",
			},
		},
		"the core reading the clock": {
			"internal/member/event.go", "package member\nimport clock \"time\"\nvar started = clock.Now()",
			[]string{"internal/member/event.go:3: internal/member may not use time.Now: it is told the time"},
		},
		"the simulator sharing the client's reading of MX": {
			"internal/mx/mxsim/sim.go", importing("mxsim", ours("internal/mx")),
			[]string{"internal/mx/mxsim/sim.go:2: internal/mx/mxsim may not import internal/mx"},
		},
		"the oracle's test asking the accused": {
			"internal/oracle/oracle_test.go", importing("oracle", ours("internal/member")),
			[]string{"internal/oracle/oracle_test.go:2: internal/oracle may not import internal/member"},
		},
		"a dot import": {
			"internal/refresh/run.go", "package refresh\nimport . \"" + ours("internal/bus") + "\"",
			[]string{"internal/refresh/run.go:2: internal/refresh may not import internal/bus"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := fstest.MapFS{tc.file: {Data: []byte(tc.source)}}
			if diff := cmp.Diff(tc.want, violations(sources(t, tree))); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckerAllowsWhatTheMapAllows(t *testing.T) {
	t.Parallel()
	ours := func(pkg string) string { return module + "/" + pkg }
	for name, tc := range map[string]struct{ file, source string }{
		"an adapter importing the use case": {
			"internal/bus/state.go", importing("bus", ours("internal/refresh"), "github.com/nats-io/nats.go/jetstream"),
		},
		"the core using the types of package time": {
			"internal/member/member.go", "package member\nimport \"time\"\ntype Seen struct { At time.Time }",
		},
		"the kit for consumers importing NATS": {
			"events/consume/consume.go", importing("consume", ours("events"), "github.com/nats-io/nats.go"),
		},
		"a test using a real server": {
			"internal/refresh/run_test.go", importing("refresh", ours("internal/bus/embedded"), "github.com/nats-io/nats.go"),
		},
		"a module of its own": {
			"internal/tools/lint/lint.go", importing("lint", ours("internal/bus")),
		},
		"what lies in testdata": {
			"internal/mx/testdata/sample.go", importing("sample", ours("internal/bus")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := fstest.MapFS{
				tc.file:                 {Data: []byte(tc.source)},
				"internal/tools/go.mod": {Data: []byte("module nested")},
			}
			if got := violations(sources(t, tree)); got != nil {
				t.Errorf("violations: %q, want none", got)
			}
		})
	}
}

// importing writes a file that imports each path on a line of its own, from the
// second line on.
func importing(pkg string, paths ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\n", pkg)
	for _, p := range paths {
		fmt.Fprintf(&b, "import %q\n", p)
	}
	return b.String()
}

// violations holds files against the map. It reports each package that is not on
// the map once, and every import that its rule or a guard forbids.
func violations(files []source) []string {
	var found []string
	unmapped := map[string]bool{}
	for _, f := range files {
		r, ok := ruleFor(f.pkg)
		if !ok {
			if !unmapped[f.pkg] {
				unmapped[f.pkg] = true
				found = append(found, fmt.Sprintf("%s: package %s is not on the import map (internal/house/map_test.go)",
					f.at(f.ast.Package), f.pkg))
			}
			continue
		}
		for imported, pos := range f.imports {
			if !r.allows(f, imported) {
				found = append(found, fmt.Sprintf("%s: %s may not import %s",
					f.at(pos), f.pkg, strings.TrimPrefix(imported, module+"/")))
			}
		}
		if r.timeless && !f.test {
			for _, sel := range f.uses("time", clock, nil) {
				found = append(found, fmt.Sprintf("%s: %s may not use time.%s: it is told the time",
					f.at(sel.Pos()), f.pkg, sel.Sel.Name))
			}
		}
	}
	return found
}

// ruleFor finds the rule for a package: its own, else that of the subtree
// around it.
func ruleFor(pkg string) (rule, bool) {
	i := slices.IndexFunc(rules, func(r rule) bool { return r.pkg == pkg })
	if i < 0 {
		i = slices.IndexFunc(rules, func(r rule) bool { return covers(r.pkg, pkg) })
	}
	if i < 0 {
		return rule{}, false
	}
	return rules[i], true
}

// allows says whether a file of the rule's package may import a path.
func (r rule) allows(f source, imported string) bool {
	inside, isOurs := strings.CutPrefix(imported, module+"/")
	if coveredByAny(r.never, inside) {
		return false
	}
	switch {
	case f.test:
		return true
	case isOurs:
		return coveredByAny(r.ours, inside)
	case isStandard(imported):
		return !coveredByAny(r.not, imported)
	}
	for _, g := range guards {
		if covers(g.imports, imported) && !coveredByAny(g.by, f.pkg) {
			return false
		}
	}
	return r.only == nil || coveredByAny(r.only, imported)
}

// covers says whether a name of the map stands for a path.
func covers(pattern, path string) bool {
	base, subtree := strings.CutSuffix(pattern, "/...")
	return path == base || subtree && strings.HasPrefix(path, base+"/")
}

func coveredByAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, path) })
}

// isStandard uses what the go command promises: a path outside the standard
// library has a dot in its first element.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}
