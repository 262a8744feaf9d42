package deployed

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// containersWanted skips the test where containers were not asked for, as the
// journeys do.
func containersWanted(t *testing.T) {
	t.Helper()
	required := os.Getenv("REQUIRE_DOCKER") == "1"
	if os.Getenv("MEMBERWATCH_IMAGE") == "" && !required {
		t.Skip("CLUSTER OF deploy SKIPPED: make deployed builds the images and starts it, or set MEMBERWATCH_IMAGE")
	}
	err := stack.DockerAnswers(t.Context())
	if err == nil {
		err = exec.CommandContext(t.Context(), "docker", "compose", "version").Run()
	}
	switch {
	case err != nil && required:
		t.Fatal(err)
	case err != nil:
		t.Skipf("CLUSTER OF deploy SKIPPED: no docker compose: %v", err)
	}
}

func TestTheGuideLeadsFromDeployAloneToAClusterThatWorks(t *testing.T) {
	containersWanted(t)
	n := newNewcomer(t)
	guide := blocks(t, headCluster)
	if len(guide) != 5 {
		t.Fatalf("the guide has %d blocks, this test knows 5", len(guide))
	}
	// make image has been done, by whoever set MEMBERWATCH_IMAGE.
	n.does(t, strings.ReplaceAll(guide[0], "make image\n", ""))
	t.Cleanup(func() { n.leave(t) })
	n.does(t, guide[1])
	n.does(t, guide[2])

	// A command of the publisher, its event for the subscriber, the URI for OAUTH.
	got := documents(t, n.does(t, guide[3]))
	if pending := got[events.TypePending]; pending.Data.OAuthWindowURI != "" || !pending.Data.OAuthRequired {
		t.Errorf("the subscriber got %+v", pending)
	}
	if announced := got[events.TypeOAuthRequired]; announced.Data.OAuthWindowURI == "" {
		t.Errorf("OAUTH got %+v", announced)
	}
	for name, command := range map[string]string{
		"the subscriber reads announcements": "as subscriber --js-api-prefix JS.MX.API consumer next MX_OAUTH oauth --timeout 2s",
		"the publisher reads events":         "as publisher --js-api-prefix JS.MX.API consumer next MX_EVENTS subscriber --timeout 2s",
		"the subscriber makes a consumer":    "as subscriber consumer add MX_EVENTS mine --pull --defaults --timeout 2s",
		"one without certificate connects":   "nats --nkey deploy/secrets/operator.nk --tlsca deploy/secrets/ca.pem account info",
	} {
		if out, err := n.shell(t.Context(), command); err == nil {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	n.dashboard(t)

	// Workers that are away for a while.
	got = documents(t, n.does(t, guide[4]))
	if connected := got[events.TypeConnected]; connected.Data.Revision != 2 || string(connected.Data.Previous["connection_status"]) != `"PENDING"` {
		t.Errorf("after the restart the subscriber got %+v", connected)
	}

	// Another key of MX, without a restart, and then the first again: the file is written over.
	n.types(t, "cp deploy/secrets/mx-api-key first-key")
	for _, rotation := range []struct{ key, status string }{{"another-key", "DEGRADED"}, {"$(cat first-key)", "CONNECTED"}} {
		n.types(t, `key=`+rotation.key+`; echo $key >deploy/secrets/mx-api-key; sim config "{\"api_key\":\"$key\"}" -X PATCH
			sim members/MBR-bank '{"connection_status":"`+rotation.status+`"}' -X PATCH`)
		n.types(t, `as publisher pub --jetstream mx.commands.member.refresh '{"user":"USR-anna","member":"MBR-bank"}'`)
		out := n.types(t, "as subscriber --js-api-prefix JS.MX.API consumer next MX_EVENTS subscriber --raw --timeout 30s")
		if !strings.Contains(out, `"connection_status":"`+rotation.status+`"`) {
			t.Errorf("with another key the subscriber got %s", out)
		}
	}

	// Another nkey for the worker.
	before := n.types(t, "grep WORKER_NKEY deploy/secrets/cluster.env")
	got = documents(t, n.does(t, blocks(t, headSecrets)[0]))
	if gone := got[events.TypeDisconnected]; gone.Data.Revision != 5 {
		t.Errorf("after the rotation the subscriber got %+v", gone)
	}
	if after := n.types(t, "grep WORKER_NKEY deploy/secrets/cluster.env"); after == before {
		t.Error("the worker's nkey is the old one")
	}

	n.keepsSecrets(t)
}

// documents are the events in what a block printed, by type.
func documents(t *testing.T, out string) map[events.Type]events.Event {
	t.Helper()
	all := map[events.Type]events.Event{}
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) || !strings.Contains(line, `"specversion"`) {
			continue
		}
		e, err := events.Decode([]byte(line))
		if err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		all[e.Type] = e
	}
	return all
}

// keepsSecrets checks that what the workers wrote holds no secret that was made.
func (n *newcomer) keepsSecrets(t *testing.T) {
	t.Helper()
	logs := n.types(t, "docker compose logs --no-color")
	if !strings.Contains(logs, "memberwatch-1") {
		t.Errorf("there are no logs of workers:\n%s", logs)
	}
	files, err := filepath.Glob(filepath.Join(n.dir, "deploy", "secrets", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no secrets were made: %v", err)
	}
	for _, file := range files {
		if ext := filepath.Ext(file); ext == ".pem" || ext == ".env" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: others may read it (%v)", filepath.Base(file), err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") && strings.Contains(logs, line) {
				t.Errorf("the logs hold what is in %s", filepath.Base(file))
			}
		}
	}
}

// leave ends what the guide started.
func (n *newcomer) leave(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if t.Failed() {
		out, _ := n.shell(ctx, "docker compose ps -a; docker compose logs --no-color --tail 40")
		t.Logf("what was started:\n%s", out)
	}
	if out, err := n.shell(ctx, "docker compose down -v --timeout 5"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
