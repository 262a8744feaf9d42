package house

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// topLevel is all that may lie at the top of the repository, besides dot-files.
var topLevel = []string{
	"go.mod", "go.sum", "cmd", "internal", "events", "schemas", "deploy", "Dockerfile", "Makefile",
	"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
}

const (
	readmeLimit = 200 // lines: what one reads before deciding to try it
	fileLimit   = 450 // lines of a Go file: past that it holds two subjects
)

// unfinished is spelled so that it does not find itself.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)

func TestTopLevelHoldsOnlyWhatTheDesignNames(t *testing.T) {
	t.Parallel()
	for _, name := range strangers(repositoryFiles(t)) {
		t.Errorf("%s lies at the top of the repository; the top level is %s and dot-files", name, strings.Join(topLevel, " "))
	}
}

func TestReadmeIsShortEnoughToBeRead(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no README.md")
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := lines(text); n > readmeLimit {
		t.Errorf("README.md has %d lines, want at most %d: move detail to package docs", n, readmeLimit)
	}
}

func TestGoFilesHoldOneSubject(t *testing.T) {
	t.Parallel()
	for _, name := range repositoryFiles(t) {
		if filepath.Ext(name) != ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(text); n > fileLimit {
			t.Errorf("%s has %d lines, want at most %d", name, n, fileLimit)
		}
	}
}

func TestNothingIsMarkedUnfinished(t *testing.T) {
	t.Parallel()
	for _, name := range repositoryFiles(t) {
		if filepath.Base(name) == "go.sum" {
			continue // hashes spell any word
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, mark := range marks(text) {
			t.Errorf("%s:%s: finish it, or file an issue", name, mark)
		}
	}
}

func TestNoTestSleeps(t *testing.T) {
	t.Parallel()
	for _, nap := range naps(sources(t, os.DirFS(root))) {
		t.Error(nap)
	}
}

func TestTreeChecksReportViolations(t *testing.T) {
	t.Parallel()

	got := strangers([]string{".golangci.yml", "util/strings.go", "events/doc.go", "notes.txt", "util/time.go"})
	if want := []string{"notes.txt", "util"}; !slices.Equal(got, want) {
		t.Errorf("strangers at the top: %q, want %q", got, want)
	}

	got = marks([]byte("fine\n// TO" + "DO: later\nmethod\n"))
	if want := []string{"2: TO" + "DO"}; !slices.Equal(got, want) {
		t.Errorf("unfinished marks: %q, want %q", got, want)
	}
	if got := marks([]byte("\x00TO" + "DO")); got != nil {
		t.Errorf("unfinished marks in a binary file: %q, want none", got)
	}

	tree := fstest.MapFS{
		"internal/bus/late_test.go": {Data: []byte(`package bus
import t "time"
func TestLate() { t.Sleep(1) }`)},
		"internal/bus/bubble_test.go": {Data: []byte(`package bus
import ("testing/synctest"; "time")
func TestBubble() { synctest.Test(nil, func() { time.Sleep(1) }); time.Sleep(2) }`)},
		"internal/bus/bus.go": {Data: []byte(`package bus
import "time"
func wait() { time.Sleep(1) }`)},
	}
	got = naps(sources(t, tree))
	want := []string{
		"internal/bus/bubble_test.go:3: a test may not use time.Sleep outside a synctest bubble",
		"internal/bus/late_test.go:3: a test may not use time.Sleep outside a synctest bubble",
	}
	if !slices.Equal(got, want) {
		t.Errorf("naps:\n got %q\nwant %q", got, want)
	}
}

// repositoryFiles lists what git tracks and what it would offer to add, as
// paths from the top of the repository.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		t.Skip("this is no git checkout: which files belong to the repository is unknown")
	}
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing the repository's files: %v", err)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// A tracked file that was deleted is still listed, and a symbolic link
		// or a submodule has no text of its own.
		if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("git lists no file: the tree was checked against nothing")
	}
	return slices.Compact(names)
}

// strangers picks the names at the top level that have no place there.
func strangers(files []string) []string {
	var found []string
	for _, name := range files {
		top, _, _ := strings.Cut(name, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(topLevel, top) {
			found = append(found, top)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// marks finds the words that say something is unfinished, as "line: word".
func marks(text []byte) []string {
	if bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	var found []string
	for _, at := range unfinished.FindAllIndex(text, -1) {
		found = append(found, fmt.Sprintf("%d: %s", 1+bytes.Count(text[:at[0]], []byte("\n")), text[at[0]:at[1]]))
	}
	return found
}

// naps finds the tests that wait for the wall clock. Inside a synctest bubble
// time.Sleep moves a fake clock and waits for nothing.
func naps(files []source) []string {
	var found []string
	for _, f := range files {
		if !f.test {
			continue
		}
		bubble := func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return false
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Test" {
				return false
			}
			x, ok := sel.X.(*ast.Ident)
			return ok && x.Name == f.localName("testing/synctest")
		}
		for _, sel := range f.uses("time", map[string]bool{"Sleep": true}, bubble) {
			found = append(found, f.at(sel.Pos())+": a test may not use time.Sleep outside a synctest bubble")
		}
	}
	return found
}

func lines(text []byte) int {
	return bytes.Count(text, []byte("\n"))
}
