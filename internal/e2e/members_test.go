package e2e

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// newcomer is a member of a new user, known to the service.
func (t *scene) newcomer(p mxsim.Patch) (events.Command, events.Event) {
	t.Helper()
	user := t.Sim().AddUser(t, "")
	m := t.Sim().AddMember(t, user, p)
	c := events.Command{User: user, Member: m.GUID}
	t.bank.Refresh(t, c)
	return c, t.bank.Event(t, m.GUID, events.Status(*m.ConnectionStatus).Type(), 0)
}

// becomes has the service look again and waits for the event it makes.
func (t *scene) becomes(c events.Command, want events.Type, after events.Event) events.Event {
	t.Helper()
	t.bank.Refresh(t, c)
	return t.bank.Event(t, c.Member, want, after.Data.Revision)
}

// followedUp waits until the first event of a newcomer has had its second read.
func (t *scene) followedUp(member string) {
	t.Helper()
	stack.Eventually(t, "the first event is followed up", func() bool { return t.Sim().ReadsOf(t, member) >= 2 })
}

func checkAction(t *scene, e events.Event, who events.Actor, what events.ActionKind) {
	t.Helper()
	if e.Data.Action != (events.Action{Actor: who, Kind: what}) {
		t.Errorf("%s asks for %v, want %s to %s", e.Type, e.Data.Action, who, what)
	}
}

// checkPrevious checks what a field was before e.
func checkPrevious(t *scene, e events.Event, field, want string) {
	t.Helper()
	var got string
	if err := json.Unmarshal(e.Data.Previous[field], &got); err != nil || got != want || !slices.Contains(e.Data.Changed, field) {
		t.Errorf("%s says %s was %s before and %v changed, want %q", e.Type, field, e.Data.Previous[field], e.Data.Changed, want)
	}
}

func newOAuthMember(t *scene) {
	user := t.Sim().AddUser(t, "")
	m := t.Sim().AddMember(t, user, mxsim.Patch{"is_oauth": true})
	c := events.Command{User: user, Member: m.GUID, Reason: "the user chose a bank"}
	id := t.bank.Refresh(t, c)

	pending := t.bank.Event(t, m.GUID, events.TypePending, 0)
	checkAction(t, pending, events.ActorUser, events.ActionAuthorize)
	if d := pending.Data; d.Revision != 1 || d.Previous != nil || !d.OAuthRequired || d.OAuthWindowURI != "" {
		t.Errorf("first event: revision %d, previous %v, need %t, URI %q", d.Revision, d.Previous, d.OAuthRequired, d.OAuthWindowURI)
	}
	if pending.CorrelationID != id || pending.Reason != c.Reason {
		t.Errorf("first event is caused by %q (%q), want %q (%q)", pending.CorrelationID, pending.Reason, id, c.Reason)
	}
	for _, customer := range []interface {
		Announcement(testing.TB, string, uint64) events.Event
	}{t.bank, t.other} {
		if a := customer.Announcement(t, m.GUID, 1); a.Data.OAuthWindowURI != *m.OAuthWindowURI {
			t.Errorf("announced %q, want %q", a.Data.OAuthWindowURI, *m.OAuthWindowURI)
		}
	}

	t.Sim().Do(t, m.GUID, "authorize")
	created := t.becomes(c, events.TypeCreated, pending)
	checkPrevious(t, created, "connection_status", "PENDING")
	if created.Data.OAuthRequired || !created.Data.Provisional {
		t.Errorf("after authorizing: need %t, provisional %t", created.Data.OAuthRequired, created.Data.Provisional)
	}
	// Nobody asks again: the event is its own follow-up, and finds what MX has come to
	// meanwhile, unless the next read of the pending member, which the first command
	// caused, comes before it.
	connected := t.bank.Event(t, m.GUID, events.TypeConnected, created.Data.Revision)
	checkAction(t, connected, events.ActorNone, events.ActionNone)
	if causes := []string{created.CorrelationID, id}; connected.Data.Provisional || !slices.Contains(causes, connected.CorrelationID) {
		t.Errorf("connected: provisional %t, caused by %q, want one of %q", connected.Data.Provisional, connected.CorrelationID, causes)
	}
}

func challenge(t *scene) {
	c, connected := t.newcomer(nil)
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "CHALLENGED"})
	asked := t.becomes(c, events.TypeChallenged, connected)
	checkAction(t, asked, events.ActorUser, events.ActionAnswerChallenge)
	t.Sim().Do(t, c.Member, "expire")
	expired := t.becomes(c, events.TypeExpired, asked)
	checkPrevious(t, expired, "connection_status", "CHALLENGED")
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "CHALLENGED"})
	again := t.becomes(c, events.TypeChallenged, expired)
	t.Sim().Do(t, c.Member, "answer")
	t.bank.Refresh(t, c)
	t.bank.Event(t, c.Member, events.TypeConnected, again.Data.Revision)
}

func disconnection(t *scene) {
	c, connected := t.newcomer(nil)
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "DISCONNECTED"})
	gone := t.becomes(c, events.TypeDisconnected, connected)
	checkPrevious(t, gone, "connection_status", "CONNECTED")
	if gone.Data.Revision != connected.Data.Revision+1 {
		t.Errorf("revision %d follows %d", gone.Data.Revision, connected.Data.Revision)
	}
	t.Sim().Set(t, c.Member, mxsim.Patch{"connection_status": "RECONNECTED"})
	t.becomes(c, events.TypeReconnected, gone)
}

func deletion(t *scene) {
	t.newcomer(nil) // another for whom MX answers: the evidence that the key is right
	c, connected := t.newcomer(nil)
	t.Sim().Delete(t, c.Member)
	r := t.bank.Result(t, t.bank.Refresh(t, c))
	if r.Outcome != events.OutcomeUnchanged || r.Reason == "" {
		t.Errorf("the first 404 has result %s, reason %q; want it to wait for confirmation", r.Outcome, r.Reason)
	}
	deleted := t.bank.Event(t, c.Member, events.TypeDeleted, connected.Data.Revision)
	if !deleted.Data.Deleted || !slices.Equal(deleted.Data.Changed, []string{"deleted"}) || *deleted.Data.Member.ConnectionStatus != events.StatusConnected {
		t.Errorf("deletion: deleted %t, changed %v, last status %v", deleted.Data.Deleted, deleted.Data.Changed, *deleted.Data.Member.ConnectionStatus)
	}
	t.Sim().Do(t, c.Member, "restore")
	back := t.becomes(c, events.TypeConnected, deleted)
	if back.Data.Deleted || !slices.Contains(back.Data.Changed, events.FieldDeleted) || back.Data.Revision != deleted.Data.Revision+1 {
		t.Errorf("return: deleted %t, revision %d after %d", back.Data.Deleted, back.Data.Revision, deleted.Data.Revision)
	}
}

func falseDeletion(t *scene) {
	c, _ := t.newcomer(nil)
	t.followedUp(c.Member)
	t.Sim().Inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404, Member: c.Member, Count: 1})
	if r := t.bank.Result(t, t.bank.Refresh(t, c)); r.Outcome != events.OutcomeUnchanged {
		t.Errorf("result of the mistaken 404: %s", r.Outcome)
	}
	if r := t.bank.Result(t, t.bank.Refresh(t, c)); r.Outcome != events.OutcomeUnchanged || r.Revision != 1 {
		t.Errorf("result after it: %s, revision %d", r.Outcome, r.Revision)
	}
	if h := t.bank.History(c.Member); len(h) != 1 {
		t.Errorf("events %v, want the first alone", h)
	}
}

func partnerIDs(t *scene) {
	user := t.Sim().AddUser(t, "customer+17@example.com")
	m := t.Sim().AddMember(t, user, mxsim.Patch{"id": "loan_17"})
	for i, c := range []events.Command{
		{User: "customer+17@example.com", Member: "loan_17"},
		{User: user, Member: m.GUID},
		{User: user, Member: "loan_17"},
	} {
		r := t.bank.Result(t, t.bank.Refresh(t, c))
		want := events.OutcomeUnchanged
		if i == 0 {
			want = events.OutcomeChanged
		}
		if r.Outcome != want || r.UserGUID != user || r.MemberGUID != m.GUID || r.Revision != 1 {
			t.Errorf("%s/%s: %s, %s/%s revision %d; want %s of %s/%s", c.User, c.Member, r.Outcome, r.UserGUID, r.MemberGUID, r.Revision, want, user, m.GUID)
		}
	}
	if e := t.bank.Event(t, m.GUID, events.TypeConnected, 0); *e.Data.Member.ID != "loan_17" {
		t.Errorf("the event says id %q", *e.Data.Member.ID)
	}
}
