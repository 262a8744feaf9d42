package events_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
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
	for _, problem := range edited(t, goldenDir) {
		t.Error(problem)
	}
}

// edited tells what was done to the golden files in dir but adding some.
func edited(t *testing.T, dir string) (problems []string) {
	t.Helper()
	listed := digests(t, dir)
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			problems = append(problems, name+" was removed: what was once on the wire must go on decoding")
		case err != nil:
			t.Fatal(err)
		case digest(b) != listed[name]:
			problems = append(problems, name+" was edited: give the new form a name of its own; its SHA-256 is "+digest(b)+", DIGESTS says "+listed[name])
		}
	}
	for _, name := range goldenNames(t, dir) {
		if listed[name] == "" {
			problems = append(problems, name+" is not listed in DIGESTS; golden files are made by go test ./events -update")
		}
	}
	return problems
}

// TestEveryEditOfAGoldenFileIsToldWithItsName edits copies.
func TestEveryEditOfAGoldenFileIsToldWithItsName(t *testing.T) {
	t.Parallel()
	const name = "member.connected.json"
	for what, tc := range map[string]struct {
		edit func(dir string) error
		want string
	}{
		"a field renamed": {func(dir string) error {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, bytes.Replace(b, []byte(`"revision"`), []byte(`"version"`), 1), 0o600)
		}, name + " was edited"},
		"a space": {func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(" ")
			return errors.Join(err, f.Close())
		}, name + " was edited"},
		"a file removed": {func(dir string) error { return os.Remove(filepath.Join(dir, name)) }, name + " was removed"},
		"a file renamed": {func(dir string) error {
			return os.Rename(filepath.Join(dir, name), filepath.Join(dir, "member.linked.json"))
		}, "member.linked.json is not listed"},
		"a file added by hand": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "new.json"), nil, 0o600) }, "new.json is not listed"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "golden")
			if err := os.CopyFS(dir, os.DirFS(goldenDir)); err != nil {
				t.Fatal(err)
			}
			if problems := edited(t, dir); problems != nil {
				t.Fatalf("the copy is edited already: %q", problems)
			}
			if err := tc.edit(dir); err != nil {
				t.Fatal(err)
			}
			if problems := edited(t, dir); !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, tc.want) }) {
				t.Errorf("told %q, want %q", problems, tc.want)
			}
		})
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
	for name := range digests(t, goldenDir) {
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
				if strings.HasPrefix(name, events.CommandType+".of.") {
					c.User, c.Member = userGUID, memberGUID // as the subject says
				}
				if err := c.Validate(); err != nil {
					t.Errorf("Validate: %v", err)
				}
			case strings.HasPrefix(name, "api."):
				decodesAsItsAPIType(t, name, b)
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

// decodesAsItsAPIType reads a request or an answer of the micro service as the Go
// type it is of, and wants every field of the file to be one of that type.
func decodesAsItsAPIType(t *testing.T, name string, b []byte) {
	t.Helper()
	for prefix, v := range map[string]any{
		"api.refresh.request": &events.RefreshRequest{}, "api.refresh.response": &events.RefreshResponse{},
		"api.get.request": &events.GetRequest{}, "api.get.response": &events.GetResponse{},
		"api.oauth_uri.request": &events.OAuthURIRequest{}, "api.oauth_uri.response": &events.OAuthURIResponse{},
		"api.error": &events.APIError{},
	} {
		if !strings.HasPrefix(name, prefix+".") {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(v); err != nil {
			t.Fatal(err)
		}
		if r, ok := v.(interface{ Validate() error }); ok {
			if err := r.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
		}
		return
	}
	t.Errorf("%s is of no type", name)
}

func TestEveryTypeHasAGoldenFile(t *testing.T) {
	t.Parallel()
	listed := digests(t, goldenDir)
	for e := range events.Types() {
		if listed[string(e.Type)+".json"] == "" {
			t.Errorf("%s has no golden file: add its case to goldenEvents, then go test ./events -update", e.Type)
		}
	}
}

// appendGoldens writes the cases that DIGESTS does not list, and lists them.
func appendGoldens(t *testing.T) {
	t.Helper()
	listed := digests(t, goldenDir)
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
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "DIGESTS"))
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

func goldenNames(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
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
