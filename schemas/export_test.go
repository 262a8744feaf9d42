package schemas_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/memberwatch/memberwatch/schemas"
)

func TestExportWritesTheWholeContract(t *testing.T) {
	t.Parallel()
	skipWhenUpdating(t)
	dir := filepath.Join(t.TempDir(), "contract")
	for range 2 { // over what is there
		written, err := schemas.Export(dir)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(schemas.All()) + 2; len(written) != want {
			t.Errorf("wrote %d files, want %d", len(written), want)
		}
		for _, path := range written {
			name, err := filepath.Rel(dir, path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if want, err := os.ReadFile(name); err != nil || string(got) != string(want) {
				t.Errorf("%s is not the file of this folder (%v)", name, err)
			}
		}
	}
	if string(schemas.AsyncAPI()) != readFile(t, schemas.AsyncAPIFile) {
		t.Error("AsyncAPI is another text than the file")
	}
}

func TestExportTellsWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := schemas.Export(file); err == nil {
		t.Error("exported into a file")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, schemas.AsyncAPIFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := schemas.Export(dir); err == nil {
		t.Error("exported over a directory")
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
