package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promises is the page that says what is promised.
const promises = "deploy/GUARANTEES.md"

var (
	namedTest    = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	declaredTest = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
)

// A promise must not outlive its proof.
func TestEveryPromiseNamesATestThatExists(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for _, name := range repositoryFiles(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declaredTest.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
	}
	page, err := os.ReadFile(filepath.Join(root, promises))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		named := namedTest.FindAllStringSubmatch(line, -1)
		if strings.HasPrefix(line, "| I") || strings.HasPrefix(line, "|  |") {
			rows++
			if len(named) == 0 {
				t.Errorf("%s: a promise without a test: %s", promises, line)
			}
		}
		for _, m := range named {
			if !there[m[1]] {
				t.Errorf("%s names %s, which is no test", promises, m[1])
			}
		}
	}
	if rows == 0 {
		t.Errorf("%s: no promise found; is the table of another form now?", promises)
	}
}
