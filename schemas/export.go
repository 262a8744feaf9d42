package schemas

import (
	_ "embed" // for the AsyncAPI document
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// AsyncAPIFile and ReadmeFile are the names of the two documents about all
// schemas.
const (
	AsyncAPIFile = "asyncapi.yaml"
	ReadmeFile   = "README.md"
)

//go:embed asyncapi.yaml
var asyncAPI []byte

//go:embed README.md
var readme []byte

// AsyncAPI returns the contract as an AsyncAPI 3.0 document in YAML: channels,
// operations, messages and security. It refers to the schemas by their path.
func AsyncAPI() []byte { return slices.Clone(asyncAPI) }

// Export writes the contract into a directory, which is created when it does not
// exist: asyncapi.yaml, README.md, and the schemas in v1. Files of these names are
// replaced, others stay. It returns the paths written.
func Export(dir string) ([]string, error) {
	files := []struct {
		name string
		text []byte
	}{{AsyncAPIFile, asyncAPI}, {ReadmeFile, readme}}
	for _, s := range All() {
		files = append(files, struct {
			name string
			text []byte
		}{filepath.Join(Version, s.Name), s.Bytes})
	}
	if err := os.MkdirAll(filepath.Join(dir, Version), 0o755); err != nil { //nolint:gosec // For others to read.
		return nil, fmt.Errorf("exporting schemas: %w", err)
	}
	var written []string
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, f.text, 0o644); err != nil { //nolint:gosec // For others to read.
			return written, fmt.Errorf("exporting schemas: %w", err)
		}
		written = append(written, path)
	}
	return written, nil
}
