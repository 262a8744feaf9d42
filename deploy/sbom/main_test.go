package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// The program that is described here is this test.
func TestEveryModuleOfAProgramIsListed(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run([]string{"-version", "v1.2.3", self}, out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs differ")
	}
	var b bom
	d := json.NewDecoder(&first)
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.Spec != "1.6" || b.Metadata.Component.Version != "v1.2.3" ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.Serial) {
		t.Errorf("head is %+v", b)
	}
	if len(b.Dependencies) != 1 || !slices.ContainsFunc(b.Dependencies[0].On, func(s string) bool { return strings.HasPrefix(s, "pkg:golang/std@1.") }) {
		t.Errorf("dependencies are %+v, without Go's library", b.Dependencies)
	}
}

func TestModulesAreNamedAsTheyWereBuilt(t *testing.T) {
	t.Parallel()
	got := parts(&debug.BuildInfo{GoVersion: "go1.26.0", Deps: []*debug.Module{
		{Path: "example.com/a", Version: "v1.0.0"},
		{Path: "example.com/b", Version: "v2.0.0+incompatible"},
		{Path: "example.com/c", Version: "v3.0.0", Replace: &debug.Module{Path: "example.com/d", Version: "v4.0.0"}},
	}})
	var purls []string
	for _, c := range got {
		purls = append(purls, c.PURL)
	}
	want := []string{
		"pkg:golang/std@1.26.0", "pkg:golang/example.com/a@v1.0.0",
		"pkg:golang/example.com/b@v2.0.0%2Bincompatible", "pkg:golang/example.com/d@v4.0.0",
	}
	if !slices.Equal(purls, want) {
		t.Errorf("modules are %q, want %q", purls, want)
	}
}

func TestWhatIsNoProgramOfGoIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"main.go"}, {"no such file"}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("sbom %q is no error", args)
		}
	}
}
