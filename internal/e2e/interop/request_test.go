package interop

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
	"github.com/memberwatch/memberwatch/internal/e2e/stack"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// request is one to the micro service, and the code that it is to be refused with.
type request struct {
	Endpoint string         `json:"endpoint"`
	Code     events.APICode `json:"code"` // empty: it is served
	Body     any            `json:"body"`
}

// bank starts a worker and adds a user, anna, with two members: riverbank, whose
// bank uses OAuth, and oldmill.
func bank(t *testing.T) (s *stack.Processes, user string, riverbank, oldmill mxsim.Member) {
	t.Helper()
	s = stack.NewProcesses(t, binaries)
	user = s.Sim().AddUser(t, "anna")
	riverbank = s.Sim().AddMember(t, user, mxsim.Patch{"id": "riverbank", "is_oauth": true})
	oldmill = s.Sim().AddMember(t, user, mxsim.Patch{"id": "oldmill"})
	stack.Ready(t, s.Start(t, "worker", stack.Env{"FOLLOW_UP_AFTER": "0"}))
	nc, err := nats.Connect(s.NATS())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	stack.Eventually(t, "requests are answered", func() bool { // a moment after the worker is ready for commands
		_, err := nc.Request("mx.api.member."+events.APIOAuthURI, nil, stack.Patience)
		return err == nil
	})
	return s, user, riverbank, oldmill
}

func TestRequestsAndCommandsOfTheKitAreCarriedOut(t *testing.T) {
	t.Parallel()
	s, user, m, _ := bank(t)
	nc, err := nats.Connect(s.NATS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	var refused *events.APIError
	if _, err := c.Get(t.Context(), events.GetRequest{User: "anna", Member: "riverbank"}); !errors.As(err, &refused) || refused.Code != events.APINotFound {
		t.Errorf("before the first refresh: %v", err)
	}
	first, err := c.RequestRefresh(t.Context(), events.RefreshRequest{Command: events.Command{User: "anna", Member: "riverbank", CommandID: "first"}})
	if err != nil || first.Result.Outcome != events.OutcomeChanged || first.State == nil || first.State.Member.GUID != m.GUID {
		t.Errorf("the first refresh: %+v, %v", first, err)
	}
	got, err := c.Get(t.Context(), events.GetRequest{User: "anna", Member: "riverbank"})
	if err != nil || got.EventID != first.Result.EventID {
		t.Errorf("get: %+v, %v", got, err)
	}
	uri, err := c.OAuthURI(t.Context(), events.OAuthURIRequest{User: user, Member: m.GUID})
	if err != nil || uri == "" {
		t.Errorf("URI %q, %v", uri, err)
	}
	for _, form := range []client.Form{client.InBody, client.InSubject} {
		ctx, cancel := context.WithTimeout(t.Context(), stack.Patience)
		r, receipt, err := c.RefreshAndWait(ctx, events.Command{User: "anna", Member: "riverbank"}, form)
		cancel()
		if err != nil || r.Outcome != events.OutcomeUnchanged || r.CommandID != receipt.CommandID {
			t.Errorf("command: %+v, %+v, %v", r, receipt, err)
		}
	}
}

func TestRequestsOfJavaScriptAreAnsweredAsTheSchemasSay(t *testing.T) {
	t.Parallel()
	needNode(t)
	s, user, m, plain := bank(t)
	of := func(member string) events.GetRequest { return events.GetRequest{User: "anna", Member: member} }
	requests := []request{
		{events.APIGet, events.APINotFound, of("riverbank")},
		{events.APIRefresh, "", events.RefreshRequest{Command: events.Command{User: "anna", Member: "riverbank"}, TimeoutMS: 30_000}},
		{events.APIRefresh, "", events.RefreshRequest{Command: events.Command{User: "anna", Member: "riverbank", CommandID: "again"}}},
		{events.APIRefresh, events.APINotFound, of("nobody")},
		{events.APIRefresh, events.APIInvalid, of("")},
		{events.APIGet, "", of("riverbank")},
		{events.APIOAuthURI, "", events.OAuthURIRequest{User: user, Member: m.GUID}},
		{events.APIOAuthURI, events.APIConflict, events.OAuthURIRequest{User: user, Member: plain.GUID}},
		{events.APIOAuthURI, events.APIInvalid, events.OAuthURIRequest{User: user, Member: m.GUID, ReferralSource: "PHONE"}},
	}
	list, err := json.Marshal(requests)
	if err != nil {
		t.Fatal(err)
	}
	answers := node[struct {
		Code  events.APICode
		Words string
		Body  struct {
			events.APIError

			Result  events.Result `json:"result"`
			State   *events.Data  `json:"state"`
			EventID string        `json:"event_id"`
			URI     string        `json:"oauth_window_uri"`
		}
	}](t, "request.mjs", s.NATS(), absolute(t, schemaDir), string(list))
	if len(answers) != len(requests) {
		t.Fatalf("%d answers came, want %d", len(answers), len(requests))
	}
	for i, a := range answers {
		if a.Code != requests[i].Code || a.Body.Code != a.Code || a.Words != a.Body.Message {
			t.Errorf("request %d (%s) is answered with %s %q: %+v; want %q", i, requests[i].Endpoint, a.Code, a.Words, a.Body, requests[i].Code)
		}
	}
	first, again, got := answers[1].Body, answers[2].Body, answers[5].Body
	if first.Result.Outcome != events.OutcomeChanged || first.State == nil || first.State.Member.GUID != m.GUID {
		t.Errorf("the first refresh: %+v", first)
	}
	if again.Result.Outcome != events.OutcomeUnchanged || again.Result.CommandID != "again" {
		t.Errorf("the second refresh: %+v", again.Result)
	}
	if got.EventID != first.Result.EventID || got.State == nil || got.State.Revision != 1 || answers[6].Body.URI == "" {
		t.Errorf("get: %+v; URI: %q", got, answers[6].Body.URI)
	}
}
