package deployed

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// deploy is the directory whose files are all that a newcomer has.
const deploy = "../../../deploy"

// Headings of the guide whose blocks are run.
const (
	headCluster = "## A cluster with TLS"
	headSecrets = "## Secrets that change"
)

// blocks returns the shell blocks under a heading, in order.
func blocks(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("deploy/README.md has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var all []string
	for _, m := range regexp.MustCompile("(?s)\n```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		all = append(all, m[1])
	}
	if len(all) == 0 {
		t.Fatalf("%q has no shell block", heading)
	}
	return all
}

// newcomer is a directory with a copy of deploy and nothing else, and the shell
// that somebody works in there.
type newcomer struct {
	dir     string
	env     []string
	said    []string // blocks of the guide that were run: the shell's functions and variables
	replace *strings.Replacer

	prometheus string // URL
	grafana    bool   // whether there is an image of it
}

func newNewcomer(t *testing.T) *newcomer {
	t.Helper()
	n := &newcomer{dir: t.TempDir(), grafana: os.Getenv("GRAFANA_IMAGE") != ""}
	if err := os.CopyFS(filepath.Join(n.dir, "deploy"), os.DirFS(deploy)); err != nil {
		t.Fatal(err)
	}
	// A newcomer has no secrets yet, whatever lies in this checkout.
	if err := os.RemoveAll(filepath.Join(n.dir, "deploy", "secrets")); err != nil {
		t.Fatal(err)
	}
	nats, mx, prometheus, grafana := freePort(t), freePort(t), freePort(t), freePort(t)
	n.prometheus = "http://localhost:" + prometheus
	changed := []string{"localhost:4222", "localhost:" + nats, "localhost:8085", "localhost:" + mx}
	bin := filepath.Join(n.dir, "bin")
	n.env = append(os.Environ(),
		"COMPOSE_PROJECT_NAME=memberwatch-deployed-"+prometheus,
		"NATS_PORT="+nats, "MX_PORT="+mx, "PROMETHEUS_PORT="+prometheus, "GRAFANA_PORT="+grafana,
		"GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"), "COMPOSE_PROGRESS=plain")
	if !n.grafana {
		t.Log("GRAFANA NOT STARTED: set GRAFANA_IMAGE to an image of it; its dashboard's queries are asked of Prometheus")
		// An image that is there, so that none is looked for; no container is made of it.
		n.env = append(n.env, "GRAFANA_IMAGE="+os.Getenv("MEMBERWATCH_IMAGE"))
		changed = append(changed, "docker compose up -d\n", "docker compose up -d --scale grafana=0\n")
	}
	n.replace = strings.NewReplacer(changed...)
	return n
}

// does runs a block of the guide in the shell and returns what it prints.
func (n *newcomer) does(t *testing.T, block string) string {
	t.Helper()
	out, err := n.shell(t.Context(), block)
	if err != nil {
		t.Fatalf("following the guide: %v\n%s\n%s", err, block, out)
	}
	n.said = append(n.said, definitions(block))
	return out
}

// types runs a command in the same shell.
func (n *newcomer) types(t *testing.T, command string) string {
	t.Helper()
	out, err := n.shell(t.Context(), command)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return out
}

func (n *newcomer) shell(ctx context.Context, block string) (string, error) {
	script := "set -euo pipefail\n" + strings.Join(n.said, "") + block
	cmd := exec.CommandContext(ctx, "bash", "-c", n.replace.Replace(script))
	cmd.Dir, cmd.Env = n.dir, n.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("running shell: %w", err)
	}
	return string(out), err
}

var definition = regexp.MustCompile(`(?ms)^(?:export [^\n]*\n|\w+\(\) \{.*?^\}\n)`)

// definitions are the functions and variables of a block: a shell would remember them.
func definitions(block string) string {
	return strings.Join(definition.FindAllString(block, -1), "")
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
