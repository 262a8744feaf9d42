package events_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// The member that the samples are about.
const (
	userGUID   = "USR-fa7537f3-48aa-a683-a02a-b18940482f54"
	memberGUID = "MBR-7c6f361b-e582-15b6-60c0-358f12466b4b"
)

var observedAt = time.Date(2026, 3, 14, 9, 26, 53, 589_793_000, time.UTC)

func subjects(tb testing.TB) events.Subjects {
	tb.Helper()
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func key(tb testing.TB) events.Key {
	tb.Helper()
	k, err := events.NewKey(userGUID, memberGUID)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// snapshot is a member of which MX has said everything.
func snapshot(s events.Status) events.Member {
	return events.Member{
		GUID: memberGUID, ID: new("partner-member-17"),
		UserGUID: userGUID, UserID: new("u-1234"),
		Name: new("MX Bank (Oauth)"), InstitutionCode: new("mx_bank_oauth"),
		InstitutionGUID:  new("INST-68e96dd6-eabd-42d3-9f05-416897f0746c"),
		ConnectionStatus: new(s), ConnectionStatusMessage: new("MX Bank says: " + string(s)),
		IsBeingAggregated: new(false), IsManagedByUser: new(true), IsManual: new(false), IsOAuth: new(true),
		NeedsUpdatedCredentials: new(false), BackgroundAggregationIsDisabled: new(false),
		UseCases:                 []string{"MONEY_MOVEMENT", "PFM"},
		AggregatedAt:             new(time.Date(2026, 3, 14, 9, 20, 0, 0, time.UTC)),
		SuccessfullyAggregatedAt: new(time.Date(2026, 3, 13, 22, 15, 41, 0, time.UTC)),
	}
}

// pendingEvent says that a connected member needs its user to authorize again.
func pendingEvent(tb testing.TB) events.Event {
	tb.Helper()
	e := events.New(subjects(tb), events.TypePending, key(tb), events.Data{
		Member: snapshot(events.StatusPending),
		Previous: map[string]json.RawMessage{
			"connection_status":         json.RawMessage(`"CONNECTED"`),
			"connection_status_message": json.RawMessage(`"MX Bank says: CONNECTED"`),
			"oauth_required":            json.RawMessage(`false`),
		},
		Changed:       []string{"connection_status", "connection_status_message", "oauth_required"},
		Action:        events.Action{Actor: events.ActorUser, Kind: events.ActionAuthorize},
		OAuthRequired: true, Revision: 2, ObservedAt: observedAt,
	})
	e.CorrelationID, e.Reason = "cmd-7f3a", "nightly check"
	e.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	return e
}
