package compat_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/schemas"
	"github.com/memberwatch/memberwatch/schemas/compat"
)

var release = flag.Bool("release", false, "take over the present schemas, and the digests of the golden files, as the released ones")

// Where a release is kept, and what it is of.
var (
	releasedDir = filepath.Join("testdata", "released")
	digestsFile = filepath.Join("..", "..", "events", "testdata", "golden", digests)
)

const digests = "DIGESTS"

// TestNothingThatWasReleasedIsBroken is the check that every change of the
// contract has to pass. What it reports cannot be had within this major version.
func TestNothingThatWasReleasedIsBroken(t *testing.T) {
	if !*release { // others read what is written then
		t.Parallel()
	}
	for _, b := range broken(t, releasedDir, now(t)) {
		t.Error(b)
	}
	if *release && !t.Failed() {
		takeOver(t, releasedDir, now(t))
	}
}

// contract is what a release keeps.
type contract struct {
	schemas  map[string][]byte
	asyncAPI []byte
	digests  []byte // of the golden files
}

// now is the contract as it is in this module.
func now(t *testing.T) contract {
	t.Helper()
	return contract{present(), schemas.AsyncAPI(), readFile(t, digestsFile)}
}

// broken compares a release with what is to follow: the schemas, where messages
// are found, and the digests of the golden files, which are only added to.
func broken(t *testing.T, dir string, next contract) (problems []string) {
	t.Helper()
	breaks, err := compat.Check(releasedSchemas(t, dir), next.schemas, schemas.Inputs()...)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := compat.CheckAsyncAPI(schemas.AsyncAPIFile, readFile(t, filepath.Join(dir, schemas.AsyncAPIFile)), next.asyncAPI)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range append(breaks, moved...) {
		problems = append(problems, b.String())
	}
	for line := range strings.Lines(string(readFile(t, filepath.Join(dir, digests)))) {
		if !bytes.Contains(next.digests, []byte(line)) {
			_, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
			problems = append(problems, name+": the golden file is gone or another one")
		}
	}
	return problems
}

// takeOver makes a contract the released one.
func takeOver(t *testing.T, dir string, next contract) {
	t.Helper()
	files := map[string][]byte{schemas.AsyncAPIFile: next.asyncAPI, digests: next.digests}
	for name, text := range next.schemas {
		files[filepath.Join(schemas.Version, name)] = text
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReleaseMakesWhatWasAddedABreakToRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(releasedDir)); err != nil {
		t.Fatal(err)
	}
	before, next := now(t), now(t)
	next.digests = append(next.digests, strings.Repeat("0", 64)+"  member.quarantined.2.json\n"...)
	next.schemas["member.quarantined.json"] = []byte(`{"type":"object","properties":{"severity":{"type":"integer"}}}`)
	next.asyncAPI = bytes.Replace(next.asyncAPI, []byte("\nchannels:\n"), []byte("\nchannels:\n  member.quarantined:\n    address: mx.events.member.quarantined\n"), 1)
	if problems := broken(t, dir, next); problems != nil {
		t.Fatalf("what only adds breaks %q", problems)
	}
	takeOver(t, dir, next)
	if problems := broken(t, dir, next); problems != nil {
		t.Errorf("the release breaks itself: %q", problems)
	}
	want := []string{
		"member.quarantined.json: the schema is gone", "asyncapi.yaml: channels.member.quarantined: the channel is gone",
		"member.quarantined.2.json: the golden file is gone or another one",
	}
	if diff := cmp.Diff(want, broken(t, dir, before)); diff != "" {
		t.Errorf("without what was released (-want +got):\n%s", diff)
	}
	next.digests = bytes.Replace(next.digests, []byte("0000  member.quarantined.2"), []byte("0001  member.quarantined.2"), 1)
	if diff := cmp.Diff(want[2:], broken(t, dir, next)); diff != "" {
		t.Errorf("with an edited golden file and its digest (-want +got):\n%s", diff)
	}
}

func releasedSchemas(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, schemas.Version, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no released schemas in %s: %v", dir, err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		all[filepath.Base(path)] = readFile(t, path)
	}
	return all
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReleasedSchemasAreOfThisVersion(t *testing.T) {
	t.Parallel()
	for name, text := range releasedSchemas(t, releasedDir) {
		var head struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal(text, &head); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff("https://github.com/memberwatch/memberwatch/schemas/"+schemas.Version+"/"+name, head.ID); diff != "" {
			t.Errorf("$id of %s:\n%s", name, diff)
		}
	}
}
