package deployed

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// dashboard waits until Prometheus has both workers, then asks it what the
// dashboard asks, and whether it can evaluate the rules.
func (n *newcomer) dashboard(t *testing.T) {
	t.Helper()
	stack.Eventually(t, "Prometheus has two workers", func() bool {
		var up struct{ Result []json.RawMessage }
		if n.ask(t, "query?query="+url.QueryEscape(`up{job="memberwatch"} == 1`), &up) != nil {
			return false
		}
		return len(up.Result) == 2
	})
	answered := 0
	queries := n.queries(t)
	for _, q := range queries {
		var answer struct{ Result []json.RawMessage }
		if err := n.ask(t, "query?query="+url.QueryEscape(q), &answer); err != nil {
			t.Errorf("dashboard: %s: %v", q, err)
		}
		if len(answer.Result) > 0 {
			answered++
		}
	}
	t.Logf("%d of %d queries of the dashboard have something to show", answered, len(queries))
	if answered == 0 {
		t.Error("the dashboard shows nothing")
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	stack.Eventually(t, "Prometheus has evaluated the rules", func() bool {
		if n.ask(t, "rules", &rules) != nil {
			return false
		}
		for _, g := range rules.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("rule %s: %s", r.Name, r.LastError)
				}
				if r.Health != "ok" {
					return false
				}
			}
		}
		return len(rules.Groups) > 0
	})
	if n.grafana {
		n.types(t, `curl -fsS "http://localhost:$GRAFANA_PORT/api/search?type=dash-db" | grep -q memberwatch`)
	}
}

// queries are those of the dashboard, with what Grafana puts in for its variables.
func (n *newcomer) queries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(n.dir, "deploy", "grafana", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			all = append(all, strings.NewReplacer("$job", ".*", "$__rate_interval", "1m").Replace(q.Expr))
		}
	}
	if len(all) == 0 {
		t.Fatal("the dashboard has no queries")
	}
	return all
}

// ask asks Prometheus' API.
func (n *newcomer) ask(t *testing.T, path string, to any) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.prometheus+"/api/v1/"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	answer := struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   any    `json:"data"`
	}{Data: to}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", resp.Status, answer.Error)
	}
	return nil
}
