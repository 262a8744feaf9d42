package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/events"
)

func TestForgetAsksAndSaysWhatItRemoved(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	k, other := w.addMember(), w.addMember()
	w.publish(k)
	w.publish(other)
	w.die(events.CategoryInvalid, "a reason", `{"user":"`+k.User()+`","member":"`+k.Member()+`"}`)
	if _, err := w.js().Publish(t.Context(), "$KV.MX_IDS."+strings.Repeat("ab", 32), []byte(`{"user_guid":"`+k.User()+`","member_guid":"`+k.Member()+`"}`)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		answers string
		args    []string
		err     error
	}{
		"declined":             {"n\n", []string{k.User(), k.Member()}, errDeclined},
		"nobody there":         {"", []string{k.User(), k.Member()}, errUsage},
		"nobody named":         {"y\n", nil, errUsage},
		"too many":             {"y\n", []string{"a", "b", "c"}, errUsage},
		"a user's own id":      {"y\n", []string{"anna"}, errUsage},
		"no ids":               {"y\n", []string{"a/b", "c d"}, errUsage},
		"ids nobody knows":     {"y\n", []string{"anna", "checking"}, errUnknownIDs},
		"no time":              {"y\n", []string{k.User(), "--wait", "-1s"}, errUsage},
		"a guid that is wrong": {"y\n", []string{"USR-*"}, errUsage},
	} {
		if _, _, err := w.do(tc.answers, append([]string{"forget"}, tc.args...)...); !errors.Is(err, tc.err) {
			t.Errorf("%s: error %v, want %v", name, err, tc.err)
		}
	}
	if got := w.messages("MX_EVENTS"); got != 2 {
		t.Fatalf("%d events are left", got)
	}
	out, logs, err := w.do("y\n", "forget", k.User(), k.Member(), "--wait", "100ms")
	if err != nil {
		t.Fatal(err)
	}
	if want := "3 messages about member " + k.Member(); !strings.Contains(logs, want) {
		t.Errorf("asked %q, want %q", logs, want)
	}
	fields := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"removed MX_BACKGROUND 0", "removed MX_COMMANDS 0", "removed MX_DEADLETTERS 1", "removed MX_IDS 1", "removed MX_OAUTH 0", "removed MX_EVENTS 1",
		"still at MX will be discovered again",
	} {
		if !strings.Contains(fields, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if events, ids := w.messages("MX_EVENTS"), w.messages("KV_MX_IDS"); events != 1 || ids != 0 {
		t.Errorf("%d events and %d ids are left, want 1 and 0", events, ids)
	}
	if out, _, err := w.do("", "forget", other.User(), "--wait", "100ms", "--yes"); err != nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "MX_EVENTS 1") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestForgetWaitsForAsLongAsAReadMayTake(t *testing.T) {
	t.Parallel()
	w := newWard(t, nil, "")
	w.env["MX_TIMEOUT"], w.env["FOLLOW_UP_AFTER"] = "7s", "2s"
	got, err := w.program().readTime(t.Context())
	if err != nil || got.String() != "24s" {
		t.Errorf("%s, %v; want 24s", got, err)
	}
}
