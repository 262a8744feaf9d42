package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

const (
	scripts   = "../js"
	schemaDir = "../../../schemas/v1"
	goldenDir = "../../../events/testdata/golden"
)

// nodeTime bounds a program of ours in JavaScript; it ends a broken one only.
const nodeTime = 2 * time.Minute

// binaries are the programs of this module, built once for all tests.
var binaries stack.Binaries

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if binaries, err = stack.Build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer binaries.Remove()
		return m.Run()
	}())
}

// packages installs the JavaScript packages, once, and says why it cannot.
var packages = sync.OnceValue(func() error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s: not installed", program)
		}
	}
	lock, err := os.ReadFile(filepath.Join(scripts, "package-lock.json"))
	if err != nil {
		return err
	}
	// What was installed is noted beside it, so that the next run need not ask the registry.
	installed := filepath.Join(scripts, "node_modules", ".installed")
	sum := fmt.Sprintf("%x", sha256.Sum256(lock))
	if have, err := os.ReadFile(installed); err == nil && string(have) == sum {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = scripts
	out, err := npm.CombinedOutput()
	if err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if bytes.Contains(out, []byte("EBADENGINE")) {
		return fmt.Errorf("this Node.js is of a version that not all packages support:\n%s", out)
	}
	return os.WriteFile(installed, []byte(sum), 0o600)
})

// needNode skips the test where there is no JavaScript, or fails it where there must be.
func needNode(t *testing.T) {
	t.Helper()
	if err := packages(); err != nil {
		if os.Getenv("REQUIRE_NODE") != "" {
			t.Fatalf("REQUIRE_NODE is set: %v", err)
		}
		t.Skipf("SKIPPED, nothing was read by JavaScript: %v", err)
	}
}

// node runs one of our programs and returns what it prints, a JSON value a line.
func node[T any](t *testing.T, script string, args ...string) []T {
	t.Helper()
	needNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), nodeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{script}, args...)...)
	cmd.Dir = scripts
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s%s", script, err, out, stderr.String())
	}
	var values []T
	for line := range strings.Lines(string(out)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("node %s printed %q: %v", script, line, err)
		}
		values = append(values, v)
	}
	return values
}

// absolute is a path that holds in any directory.
func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
