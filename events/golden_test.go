package events_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
)

var update = flag.Bool("update", false, "write the golden files that do not exist yet")

const goldenDir = "testdata/golden"

// A golden file is what this module once put on the wire, indented. Streams and
// consumers keep such bytes for years, so a file is never edited, only added:
// DIGESTS holds the SHA-256 of each, and -update writes only files that it does
// not list. When an encoding gains a field, its case gets a new name; the old
// file stays and must go on decoding.

func TestGoldenFilesAreNeverEdited(t *testing.T) {
	t.Parallel()
	listed := digests(t)
	for name, want := range listed {
		if got := digest(readGolden(t, name)); got != want {
			t.Errorf("%s was edited: its SHA-256 is %s, DIGESTS says %s", name, got, want)
		}
	}
	for _, name := range goldenNames(t) {
		if listed[name] == "" {
			t.Errorf("%s is not listed in DIGESTS; golden files are made by go test ./events -update", name)
		}
	}
}

func TestEncodingsMatchTheirGoldenFiles(t *testing.T) {
	if *update {
		appendGoldens(t)
	}
	t.Parallel()
	for name, b := range goldenCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(string(readGolden(t, name)), string(indent(t, b))); diff != "" {
				t.Errorf("encoding differs (-golden +now):\n%s", diff)
			}
		})
	}
}

func TestEveryGoldenFileDecodesForEver(t *testing.T) {
	t.Parallel()
	for name := range digests(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := readGolden(t, name)
			switch {
			case strings.HasPrefix(name, events.ResultType+"."):
				r, err := events.DecodeResult(b)
				if err != nil {
					t.Fatal(err)
				}
				if r.CommandID == "" || r.Outcome == "" || r.FinishedAt.IsZero() {
					t.Errorf("DecodeResult lost something: %+v", r)
				}
			case strings.HasPrefix(name, events.CommandType+"."):
				var c events.Command
				if err := json.Unmarshal(b, &c); err != nil {
					t.Fatal(err)
				}
				if err := c.Validate(); err != nil {
					t.Errorf("Validate: %v", err)
				}
			case strings.HasPrefix(name, "deadletter."):
				var d events.DeadLetter
				if err := json.Unmarshal(b, &d); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(events.Categories(), d.Category) {
					t.Errorf("category %q is not one of ours", d.Category)
				}
			default:
				e, err := events.Decode(b)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(name, string(e.Type)+".") {
					t.Errorf("type %s in file %s", e.Type, name)
				}
				if e.Data.Member.Missing != nil {
					t.Errorf("fields missing in the snapshot: %v", e.Data.Member.Missing)
				}
			}
		})
	}
}

func TestEveryTypeHasAGoldenFile(t *testing.T) {
	t.Parallel()
	listed := digests(t)
	for e := range events.Types() {
		if listed[string(e.Type)+".json"] == "" {
			t.Errorf("no golden file for %s", e.Type)
		}
	}
}

// appendGoldens writes the cases that DIGESTS does not list, and lists them.
func appendGoldens(t *testing.T) {
	t.Helper()
	listed := digests(t)
	cases := goldenCases(t)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		if listed[name] != "" {
			continue
		}
		b := indent(t, cases[name])
		if err := os.WriteFile(filepath.Join(goldenDir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
		listed[name] = digest(b)
		t.Logf("wrote %s", name)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		b.WriteString(listed[name] + "  " + name + "\n")
	}
	if err := os.WriteFile(filepath.Join(goldenDir, "DIGESTS"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// digests reads DIGESTS, which has the form that sha256sum -c reads.
func digests(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, "DIGESTS"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for line := range strings.Lines(string(b)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || len(sum) != 2*sha256.Size || listed[name] != "" {
			t.Fatalf("DIGESTS: bad line %q", line)
		}
		listed[name] = sum
	}
	return listed
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func goldenNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	return paths
}

func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func indent(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}
