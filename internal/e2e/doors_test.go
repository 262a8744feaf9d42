package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// hint posts a webhook to the worker and returns the status it is answered with.
func (t *scene) hint(password string, payload map[string]any) int {
	t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, t.worker.Hooks(t)+"/webhooks/mx", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(stack.HookUser, password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func webhookDoor(t *scene) {
	c, connected := t.newcomer(nil)
	payload := map[string]any{
		"action": "CHANGED", "type": "CONNECTION_STATUS", "user_guid": c.User, "member_guid": c.Member,
		"connection_status": "LOCKED", "connection_status_id": 5,
	}
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "DENIED"})
	if got := t.hint("wrong", payload); got != http.StatusUnauthorized {
		t.Errorf("a wrong password is answered %d", got)
	}
	if got := t.hint(stack.HookPassword, payload); got != http.StatusNoContent {
		t.Fatalf("a webhook is answered %d", got)
	}
	denied := t.bank.Event(t, c.Member, events.TypeDenied, connected.Data.Revision) // what a read says, not what the webhook did
	checkAction(t, denied, events.ActorUser, events.ActionUpdateCredentials)

	before := t.Sim().ReadsOf(t, c.Member)
	const replays = 100
	for range replays {
		if got := t.hint(stack.HookPassword, payload); got != http.StatusNoContent {
			t.Fatalf("a replayed webhook is answered %d", got)
		}
	}
	t.bank.Result(t, t.bank.Refresh(t, c)) // comes after them all
	if h := t.bank.History(c.Member); len(h) != 2 {
		t.Errorf("events %v, want two", h)
	}
	if reads := t.Sim().ReadsOf(t, c.Member) - before; reads > replays+2 {
		t.Errorf("%d replays made %d reads", replays, reads)
	}

	user := t.Sim().AddUser(t, "")
	stranger := t.Sim().AddMember(t, user, nil)
	if got := t.hint(stack.HookPassword, map[string]any{"type": "MEMBER", "action": "created", "user_guid": user, "guid": stranger.GUID}); got != http.StatusNoContent {
		t.Fatalf("a webhook about a new member is answered %d", got)
	}
	if first := t.bank.Event(t, stranger.GUID, events.TypeConnected, 0); first.Data.Revision != 1 || first.Data.Previous != nil {
		t.Errorf("first sight: revision %d, previous %v", first.Data.Revision, first.Data.Previous)
	}
	if !strings.Contains(stack.Metrics(t, t.worker), `memberwatch_jobs_total{source="webhook"}`) {
		t.Error("the metrics do not tell webhooks from other doors")
	}
}

func requestDoor(t *scene) {
	c, connected := t.newcomer(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	t.followedUp(c.Member) // what follows is for the request to find
	ids := map[string]any{"user": c.User, "member": c.Member, "reason": "the user looks"}
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "DEGRADED"})
	var done events.RefreshResponse
	if err := t.bank.Ask(t, events.APIRefresh, ids, &done); err != nil {
		t.Fatal(err)
	}
	degraded := t.bank.Event(t, c.Member, events.TypeDegraded, connected.Data.Revision)
	if done.Result.Outcome != events.OutcomeChanged || done.Result.EventID != degraded.ID || degraded.Reason != "the user looks" ||
		done.State == nil || *done.State.Member.ConnectionStatus != events.StatusDegraded {
		t.Errorf("answer %+v to what made the event %s, reason %q", done, degraded.ID, degraded.Reason)
	}
	var known events.GetResponse
	if err := t.bank.Ask(t, events.APIGet, map[string]any{"user": c.User, "member": c.Member}, &known); err != nil {
		t.Fatal(err)
	}
	if known.EventID != degraded.ID || known.State.Revision != degraded.Data.Revision {
		t.Errorf("last state %s of revision %d, want %s", known.EventID, known.State.Revision, degraded.ID)
	}
	var uris [2]events.OAuthURIResponse
	for i := range uris {
		if err := t.bank.Ask(t, events.APIOAuthURI, map[string]any{"user": c.User, "member": c.Member}, &uris[i]); err != nil {
			t.Fatal(err)
		}
	}
	if uris[0].OAuthWindowURI == "" || uris[0] == uris[1] {
		t.Error("a URI is missing, or not fresh")
	}
	for name, tc := range map[string]struct {
		endpoint string
		request  map[string]any
		code     events.APICode
	}{
		"an unknown member":   {events.APIRefresh, map[string]any{"user": c.User, "member": "MBR-none"}, events.APINotFound},
		"nothing known":       {events.APIGet, map[string]any{"user": c.User, "member": "MBR-none"}, events.APINotFound},
		"no id":               {events.APIRefresh, map[string]any{"user": c.User}, events.APIInvalid},
		"a path for an id":    {events.APIGet, map[string]any{"user": c.User, "member": ".."}, events.APIInvalid},
		"no URI to be had":    {events.APIOAuthURI, map[string]any{"user": c.User, "member": "MBR-none"}, events.APINotFound},
		"a deadline too late": {events.APIRefresh, map[string]any{"user": c.User, "member": c.Member, "timeout_ms": 10_000_000}, events.APIInvalid},
	} {
		if err := t.bank.Ask(t, tc.endpoint, tc.request, nil); err == nil || err.Code != tc.code {
			t.Errorf("%s: %v, want code %s", name, err, tc.code)
		}
	}
}

// settling is a member on its way whom MX leaves there for longer than a follow-up lasts.
func settling(t *scene) {
	user := t.Sim().AddUser(t, "")
	m := t.Sim().AddMember(t, user, mxsim.Patch{"connection_status": "CREATED"})
	id := t.bank.Refresh(t, events.Command{User: user, Member: m.GUID, Reason: "signup"})
	created := t.bank.Event(t, m.GUID, events.TypeCreated, 0)
	stack.Eventually(t, "the member is read again by itself", func() bool { return t.Sim().ReadsOf(t, m.GUID) >= 3 })
	t.Sim().Set(t, m.GUID, mxsim.Patch{"connection_status": "UPDATED"})
	updated := t.bank.Event(t, m.GUID, events.TypeUpdated, created.Data.Revision)
	t.Sim().Set(t, m.GUID, mxsim.Patch{"connection_status": "CONNECTED"})
	connected := t.bank.Event(t, m.GUID, events.TypeConnected, updated.Data.Revision)
	for _, e := range []events.Event{updated, connected} {
		if e.CorrelationID != id || e.Reason != "signup" {
			t.Errorf("%s is caused by %q (%q), want %q (signup)", e.Type, e.CorrelationID, e.Reason, id)
		}
	}
}

func aggregation(t *scene) {
	c, _ := t.newcomer(mxsim.Patch{"aggregated_at": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "connection_status": "CONNECTED"})
	t.followedUp(c.Member)
	c.Aggregate = true
	asked := func() (n int) {
		for _, e := range t.Sim().Log(t, c.Member) {
			if e.Endpoint == "aggregate" {
				n++
			}
		}
		return n
	}
	if r := t.bank.Result(t, t.bank.Refresh(t, c)); r.Outcome != events.OutcomeUnchanged || r.Reason != "" {
		t.Errorf("result %s, reason %q", r.Outcome, r.Reason)
	}
	if r := t.bank.Result(t, t.bank.Refresh(t, c)); !strings.HasPrefix(r.Reason, "not aggregated again: ") {
		t.Errorf("the second wish has result %s, reason %q", r.Outcome, r.Reason)
	}
	if n := asked(); n != 1 {
		t.Errorf("MX was asked to aggregate %d times, want once", n)
	}
	stack.Eventually(t, "the aggregation is followed to its end", func() bool {
		log := t.Sim().Log(t, c.Member)
		last := log[len(log)-1]
		return last.Endpoint == "read" && bytes.Contains(last.Member, []byte(`"is_being_aggregated":false`))
	})
}
