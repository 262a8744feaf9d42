package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the programs of this module, built.
type Binaries struct {
	Memberwatch, MXSim string
	dir                string
}

// Build builds them into a directory of their own. Done once for all tests, it
// belongs into TestMain.
func Build() (Binaries, error) {
	dir, err := os.MkdirTemp("", "memberwatch-e2e-")
	if err != nil {
		return Binaries{}, fmt.Errorf("making directory for binaries: %w", err)
	}
	b := Binaries{dir: dir, Memberwatch: filepath.Join(dir, "memberwatch"), MXSim: filepath.Join(dir, "mxsim")}
	const module = "github.com/memberwatch/memberwatch"
	build := exec.Command("go", "build", "-o", dir, module+"/cmd/memberwatch", module+"/cmd/mxsim") //nolint:gosec,noctx // Our own packages; go test's own time limit holds.
	if out, err := build.CombinedOutput(); err != nil {
		b.Remove()
		return Binaries{}, fmt.Errorf("building programs: %w\n%s", err, out)
	}
	return b, nil
}

// Remove deletes the binaries.
func (b Binaries) Remove() { _ = os.RemoveAll(b.dir) }
