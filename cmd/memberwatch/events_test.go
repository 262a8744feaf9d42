package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
)

func TestFiltersNarrowTheStream(t *testing.T) {
	t.Parallel()
	s, err := events.NewSubjects("acme")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		all          string
		types        []string
		user, member string
		want         []string
	}{
		"all":              {s.Events(), nil, "", "", []string{"acme.events.member.*.*.*"}},
		"types":            {s.Events(), []string{"closed", "failed"}, "", "", []string{"acme.events.member.closed.*.*", "acme.events.member.failed.*.*"}},
		"user":             {s.Events(), nil, "USR-1", "", []string{"acme.events.member.*.USR-1.*"}},
		"type and member":  {s.Events(), []string{"closed"}, "", "MBR-1", []string{"acme.events.member.closed.*.MBR-1"}},
		"announcements":    {s.OAuth(), nil, "", "", []string{"acme.oauth.member.oauth_required.*.*"}},
		"announcements of": {s.OAuth(), nil, "USR-1", "MBR-1", []string{"acme.oauth.member.oauth_required.USR-1.MBR-1"}},
	} {
		if diff := cmp.Diff(tc.want, filters(tc.all, tc.types, tc.user, tc.member)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestTypesAreTakenWithAndWithoutPrefix(t *testing.T) {
	t.Parallel()
	got, err := parseTypes([]string{"member.failed", "closed", "failed", "brand_new"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"brand_new", "closed", "failed"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSinceIsATimeOrAnAge(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                     {},
		"90m":                  now.Add(-90 * time.Minute),
		"2026-02-01T00:00:00Z": time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"-1h", "1", "2026-02-01", "now"} {
		if got, err := parseSince(s, now); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestLineSaysWhatChangedAndWhatToDo(t *testing.T) {
	t.Parallel()
	k, err := events.NewKey("USR-1", "MBR-12345678901234567890")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	e := events.Event{Key: k, Time: at}
	e.Data.Member.Name = new("Bank of a Very Long Name")
	line := func(t events.Type, change func(*events.Data)) string {
		e := e
		e.Type = t
		change(&e.Data)
		var b bytes.Buffer
		(&lines{w: &b, short: true}).event(&e)
		return b.String()
	}
	denied := new(events.StatusDenied)
	for want, got := range map[string]string{
		"12:00:00.000  ← denied              Bank of a Very … MBR-1234567… CONNECTED → DENIED        user: update credentials\n": line(events.TypeDenied, func(d *events.Data) {
			d.Member.ConnectionStatus = denied
			d.Previous = map[string]json.RawMessage{"connection_status": json.RawMessage(`"CONNECTED"`)}
			d.Action = events.Action{Actor: events.ActorUser, Kind: events.ActionUpdateCredentials}
		}),
		"12:00:00.000  ← denied              Bank of a Very … MBR-1234567… ? → DENIED\n": line(events.TypeDenied, func(d *events.Data) {
			d.Member.ConnectionStatus = denied
			d.Previous = map[string]json.RawMessage{"connection_status": json.RawMessage(`null`)}
		}),
		"12:00:00.000  ← attributes_changed  Bank of a Very … MBR-1234567… DENIED: name, id          wait, MX is aggregating\n": line(events.TypeAttributesChanged, func(d *events.Data) {
			d.Member.ConnectionStatus = denied
			d.Previous, d.Changed = map[string]json.RawMessage{}, []string{"name", "id"}
			d.Action = events.Action{Actor: events.ActorNone, Kind: events.ActionWait}
			d.Provisional = true
		}),
		"12:00:00.000  ← deleted             Bank of a Very … MBR-1234567… DENIED → deleted\n": line(events.TypeDeleted, func(d *events.Data) {
			d.Member.ConnectionStatus, d.Deleted = denied, true
			d.Action = events.Action{Actor: events.ActorNone, Kind: events.ActionNone}
		}),
		"12:00:00.000  ← discovered          Bank of a Very … MBR-1234567… no status\n":      line(events.TypeDiscovered, func(*events.Data) {}),
		"12:00:00.000  ← oauth_required      Bank of a Very … MBR-1234567… MX gave no URI\n": line(events.TypeOAuthRequired, func(*events.Data) {}),
		"12:00:00.000  ← oauth_required      Bank of a Very … MBR-1234567… https://bank.example/authorize?aaaaaaaaaaaa…\n": line(events.TypeOAuthRequired, func(d *events.Data) {
			d.OAuthWindowURI = "https://bank.example/authorize?aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		}),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestOnlyATerminalGetsColors(t *testing.T) {
	t.Parallel()
	none := func(string) (string, bool) { return "", false }
	if newLines(&bytes.Buffer{}, none).color {
		t.Error("colors for what is no terminal")
	}
	var b bytes.Buffer
	(&lines{w: &b, color: true}).heading("Act")
	if b.String() != "\n\x1b[1mAct\x1b[0m\n" {
		t.Errorf("%q", b.String())
	}
}
