package deploy_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table in METRICS.md")

// metric is one that the catalog lists.
type metric struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Help   string   `json:"help"`
	Labels []string `json:"labels"`
}

func catalog(t *testing.T) map[string]metric {
	t.Helper()
	var all []metric
	if err := json.Unmarshal([]byte(output(t, nil, filepath.Join(binaries, "memberwatch"), "catalog", "--metrics", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]metric)
	for _, m := range all {
		byName[m.Name] = m
	}
	return byName
}

func TestMetricsTableIsWhatTheCatalogPrints(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	table := output(t, nil, filepath.Join(binaries, "memberwatch"), "catalog", "--metrics")
	prose, _, _ := strings.Cut(string(text), "| Metric |")
	want := prose + table
	if *update {
		if err := os.WriteFile("METRICS.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("METRICS.md is not what the catalog prints; run go test ./deploy -run Metrics -update (-want +got):\n%s", diff)
	}
}

func TestWhatIsScrapedIsInTheCatalog(t *testing.T) {
	t.Parallel()
	known := catalog(t)
	exposition := tour(t)
	types := regexp.MustCompile(`(?m)^# TYPE (memberwatch_\S+) (\S+)$`).FindAllStringSubmatch(exposition, -1)
	if len(types) < 30 {
		t.Errorf("the service tells %d metrics only", len(types))
	}
	for _, m := range types {
		name, kind := m[1], m[2]
		if known[name].Type != kind {
			t.Errorf("%s is a %s; the catalog says %q", name, kind, known[name].Type)
		}
		sample := regexp.MustCompile(`(?m)^` + name + `(?:_bucket)?(?:\{([^}]*)\})? `).FindStringSubmatch(exposition)
		if sample == nil {
			t.Errorf("%s has no sample", name)
			continue
		}
		labels := []string{}
		for _, l := range matched.FindAllStringSubmatch(sample[1], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		want := slices.Sorted(slices.Values(known[name].Labels))
		if slices.Sort(labels); !slices.Equal(labels, want) {
			t.Errorf("%s has the labels %q; the catalog says %q", name, labels, want)
		}
		if !strings.Contains(exposition, "# HELP "+name+" "+known[name].Help+"\n") {
			t.Errorf("%s: its help is not the catalog's: %s", name, known[name].Help)
		}
	}
}

func TestNoLabelHoldsAnID(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(tour(t)) {
		if regexp.MustCompile(`USR-|MBR-|MX_[A-Z]+-[0-9]`).MatchString(line) {
			t.Errorf("there is an id in %s", line)
		}
	}
}
