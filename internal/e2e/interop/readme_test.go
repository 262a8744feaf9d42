package interop

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

const readme = "../../../README.md"

// devNATS is where memberwatch dev has its NATS, as the section says.
const devNATS = "127.0.0.1:4222"

// TestSubscribeSectionWorksAsPasted does what the README's section on subscribing
// says: memberwatch dev in one terminal, each program pasted into another.
func TestSubscribeSectionWorksAsPasted(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		d.follow(t, exec.CommandContext(t.Context(), newModule(t, pasted(t, "go", d))))
	})
	t.Run("js", func(t *testing.T) {
		t.Parallel()
		needNode(t)
		d.follow(t, exec.CommandContext(t.Context(), "node", newScript(t, d)))
	})
}

// TestJavaScriptOfTheReadmeGoesOnAfterABrokenPayload: a message that no retry would
// mend is ended, and what comes behind it is read.
func TestJavaScriptOfTheReadmeGoesOnAfterABrokenPayload(t *testing.T) {
	t.Parallel()
	needNode(t)
	i := newInstallation(t)
	k, err := events.NewKey("USR-1", "MBR-1")
	if err != nil {
		t.Fatal(err)
	}
	good := events.New(i.subjects, events.TypeDenied, k, events.Data{
		Member: events.Member{GUID: "MBR-1", UserGUID: "USR-1"}, Changed: []string{"guid"}, Revision: 1,
		Action: events.Action{Actor: events.ActorUser, Kind: events.ActionUpdateCredentials}, ObservedAt: time.Unix(1, 0),
	})
	raw, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"{", "", "7", "null", `{"specversion":"1.0"}`, string(raw)} {
		if err := i.publish(t.Context(), good, []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	lines := run(t, exec.CommandContext(t.Context(), "node", newScript(t, &dev{nats: strings.TrimPrefix(i.url, "nats://")})))
	for line := range lines {
		if line == "member.denied MBR-1 update_credentials" {
			break
		}
	}
	var info *jetstream.ConsumerInfo
	stack.Eventually(t, "every message is answered", func() bool {
		c, err := i.js.Consumer(t.Context(), i.subjects.EventStream(), "shop-js")
		if err != nil {
			return false
		}
		info, err = c.Info(t.Context())
		return err == nil && info.NumAckPending == 0 && info.NumPending == 0
	})
	if info.NumRedelivered != 0 {
		t.Errorf("%d messages came again", info.NumRedelivered)
	}
}

// pasted returns the code in the README's section on subscribing, byte for byte
// unless another server has the port of memberwatch dev on this machine.
func pasted(t *testing.T, language string, d *dev) []byte {
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
	return []byte(strings.ReplaceAll(code, devNATS, d.nats))
}

// newScript saves the program in JavaScript beside the packages that it needs, and
// returns its path.
func newScript(t *testing.T, d *dev) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(absolute(t, filepath.Join(scripts, "node_modules")), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "subscribe.mjs")
	if err := os.WriteFile(script, pasted(t, "js", d), 0o600); err != nil {
		t.Fatal(err)
	}
	return script
}

// newModule builds a program in a module of its own that requires this one, and
// returns its path.
func newModule(t *testing.T, code []byte) string {
	t.Helper()
	root, dir := absolute(t, "../../.."), t.TempDir()
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.go": string(code), "go.sum": string(sums),
		// What go get would write, for a version that is this folder.
		"go.mod": "module shop\n\ngo 1.26\n\nrequire github.com/memberwatch/memberwatch v0.0.0\n\nreplace github.com/memberwatch/memberwatch => " + root + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", "subscribe", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off") // else as the tests, so that it shares what they have compiled
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return filepath.Join(dir, "subscribe")
}

// dev is a running memberwatch dev, as far as it has told of itself.
type dev struct {
	nats    string // host and port
	sim     string // URL of the simulated MX
	members map[string]string
}

var memberLine = regexp.MustCompile(`^  (\w+) +(MBR-[\w-]+)  [A-Z]+$`)

func startDev(t *testing.T) *dev {
	t.Helper()
	d := &dev{nats: devNATS, members: map[string]string{}}
	if l, err := net.Listen("tcp", devNATS); err != nil {
		t.Logf("%s is in use here (%v): the pasted code gets another port", devNATS, err)
		d.nats = "127.0.0.1:0"
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	program := exec.CommandContext(t.Context(), binaries.Memberwatch, "dev", "--nats", d.nats, "--mx", "127.0.0.1:0", "--http", "127.0.0.1:0")
	program.Env = []string{"TMPDIR=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) }
	program.WaitDelay = stack.Patience
	for line := range run(t, program) {
		if url, ok := strings.CutPrefix(line, "NATS "); ok {
			d.nats = strings.TrimPrefix(strings.TrimSpace(url), "nats://")
		}
		if url, ok := strings.CutPrefix(line, "simulated MX "); ok {
			d.sim = strings.TrimSpace(url)
		}
		if m := memberLine.FindStringSubmatch(line); m != nil {
			d.members[m[1]] = m[2]
		}
		if line == "Ctrl-C ends it." {
			return d
		}
	}
	t.Fatal("memberwatch dev ended")
	return nil
}

// run starts a program and returns the lines that it prints, until it ends. It is
// gone when the test is.
func run(t *testing.T, program *exec.Cmd) <-chan string {
	t.Helper()
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	program.Stderr = &stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	lines, ended := make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
		_ = program.Wait() // It never ends by itself: it was told to.
	}()
	t.Cleanup(func() { // the test's context, and so the program, has ended
		<-ended
		if t.Failed() {
			t.Logf("%s wrote:\n%s", program, stderr.String())
		}
	})
	return lines
}

// follow runs a pasted program and checks that it tells of what had happened, and
// of what happens while it runs. The changes are made as dev suggests.
func (d *dev) follow(t *testing.T, program *exec.Cmd) {
	t.Helper()
	lines, told := run(t, program), make(map[string]bool) // members come in any order
	await := func(want string) {
		t.Helper()
		for limit := time.After(stack.Patience); !told[want]; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("the program ended before it told %q", want)
				}
				told[line] = true
			case <-limit:
				t.Fatalf("the program never told %q", want)
			}
		}
	}
	await("member.challenged " + d.members["hillside"] + " answer_challenge")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, d.sim+"/_sim/members/"+d.members["oldmill"],
		strings.NewReader(`{"connection_status":"DISCONNECTED"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		t.Fatalf("the simulator says %s", answer.Status)
	}
	refresh := exec.CommandContext(t.Context(), binaries.Memberwatch, "refresh", "anna", "oldmill", "--wait")
	refresh.Env = []string{"NATS_URL=nats://" + d.nats}
	if out, err := refresh.CombinedOutput(); err != nil {
		t.Fatalf("refreshing: %v\n%s", err, out)
	}
	await("member.disconnected " + d.members["oldmill"] + " contact_support")
}
