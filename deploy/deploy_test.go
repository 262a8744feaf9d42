// Package deploy_test checks what lies here against the program: nothing in it
// may speak of a metric or a setting that does not exist.
package deploy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// binaries is where the programs are, built once.
var binaries string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "memberwatch"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(binaries) }()
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", binaries+"/", "../cmd/memberwatch", "../cmd/mxsim").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// output runs a program and returns what it prints.
func output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// read decodes a YAML or JSON file.
func read(t *testing.T, file string, to any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, to); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// rule is one of prometheus/rules.yaml.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []rule }
	}
	read(t, "prometheus/rules.yaml", &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// dashboardQueries returns the expressions of the dashboard's panels.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	read(t, "grafana/dashboard.json", &d) // JSON is YAML
	var all []string
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("dashboard: two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("dashboard: panel %q shows nothing", p.Title)
		}
		for _, q := range p.Targets {
			all = append(all, q.Expr)
		}
	}
	if len(all) == 0 {
		t.Fatal("dashboard: no queries")
	}
	return all
}

func TestEveryAlertHasItsEntryInTheRunbook(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	var entries, alerts []string
	for _, m := range regexp.MustCompile(`(?m)^## (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		entries = append(entries, m[1])
	}
	for _, r := range readRules(t) {
		if r.Alert == "" {
			continue
		}
		alerts = append(alerts, r.Alert)
		if want := "deploy/RUNBOOK.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("%s: summary, description or severity is missing", r.Alert)
		}
	}
	if !slices.Equal(entries, alerts) {
		t.Errorf("the runbook has\n%q\nand the rules have\n%q", entries, alerts)
	}
}

// series is the name of a metric in an expression, and a label matched.
var (
	series  = regexp.MustCompile(`[a-z_:]*memberwatch_[a-z0-9_:]+|\b(?:process|go)_[a-z_]+`)
	quoted  = regexp.MustCompile(`"[^"]*"`)
	grouped = regexp.MustCompile(`(?:by|without) \(([^)]*)\)`)
	matched = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
)

func TestEveryMetricUsedExists(t *testing.T) {
	t.Parallel()
	exposition := tour(t)
	known := map[string]bool{"up": true}
	labels := map[string]bool{"job": true, "instance": true}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)(?:\{([^}]*)\})? `).FindAllStringSubmatch(exposition, -1) {
		known[m[1]] = true
		for _, l := range matched.FindAllStringSubmatch(m[2], -1) {
			labels[l[1]] = true
		}
	}
	var all []string
	rules := readRules(t)
	for _, r := range rules {
		known[r.Record] = true
		all = append(all, r.Expr)
	}
	used := 0
	for _, expr := range append(all, dashboardQueries(t)...) {
		for _, name := range series.FindAllString(quoted.ReplaceAllString(grouped.ReplaceAllString(expr, ""), `""`), -1) {
			used++
			if !known[name] {
				t.Errorf("%s: there is no %s", expr, name)
			}
		}
		named := matched.FindAllStringSubmatch(expr, -1)
		for _, g := range grouped.FindAllStringSubmatch(expr, -1) {
			for l := range strings.SplitSeq(g[1], ",") {
				named = append(named, []string{"", strings.TrimSpace(l)})
			}
		}
		for _, l := range named {
			if !labels[l[1]] {
				t.Errorf("%s: there is no label %s", expr, l[1])
			}
		}
	}
	if used < len(rules) {
		t.Errorf("found %d metrics in use only", used)
	}
}

// tour runs the service through one of each thing that it counts, and returns
// what its /metrics says then.
func tour(t *testing.T) string {
	t.Helper()
	sim, err := mxsim.Start(t.Context(), "", mxsim.Config{Seed: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	owner, err := sim.AddUser(mxsim.User{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := sim.AddMember(owner.GUID, mxsim.Patch{"is_oauth": true})
	if err != nil {
		t.Fatal(err)
	}
	web, bus := freeAddr(t), freeAddr(t)
	env := []string{
		"MX_BASE_URL=" + sim.URL, "MX_CLIENT_ID=" + mxsim.DefaultClientID, "MX_API_KEY=" + mxsim.DefaultAPIKey,
		"HTTP_ADDR=" + web, "NATS_LISTEN=" + bus, "DATA_DIR=" + t.TempDir(),
	}
	program := filepath.Join(binaries, "memberwatch")
	service := exec.Command(program, "serve")
	service.Env = env
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := service.Wait(); err != nil {
			t.Errorf("service ended with %v", err)
		}
	})
	eventually(t, "service is ready", func() bool { return get(t, "http://"+web+"/readyz") != "" })
	client := append(slices.Clone(env), "NATS_URL=nats://"+bus)
	output(t, client, program, "refresh", owner.GUID, m.GUID, "--wait")
	output(t, client, program, "oauth-uri", owner.GUID, m.GUID)
	nc := connect(t, bus)
	if err := nc.Publish("mx.commands.member.refresh", []byte("{")); err != nil {
		t.Fatal(err)
	}
	var all string
	eventually(t, "a dead letter is counted", func() bool {
		all = get(t, "http://"+web+"/metrics")
		return strings.Contains(all, "memberwatch_dead_letters_total{")
	})
	return all
}

// get returns the body of an answer that is 200, else nothing.
func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits until a condition on another process holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
