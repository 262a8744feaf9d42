package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"testing"
)

// A source is one Go file of the module.
type source struct {
	path string // from the top of the repository, with slashes
	pkg  string // the directory: the package's path inside the module
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// at gives a position as file:line.
func (s source) at(pos token.Pos) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(pos).Line)
}

// sources parses every Go file of the module, whatever its build tags. It
// leaves out what the go command leaves out: testdata, vendor, directories that
// begin with a dot or an underscore, and nested modules.
func sources(t *testing.T, tree fs.FS) []source {
	t.Helper()
	var all []source
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
				return fs.SkipDir
			}
			if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{
			path: name,
			pkg:  path.Dir(name),
			test: strings.HasSuffix(base, "_test.go"),
			ast:  parsed,
			fset: fset,
		})
		return nil
	})
	if err != nil {
		t.Fatalf("reading the source tree: %v", err)
	}
	return all
}

// imports yields the path and the position of each import.
func (s source) imports(yield func(string, token.Pos) bool) {
	for _, spec := range s.ast.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			imported = spec.Path.Value
		}
		if !yield(imported, spec.Pos()) {
			return
		}
	}
}

// localName gives the name under which the file knows an imported package of
// the standard library, or "" when it does not import it.
func (s source) localName(imported string) string {
	for _, spec := range s.ast.Imports {
		if spec.Path.Value != strconv.Quote(imported) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}

// uses finds selectors such as time.Sleep below a node, by the package's path
// and any of the names. It does not look below the nodes that prune picks.
func (s source) uses(imported string, names map[string]bool, prune func(ast.Node) bool) []*ast.SelectorExpr {
	local := s.localName(imported)
	if local == "" {
		return nil
	}
	var found []*ast.SelectorExpr
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if n == nil || prune != nil && prune(n) {
			return false
		}
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && names[sel.Sel.Name] {
			found = append(found, sel)
		}
		return true
	})
	return found
}
