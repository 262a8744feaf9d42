package mxsim_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestOAuthMemberLivesFromPendingToConnected(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{SettleReads: 2})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	if got := s.read(t, m); got["connection_status"] != "PENDING" || got["oauth_window_uri"] == nil || got["successfully_aggregated_at"] != nil {
		t.Fatalf("new: %v", got)
	}
	must(t, s.Authorize(m.GUID, ""))
	s.clock.advance(time.Minute)
	for range 2 {
		got := s.read(t, m)
		if got["connection_status"] != "CREATED" || got["is_being_aggregated"] != true || got["oauth_window_uri"] != nil {
			t.Errorf("authorized: %v", got)
		}
	}
	got := s.read(t, m)
	if got["connection_status"] != "CONNECTED" || got["is_being_aggregated"] != false ||
		got["aggregated_at"] != "2026-03-01T12:00:00.000Z" || got["successfully_aggregated_at"] != "2026-03-01T12:01:00.000Z" {
		t.Errorf("settled: %v", got)
	}
	must(t, s.Authorize(m.GUID, "IMPAIRED"))
	s.wantStatuses(t, m, "UPDATED", "UPDATED", "IMPAIRED", "IMPAIRED")
}

func TestAuthorizationSettlesWithTime(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{SettleAfter: 10 * time.Second})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	must(t, s.Authorize(m.GUID, ""))
	s.wantStatuses(t, m, "CREATED", "CREATED", "CREATED")
	s.clock.advance(10*time.Second - 1)
	s.wantStatuses(t, m, "CREATED")
	s.clock.advance(time.Hour)
	if got := s.get(t, path(m)+"/status").member(t, 200); got["successfully_aggregated_at"] != "2026-03-01T12:00:10.000Z" {
		t.Errorf("settled when looked at, not when due: %v", got)
	}
}

func TestASetStatusEndsWhatWasUnderWay(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{SettleReads: 1})
	m := s.add(t, mxsim.Patch{"is_oauth": true})
	for _, tt := range []struct {
		patch       mxsim.Patch
		status      string
		aggregating bool
	}{
		{mxsim.Patch{"connection_status": "LOCKED"}, "LOCKED", false},
		{mxsim.Patch{"connection_status": "CONNECTED", "is_being_aggregated": true}, "CONNECTED", true},
		{mxsim.Patch{"is_being_aggregated": false}, "CREATED", false},
	} {
		must(t, s.Authorize(m.GUID, "IMPAIRED"))
		must(t, s.Set(m.GUID, tt.patch))
		for range 3 {
			got := s.read(t, m)
			if got["connection_status"] != tt.status || got["is_being_aggregated"] != tt.aggregating {
				t.Errorf("%v: %v, aggregating %v", tt.patch, got["connection_status"], got["is_being_aggregated"])
			}
		}
	}
}

func TestASyntheticMemberKeepsItsStatusWhenAggregated(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{SettleReads: 1})
	m := s.add(t, nil)
	p := "/users/" + m.UserGUID + "/members/CREATED"
	s.call(t, http.MethodPost, p+"/aggregate", "").member(t, 202)
	for _, aggregating := range []bool{true, false} {
		got := s.get(t, p).member(t, 200)
		if got["connection_status"] != "CREATED" || got["is_being_aggregated"] != aggregating {
			t.Errorf("aggregating %v: %v", aggregating, got)
		}
	}
}

func TestOnlyOAuthMembersAreAuthorizedAndOnlyChallengedOnesAnswer(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	for name, err := range map[string]error{
		"authorize": s.Authorize(m.GUID, ""), "answer": s.AnswerChallenge(m.GUID, ""),
		"expire": s.Expire(m.GUID), "settle": s.Settle(m.GUID),
	} {
		if !errors.Is(err, mxsim.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Authorize("MBR-none", ""); !errors.Is(err, mxsim.ErrNotFound) {
		t.Errorf("unknown member: %v", err)
	}
}

func TestChallengeIsAnsweredOrExpires(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"connection_status": "CHALLENGED"})
	must(t, s.AnswerChallenge(m.GUID, "REJECTED"))
	s.wantStatuses(t, m, "RESUMED", "RESUMED")
	must(t, s.Settle(m.GUID))
	s.wantStatuses(t, m, "REJECTED")
	must(t, s.Set(m.GUID, mxsim.Patch{"connection_status": "CHALLENGED"}))
	must(t, s.Expire(m.GUID))
	s.wantStatuses(t, m, "EXPIRED")
	must(t, s.Set(m.GUID, mxsim.Patch{"connection_status": "CHALLENGED"}))
	must(t, s.AnswerChallenge(m.GUID, ""))
	must(t, s.Settle(m.GUID))
	s.wantStatuses(t, m, "CONNECTED")
}

func TestAggregateAnswers202WhetherItStartsOrNot(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{SettleReads: 1, AggregateInterval: time.Hour})
	m := s.add(t, nil)
	aggregate := func(want int) map[string]any {
		t.Helper()
		resp := s.call(t, http.MethodPost, path(m)+"/aggregate", `{}`)
		if want != 202 {
			if resp.status != want {
				t.Errorf("status %d, want %d", resp.status, want)
			}
			return nil
		}
		return resp.member(t, 202)
	}
	if got := aggregate(202); got["is_being_aggregated"] != false {
		t.Errorf("too soon: %v", got)
	}
	s.clock.advance(2 * time.Hour)
	must(t, s.Set(m.GUID, mxsim.Patch{"other_job": true}))
	aggregate(409)
	must(t, s.Set(m.GUID, mxsim.Patch{"other_job": false}))
	started := aggregate(202)
	if started["is_being_aggregated"] != true || started["aggregated_at"] != "2026-03-01T14:00:00.000Z" {
		t.Errorf("started: %v", started)
	}
	s.clock.advance(time.Minute)
	if got := aggregate(202); got["aggregated_at"] != started["aggregated_at"] {
		t.Errorf("a running job was started again: %v", got)
	}
	if got := s.read(t, m); got["is_being_aggregated"] != true {
		t.Errorf("first read: %v", got)
	}
	got := s.read(t, m)
	if got["is_being_aggregated"] != false || got["successfully_aggregated_at"] != "2026-03-01T14:01:00.000Z" || got["connection_status"] != "CONNECTED" {
		t.Errorf("settled: %v", got)
	}

	broken := s.add(t, mxsim.Patch{"connection_status": "DENIED", "aggregated_at": nil, "successfully_aggregated_at": nil})
	s.call(t, http.MethodPost, path(broken)+"/aggregate", "").member(t, 202)
	must(t, s.Settle(broken.GUID))
	if got := s.read(t, broken); got["connection_status"] != "DENIED" || got["successfully_aggregated_at"] != nil {
		t.Errorf("an aggregation healed a broken member: %v", got)
	}
}

func TestDeletedMembersAndUsersAnswer404UntilRestored(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, mxsim.Patch{"id": "one"})
	sibling := s.addTo(t, m.UserGUID, nil)
	must(t, s.Delete(m.GUID))
	for _, p := range []string{path(m), path(m) + "/status", path(m) + "/oauth_window_uri", "/users/" + m.UserGUID + "/members/one"} {
		if resp := s.get(t, p); resp.status != 404 {
			t.Errorf("%s: status %d", p, resp.status)
		}
	}
	if list := as[[]any](t, s.get(t, "/users/"+m.UserGUID+"/members").object(t, 200)["members"]); len(list) != 1 {
		t.Errorf("%d members listed", len(list))
	}
	must(t, s.Restore(m.GUID))
	s.read(t, m)
	s.get(t, "/users/"+m.UserGUID+"/members/one").member(t, 200)
	must(t, s.DeleteUser(m.UserGUID))
	for _, p := range []string{path(m), path(sibling), "/users/" + m.UserGUID + "/members", "/users/" + m.UserGUID + "/members/LOCKED"} {
		if resp := s.get(t, p); resp.status != 404 {
			t.Errorf("user deleted, %s: status %d", p, resp.status)
		}
	}
	if err := s.Restore(m.GUID); !errors.Is(err, mxsim.ErrInvalid) {
		t.Errorf("restored a member of a deleted user: %v", err)
	}
	for _, err := range []error{s.Delete("MBR-none"), s.DeleteUser(m.UserGUID), s.Set(sibling.GUID, mxsim.Patch{"name": "x"})} {
		if !errors.Is(err, mxsim.ErrNotFound) {
			t.Errorf("gone: %v", err)
		}
	}
}

func TestAScriptIsPlayedOneStepPerRead(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	must(t, s.Script(m.GUID,
		mxsim.Patch{"connection_status": "CHALLENGED"},
		mxsim.Patch{"connection_status": nil},
		mxsim.Patch{"connection_status": "QUANTUM_LOST", "error": map[string]any{"error_code": 2004}},
	))
	s.inject(t, mxsim.Fault{Kind: mxsim.FaultStatus, Status: 500, Count: 1})
	s.get(t, path(m)) // a fault takes no step, and neither do these
	s.get(t, path(m)+"/status")
	s.get(t, "/users/"+m.UserGUID+"/members")
	if truth, err := s.Truth(m.GUID); err != nil || truth.ScriptLeft != 3 || *truth.Member.ConnectionStatus != "CONNECTED" {
		t.Errorf("truth %+v, %v", truth, err)
	}
	s.wantStatuses(t, m, "CHALLENGED", nil, "QUANTUM_LOST", "QUANTUM_LOST")
	if e, ok := s.read(t, m)["error"].(map[string]any); !ok || e["error_code"] != 2004.0 || e["error_type"] == nil {
		t.Errorf("error %v", e)
	}
}

func TestSetChangesFieldsAndRefusesUnknownOnes(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	m := s.add(t, nil)
	before, err := s.Truth(m.GUID)
	must(t, err)
	must(t, s.Set(m.GUID, mxsim.Patch{
		"connection_status": "DEGRADED", "is_manual": nil, "name": "Other \"Bank\" é", "use_cases": []string{"PFM", "MONEY_MOVEMENT"},
		"error": mxsim.MemberError{Code: 3000, Message: new("x")}, "aggregated_at": time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		"absent": []string{"is_oauth"}, "raw": map[string]any{"is_managed_by_user": "yes", "surprise": []int{1}},
	}))
	got := s.read(t, m)
	_, hasOAuth := got["is_oauth"]
	if got["connection_status"] != "DEGRADED" || got["is_manual"] != nil || got["name"] != "Other \"Bank\" é" || hasOAuth ||
		got["is_managed_by_user"] != "yes" || got["surprise"] == nil || got["aggregated_at"] != "2026-01-02T03:04:05.678Z" ||
		len(as[[]any](t, got["use_cases"])) != 2 || as[map[string]any](t, got["error"])["error_type"] != nil {
		t.Errorf("member %v", got)
	}
	if *before.Member.Name != "Bank of Simulation" || len(before.Member.UseCases) != 1 {
		t.Errorf("a change reached an older state: %+v", before.Member)
	}
	if after, err := s.Truth(m.GUID); err != nil || after.Version <= before.Version {
		t.Errorf("version %d after %d", after.Version, before.Version)
	}
	for _, p := range []mxsim.Patch{
		{"connection_state": "X"}, {"Name": "x"}, {"guid": "MBR-2"}, {"user_id": "x"}, {"is_oauth": "yes"}, {"name": func() {}},
	} {
		if err := s.Set(m.GUID, p); !errors.Is(err, mxsim.ErrInvalid) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestFlipTogglesADeterministicHalf(t *testing.T) {
	t.Parallel()
	s := start(t, mxsim.Config{})
	refs, err := s.AddBulk(mxsim.Bulk{Users: 10, MembersPerUser: 1})
	must(t, err)
	flip := mxsim.Flip{To: "DISCONNECTED"}
	for round, want := range []string{"DISCONNECTED", "CONNECTED"} {
		if n := s.Flip(flip); n != 5 {
			t.Errorf("round %d: flipped %d of 10", round, n)
		}
		for i, ref := range refs {
			expected := "CONNECTED"
			if i%2 == 0 {
				expected = want
			}
			truth, err := s.Truth(ref.GUID)
			must(t, err)
			if *truth.Member.ConnectionStatus != expected {
				t.Errorf("round %d: member %d is %s", round, i, *truth.Member.ConnectionStatus)
			}
		}
	}
}
