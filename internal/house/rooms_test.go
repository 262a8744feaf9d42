package house

import (
	"os"
	"path"
	"regexp"
	"slices"
	"testing"
)

var fileName = regexp.MustCompile(`[a-z0-9_*]+\.go\b`)

// A list of a package's files is of use only while it is whole: a package comment
// names no file that is not there, and one that names more than half of the files
// names them all. A name with a star stands for all that it matches.
func TestPackageCommentsNameTheFilesThatAreThere(t *testing.T) {
	t.Parallel()
	all := make(map[string][]string)   // files of each package
	code := make(map[string][]string)  // those that a list is of
	names := make(map[string][]string) // in its comment
	for _, s := range sources(t, os.DirFS(root)) {
		file := path.Base(s.path)
		all[s.pkg] = append(all[s.pkg], file)
		if !s.test && file != "doc.go" && file != "main.go" {
			code[s.pkg] = append(code[s.pkg], file)
		}
		if !s.test && s.ast.Doc != nil {
			names[s.pkg] = append(names[s.pkg], fileName.FindAllString(s.ast.Doc.Text(), -1)...)
		}
	}
	if len(names["internal/refresh"]) == 0 {
		t.Fatal("the comment of package refresh, which lists its files, was not found")
	}
	for pkg := range names {
		stands := func(name, file string) bool { ok, err := path.Match(name, file); return ok && err == nil }
		for _, name := range names[pkg] {
			if !slices.ContainsFunc(all[pkg], func(file string) bool { return stands(name, file) }) {
				t.Errorf("%s: the package comment names %s, which is not there", pkg, name)
			}
		}
		missing := slices.DeleteFunc(slices.Clone(code[pkg]), func(file string) bool {
			return slices.ContainsFunc(names[pkg], func(name string) bool { return stands(name, file) })
		})
		if 2*len(missing) < len(code[pkg]) && len(missing) > 0 {
			t.Errorf("%s: the package comment lists files, but not %v", pkg, missing)
		}
	}
}
