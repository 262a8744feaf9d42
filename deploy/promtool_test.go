package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// promtool finds Prometheus' tool, or skips the test where there is none.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("REQUIRE_PROMTOOL") != "" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, for there is no promtool: the rules' own tests")
	}
	return path
}

func TestRulesDoWhatTheirTestsSay(t *testing.T) {
	t.Parallel()
	tool := promtool(t)
	output(t, nil, tool, "check", "rules", "prometheus/rules.yaml")
	output(t, nil, tool, "check", "config", "prometheus/prometheus.yaml")
	output(t, nil, tool, "test", "rules", "prometheus/rules_test.yaml")
}

func TestEveryAlertFiresInATest(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name string           `yaml:"alertname"`
				Want []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	read(t, "prometheus/rules_test.yaml", &file)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			if len(a.Want) > 0 {
				fires[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	for _, r := range readRules(t) {
		if r.Alert != "" && (!fires[r.Alert] || !silent[r.Alert]) {
			t.Errorf("%s: fires in a test %t, is silent in one %t", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}

// What Grafana puts in for its variables is put in here, and the queries are
// read as if they were rules.
func TestQueriesOfTheDashboardAreWellFormed(t *testing.T) {
	t.Parallel()
	tool := promtool(t)
	type query struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var queries []query
	for _, q := range dashboardQueries(t) {
		queries = append(queries, query{"panel:query", strings.ReplaceAll(q, "$job", ".*")})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []map[string]any{{"name": "dashboard", "rules": queries}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, nil, tool, "check", "rules", "--lint=none", file)
}
