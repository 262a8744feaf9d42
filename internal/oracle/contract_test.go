package oracle_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

// The oracle reads the contract from its own page. That the public package
// writes what the oracle reads shows that both mean the same contract.
func TestOracleAndThePublicContractAgreeOnTheForm(t *testing.T) {
	t.Parallel()
	js := open(t)
	newStory().publish(t, js, "mx", 0)

	subjects, err := events.NewSubjects("mx")
	if err != nil {
		t.Fatal(err)
	}
	key, err := events.NewKey("USR-1", "MBR-1")
	if err != nil {
		t.Fatal(err)
	}
	status, oauth, name := events.StatusPending, true, "AT&T <Bank> “é”"
	code, kind := 2004, "MEMBER"
	at := time.Date(2100, 1, 2, 3, 4, 5, 6, time.UTC)
	data := events.Data{
		Member: events.Member{
			GUID: key.Member(), UserGUID: key.User(), ConnectionStatus: &status, IsOAuth: &oauth, Name: &name,
			Error: &events.Error{Code: &code, Type: &kind}, UseCases: []string{"PFM"}, AggregatedAt: &at,
		},
		Changed:       []string{"guid", "user_guid", "name", "connection_status", "error", "is_oauth", "use_cases", "aggregated_at", "oauth_required"},
		Action:        events.Action{Actor: events.ActorUser, Kind: events.ActionAuthorize},
		OAuthRequired: true, Revision: 1, ObservedAt: at,
	}
	e := events.New(subjects, status.Type(), key, data)
	e.CorrelationID, e.Reason, e.Traceparent = "c-1", "asked", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := e.Announcement("https://bank.example/oauth")
	for subject, e := range map[string]events.Event{subjects.Event(e.Type, key): e, subjects.OAuthOf(key): a} {
		put(t, js, subject, e)
	}
	r := check(t, js, oracle.Options{})
	if !r.OK() || r.Events != 1 || r.Announcements != 1 || r.Needs != 1 {
		t.Errorf("verdict is\n%s\nwant it kept in one event and its announcement", r)
	}
}

func put(t *testing.T, js jetstream.JetStream, subject string, e events.Event) {
	t.Helper()
	body, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg(subject)
	msg.Header.Set("Content-Type", events.ContentType)
	msg.Data = body
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}
