package interop

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/memberwatch/memberwatch/events"
)

const readme = "../../../README.md"

// devNATS is where memberwatch dev has its NATS, as the section says.
const devNATS = "127.0.0.1:4222"

// subscribeSection returns the code in the README's section on subscribing, by
// language, with another address in place of that of memberwatch dev.
func subscribeSection(t *testing.T, language, url string) string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Subscribe\n")
	if !ok {
		t.Fatal("README.md has no section Subscribe")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	_, code, ok := strings.Cut(section, "\n```"+language+"\n")
	if !ok {
		t.Fatalf("the section has no code in %s", language)
	}
	code, _, ok = strings.Cut(code, "\n```")
	if !ok || !strings.Contains(code, devNATS) {
		t.Fatalf("the code in %s does not end, or does not connect to %s", language, devNATS)
	}
	return strings.ReplaceAll(code, devNATS, strings.TrimPrefix(url, "nats://"))
}

func TestSubscribeInGoWorksAsPasted(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	main := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(main, []byte(subscribeSection(t, "go", i.url)), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "subscribe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, main)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	follows(t, i, exec.Command(program))
}

func TestSubscribeInJavaScriptWorksAsPasted(t *testing.T) {
	t.Parallel()
	needNode(t)
	i := newInstallation(t)
	dir := t.TempDir()
	if err := os.Symlink(absolute(t, filepath.Join(scripts, "node_modules")), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "subscribe.mjs")
	if err := os.WriteFile(script, []byte(subscribeSection(t, "js", i.url)), 0o600); err != nil {
		t.Fatal(err)
	}
	follows(t, i, exec.Command("node", script))
}

// follows runs a program and checks that it tells of events: of those that were
// there, and of one that comes while it runs.
func follows(t *testing.T, i *installation, program *exec.Cmd) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), nodeTime)
	defer cancel()
	text, err := os.ReadFile(filepath.Join(goldenDir, "member.connected.json"))
	if err != nil {
		t.Fatal(err)
	}
	sample, err := events.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(revision uint64, typ events.Type) {
		d := sample.Data
		d.Revision = revision
		e := events.New(i.subjects, typ, sample.Key, d)
		raw, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := i.publish(ctx, e, raw); err != nil {
			t.Fatal(err)
		}
	}
	types := []events.Type{events.TypeConnected, events.TypeImpaired, events.TypeDeleted}
	publish(1, types[0])
	publish(2, types[1])

	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	program.Stderr = &stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // whatever it does or does not print, the program ends with the test
		select {
		case <-ctx.Done():
		case <-ended:
		}
		_ = program.Process.Kill()
	}()
	end := sync.OnceFunc(func() {
		close(ended)
		_ = program.Wait() // It was killed.
	})
	defer end()
	lines := bufio.NewScanner(out)
	for n, typ := range types {
		if n == 2 {
			publish(3, typ)
		}
		if !lines.Scan() {
			end()
			t.Fatalf("the program told of %d events and then nothing: %v\n%s", n, lines.Err(), stderr.String())
		}
		want := string(typ) + " " + sample.Key.Member() + " " + string(sample.Data.Action.Kind)
		if got := lines.Text(); got != want {
			t.Errorf("line %d is %q, want %q", n+1, got, want)
		}
	}
}
