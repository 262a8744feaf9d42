package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The chart itself is tested in helm/charttest, a module of its own.
func TestChartUsesOnlySettingsThatExist(t *testing.T) {
	t.Parallel()
	var values struct{ Settings map[string]string }
	read(t, "helm/memberwatch/values.yaml", &values)
	text, err := os.ReadFile("helm/memberwatch/templates/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, m := range regexp.MustCompile(`name: ([A-Z][A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
		used = append(used, m[1])
	}
	if len(used) < 5 || len(values.Settings) < 3 {
		t.Fatalf("found only %q and %q", used, values.Settings)
	}
	for name := range values.Settings {
		used = append(used, name)
	}
	known := settings(t, "memberwatch", "catalog", "--config")
	for _, name := range used {
		if !slices.Contains(known, name) {
			t.Errorf("there is no setting %s", name)
		}
	}
}
