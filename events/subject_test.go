package events_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
)

// badTokens are names that must never become part of a subject.
var badTokens = []string{
	"", ".", "..", "a.b", "*", ">", "a*", "a>", "a b", " a", "a\t", "a\n", "a\x00", "a\x7f", "$JS", "a/b", "é", "\xff",
	strings.Repeat("a", 65), strings.Repeat("a", 2000),
}

func TestKeyIsRefusedWhenAGuidIsNoToken(t *testing.T) {
	t.Parallel()
	for _, bad := range badTokens {
		if events.ValidToken(bad) {
			t.Errorf("ValidToken(%q) = true", bad)
		}
		if k, err := events.NewKey(bad, memberGUID); err == nil || !k.IsZero() || !strings.Contains(err.Error(), "user_guid: ") {
			t.Errorf("NewKey(%q, good) = %v, %v; want an error that names user_guid", bad, k, err)
		}
		k, err := events.NewKey(userGUID, bad)
		if err == nil || !k.IsZero() || !strings.Contains(err.Error(), "member_guid: ") {
			t.Errorf("NewKey(good, %q) = %v, %v; want an error that names member_guid", bad, k, err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("the error repeats %d bytes of a bad guid", len(err.Error()))
		}
	}
}

func TestKeyKeepsBothGuids(t *testing.T) {
	t.Parallel()
	k := key(t)
	if k.User() != userGUID || k.Member() != memberGUID || k.IsZero() || k.String() != userGUID+"/"+memberGUID {
		t.Errorf("key is %v", k)
	}
	if long := strings.Repeat("a", 64); !events.ValidToken(long) {
		t.Error("a token of 64 characters is refused")
	}
}

func TestSubjectPrefixIsOneShortToken(t *testing.T) {
	t.Parallel()
	for _, bad := range append([]string{strings.Repeat("a", 33)}, badTokens...) {
		if _, err := events.NewSubjects(bad); err == nil {
			t.Errorf("NewSubjects(%q) succeeded", bad)
		}
	}
	for _, good := range []string{"mx", "acme-mx", "MX_2", strings.Repeat("a", 32)} {
		s, err := events.NewSubjects(good)
		if err != nil || s.Prefix() != good {
			t.Errorf("NewSubjects(%q) = %q, %v", good, s.Prefix(), err)
		}
	}
}

func TestNamesOnTheWireAreTheContract(t *testing.T) {
	t.Parallel()
	s := subjects(t)
	k, err := events.NewKey("USR-1", "MBR-2")
	if err != nil {
		t.Fatal(err)
	}
	refreshOf, err := s.RefreshOf("USR-1", "MBR-2")
	if err != nil {
		t.Fatal(err)
	}
	ofUser, err := s.EventsOfUser("USR-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ got, want string }{
		{s.CommandStream(), "MX_COMMANDS"},
		{s.BackgroundStream(), "MX_BACKGROUND"},
		{s.EventStream(), "MX_EVENTS"},
		{s.OAuthStream(), "MX_OAUTH"},
		{s.DeadLetterStream(), "MX_DEADLETTERS"},
		{s.IDBucket(), "MX_IDS"},
		{s.Commands(), "mx.commands.>"},
		{s.Refresh(), "mx.commands.member.refresh"},
		{refreshOf, "mx.commands.member.refresh.USR-1.MBR-2"},
		{s.Events(), "mx.events.member.*.*.*"},
		{s.EventsOf(k), "mx.events.member.*.USR-1.MBR-2"},
		{ofUser, "mx.events.member.*.USR-1.*"},
		{s.Event(events.TypeConnected, k), "mx.events.member.connected.USR-1.MBR-2"},
		{s.OAuth(), "mx.oauth.member.oauth_required.*.*"},
		{s.OAuthOf(k), "mx.oauth.member.oauth_required.USR-1.MBR-2"},
		{s.Results(), "mx.results.member.refresh.*"},
		{s.Result("c-1"), "mx.results.member.refresh.c-1"},
		{s.DeadLetters(), "mx.deadletters.*"},
		{s.DeadLetter(events.CategoryInvalid), "mx.deadletters.invalid"},
		{s.Background(), "mx.background.>"},
		{s.BackgroundDue(), "mx.background.due.*.*"},
		{s.BackgroundAt("confirm", k), "mx.background.at.confirm.USR-1.MBR-2"},
		{s.BackgroundAtAny("confirm"), "mx.background.at.confirm.*.*"},
		{s.ChainRecord("sweep"), "mx.background.chain.sweep"},
		{s.BackgroundDueOf(k), "mx.background.due.USR-1.MBR-2"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
	for _, c := range events.Categories() {
		if !events.ValidToken(string(c)) {
			t.Errorf("category %q is no token", c)
		}
	}
}

func TestSubjectsReadBackAsWhatTheyWereBuiltFrom(t *testing.T) {
	t.Parallel()
	token := rapid.StringMatching(`[A-Za-z0-9_-]{1,64}`)
	rapid.Check(t, func(t *rapid.T) {
		s, err := events.NewSubjects(rapid.StringMatching(`[A-Za-z0-9_-]{1,32}`).Draw(t, "prefix"))
		if err != nil {
			t.Fatal(err)
		}
		user, member := token.Draw(t, "user"), token.Draw(t, "member")
		k, err := events.NewKey(user, member)
		if err != nil {
			t.Fatal(err)
		}
		typ := events.Type("member." + token.Draw(t, "type"))
		if gotType, gotKey, ok := s.ParseEvent(s.Event(typ, k)); !ok || gotType != typ || gotKey != k {
			t.Errorf("event reads back as %s, %v, %v", gotType, gotKey, ok)
		}
		if gotType, gotKey, ok := s.ParseEvent(s.OAuthOf(k)); !ok || gotType != events.TypeOAuthRequired || gotKey != k {
			t.Errorf("announcement reads back as %s, %v, %v", gotType, gotKey, ok)
		}
		refresh, err := s.RefreshOf(user, member)
		if err != nil {
			t.Fatal(err)
		}
		if u, m, named, ok := s.ParseRefresh(refresh); u != user || m != member || !named || !ok {
			t.Errorf("refresh reads back as %s, %s, %v, %v", u, m, named, ok)
		}
		if u, m, named, ok := s.ParseRefresh(s.Refresh()); u != "" || m != "" || named || !ok {
			t.Errorf("short refresh reads back as %s, %s, %v, %v", u, m, named, ok)
		}
		cause := token.Draw(t, "cause")
		if gotCause, gotKey, ok := s.ParseBackground(s.BackgroundAt(cause, k)); gotCause != cause || gotKey != k || !ok {
			t.Errorf("schedule reads back as %s, %v, %v", gotCause, gotKey, ok)
		}
		if gotCause, gotKey, ok := s.ParseBackground(s.BackgroundDueOf(k)); gotCause != "" || gotKey != k || !ok {
			t.Errorf("due message reads back as %s, %v, %v", gotCause, gotKey, ok)
		}
	})
}

func TestForeignSubjectsAreRefused(t *testing.T) {
	t.Parallel()
	s := subjects(t)
	for _, subject := range []string{
		"", "mx", "mx.", "mx.events.member", "mx.events.member.connected", "mx.events.member.connected.u",
		"mx.events.member.connected.u.m.x", "mx.events.member..u.m", "mx.events.member.connected..m",
		"mx.events.member.connected.u.", "mx.events.member.*.u.m", "mx.events.member.connected.*.m",
		"mx.events.member.connected.u.>", "xmx.events.member.connected.u.m", "other.events.member.connected.u.m",
		"mx.eventsmember.connected.u.m", "mx.oauth.member.oauth_required.u", "mx.events.member.connected.u.m ",
	} {
		if typ, k, ok := s.ParseEvent(subject); ok {
			t.Errorf("ParseEvent(%q) = %s, %v", subject, typ, k)
		}
	}
	for _, subject := range []string{
		"", "mx.commands.member", "mx.commands.member.refresh.", "mx.commands.member.refresh.u",
		"mx.commands.member.refresh.u.", "mx.commands.member.refresh..m", "mx.commands.member.refresh.u.m.x",
		"mx.commands.member.refreshed.u.m", "mx.commands.member.refreshed", "other.commands.member.refresh",
	} {
		if u, m, _, ok := s.ParseRefresh(subject); ok {
			t.Errorf("ParseRefresh(%q) = %q, %q", subject, u, m)
		}
	}
	for _, subject := range []string{
		"", "mx.background", "mx.background.due.u", "mx.background.due.u.m.x", "mx.background.at.u.m",
		"mx.background.at..u.m", "mx.background.at.c.*.m", "mx.background.x.c.u.m", "other.background.due.u.m",
	} {
		if c, k, ok := s.ParseBackground(subject); ok {
			t.Errorf("ParseBackground(%q) = %q, %v", subject, c, k)
		}
	}
	if c, k, ok := s.ParseBackground(s.ChainRecord("sweep")); ok {
		t.Errorf("the record of a chain is read as cause %q, %v", c, k)
	}
	for _, bad := range badTokens {
		if filter, err := s.EventsOfUser(bad); err == nil || !strings.Contains(err.Error(), "user: ") {
			t.Errorf("EventsOfUser(%q) = %q, %v; want an error that names user", bad, filter, err)
		}
		if subject, err := s.RefreshOf(bad, "m"); err == nil {
			t.Errorf("RefreshOf(%q, m) = %q", bad, subject)
		}
		if subject, err := s.RefreshOf("u", bad); err == nil {
			t.Errorf("RefreshOf(u, %q) = %q", bad, subject)
		}
	}
}
