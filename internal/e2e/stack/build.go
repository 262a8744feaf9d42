package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Binaries are the programs of this module, built.
type Binaries struct {
	Memberwatch, MXSim string
	dir                string
}

// Build builds them into a directory of their own. Done once for all tests, it
// belongs into TestMain.
func Build() (Binaries, error) { return build() }

const module = "github.com/memberwatch/memberwatch"

// An Edit replaces all of Old, which must be there, by New in a file of this
// module, named from its top.
type Edit struct{ File, Old, New string }

// BuildEdited builds the programs as if the module's files had been edited.
func BuildEdited(edits ...Edit) (_ Binaries, err error) {
	dir, err := os.MkdirTemp("", "memberwatch-edited-")
	if err != nil {
		return Binaries{}, fmt.Errorf("making directory for edited files: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	top, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output() //nolint:noctx // go test's own time limit holds.
	if err != nil {
		return Binaries{}, fmt.Errorf("finding module: %w", err)
	}
	overlay := struct {
		Replace map[string]string `json:"Replace"` // the go command's name
	}{make(map[string]string)}
	for i, e := range edits {
		path := filepath.Join(strings.TrimSpace(string(top)), filepath.FromSlash(e.File))
		source := path
		if before, ok := overlay.Replace[path]; ok {
			source = before
		}
		text, err := os.ReadFile(source) //nolint:gosec // A file of our own.
		if err != nil {
			return Binaries{}, fmt.Errorf("editing: %w", err)
		}
		edited := strings.ReplaceAll(string(text), e.Old, e.New)
		if edited == string(text) {
			return Binaries{}, fmt.Errorf("editing %s: %q is not there", e.File, e.Old)
		}
		overlay.Replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(overlay.Replace[path], []byte(edited), 0o600); err != nil { //nolint:gosec // Into the directory made above.
			return Binaries{}, fmt.Errorf("editing: %w", err)
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return Binaries{}, fmt.Errorf("editing: %w", err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return Binaries{}, fmt.Errorf("editing: %w", err)
	}
	return build("-overlay", list)
}

func build(flags ...string) (Binaries, error) {
	dir, err := os.MkdirTemp("", "memberwatch-e2e-")
	if err != nil {
		return Binaries{}, fmt.Errorf("making directory for binaries: %w", err)
	}
	b := Binaries{dir: dir, Memberwatch: filepath.Join(dir, "memberwatch"), MXSim: filepath.Join(dir, "mxsim")}
	args := append([]string{"build", "-ldflags=-s -w", "-o", dir}, flags...)
	build := exec.Command("go", append(args, module+"/cmd/memberwatch", module+"/cmd/mxsim")...) //nolint:gosec,noctx // Our own packages; go test's own time limit holds.
	if out, err := build.CombinedOutput(); err != nil {
		b.Remove()
		return Binaries{}, fmt.Errorf("building programs: %w\n%s", err, out)
	}
	return b, nil
}

// Remove deletes the binaries.
func (b Binaries) Remove() { _ = os.RemoveAll(b.dir) }
