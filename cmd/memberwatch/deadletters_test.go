package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
)

// newLetterWard returns an installation without workers, so that nothing moves
// by itself.
func newLetterWard(t *testing.T) *ward {
	t.Helper()
	s := startNATS(t, conf)
	w := newWard(t, s, s.ClientURL())
	var out bytes.Buffer
	if err := run(t.Context(), []string{"topology", "apply"}, envconfig.MapLookuper(w.env), &out, &out); err != nil {
		t.Fatal(err)
	}
	return w
}

// die stores the dead letter of a command, and returns its sequence.
func (w *ward) die(c events.Category, reason, body string, change ...func(*events.DeadLetter)) uint64 {
	w.t.Helper()
	sum := sha256.Sum256([]byte(body))
	l := events.DeadLetter{
		Headers: map[string][]string{"traceparent": {"00-1-2-01"}}, Body: []byte(body), BodySize: len(body), BodySHA256: hex.EncodeToString(sum[:]),
		Subject: "mx.commands.member.refresh", Stream: "MX_COMMANDS", Sequence: 7, Reason: reason, Category: c, Attempts: 2,
		FirstAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), DeadAt: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC),
	}
	for _, f := range change {
		f(&l)
	}
	raw, err := json.Marshal(l)
	if err != nil {
		w.t.Fatal(err)
	}
	ack, err := w.js().Publish(w.t.Context(), "mx.deadletters."+string(l.Category), raw)
	if err != nil {
		w.t.Fatal(err)
	}
	return ack.Sequence
}

// do runs a command line, with answers if somebody is there to give them.
func (w *ward) do(answers string, args ...string) (stdout, stderr string, err error) {
	w.t.Helper()
	var out, logs bytes.Buffer
	p := &program{env: envconfig.MapLookuper(w.env), stdout: &out, stderr: &logs}
	if answers != "" {
		p.stdin = strings.NewReader(answers)
	}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&logs)
	err = root.ExecuteContext(w.t.Context())
	return out.String(), logs.String(), err
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func (w *ward) messages(stream string) uint64 { return w.census()[stream].Msgs }

func TestDeadLettersAreListedByCategoryReasonAndTime(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	w.die(events.CategoryInvalid, "user: missing", "{}")
	w.die(events.CategoryExhausted, "mx read_member: timeout", "{}")
	w.die(events.CategoryInvalid, "member:\x1b[2J missing\nat https://oauth.example/authorize?state=hunter2", "{}")
	for name, tc := range map[string]struct {
		args []string
		want []string // the sequences
	}{
		"all":         {nil, []string{"1", "2", "3"}},
		"category":    {[]string{"--category", "invalid"}, []string{"1", "3"}},
		"reason":      {[]string{"--reason", "MISSING"}, []string{"1", "3"}},
		"both":        {[]string{"--category", "exhausted", "--reason", "missing"}, nil},
		"limit":       {[]string{"--limit", "2"}, []string{"1", "2"}},
		"since long":  {[]string{"--since", "1h"}, []string{"1", "2", "3"}},
		"since never": {[]string{"--since", "2999-01-01T00:00:00Z"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, logs, err := w.do("", append([]string{"deadletters", "ls"}, tc.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out) {
				if seq := strings.Fields(line)[0]; seq != "SEQUENCE" {
					got = append(got, seq)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("sequences (-want +got):\n%s\n%s", diff, out)
			}
			if (tc.want == nil) != strings.Contains(logs, "no dead letters") {
				t.Errorf("said beside it: %q", logs)
			}
			if strings.Contains(out, "hunter2") || strings.Contains(out, "\x1b") {
				t.Errorf("shown as it was written:\n%q", out)
			}
		})
	}
	out, _, err := w.do("", "deadletters", "ls", "--json", "--category", "exhausted")
	var l letterView
	if bad := json.Unmarshal([]byte(out), &l); err != nil || bad != nil || l.Sequence != 2 || l.Category != events.CategoryExhausted || l.Message != 7 || l.Body != nil {
		t.Errorf("%v %v: %s", err, bad, out)
	}
}

func TestDeadLetterIsShownWithoutWhatIsSecret(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	seq := w.die(events.CategoryInvalid, "reason: is a JSON number; want a string",
		`{"user":"anna","reason":12345678901234567890,"api_key":"hunter2","deep":[{"oauth_window_uri":"hunter2"}],"at":"https://u:hunter2@bank.example/a?b=hunter2"}`,
		func(l *events.DeadLetter) {
			l.Headers["Authorization"] = []string{"Basic hunter2"}
			l.Headers["X-Note"] = []string{"sent with Bearer hunter2"}
		})
	broken := w.die(events.CategoryInvalid, "body: is not JSON", `{"password": "hunter2, "x"`)
	for _, args := range [][]string{{"show", decimal(seq)}, {"show", decimal(seq), "--json"}, {"show", decimal(broken)}, {"ls", "--json"}} {
		out, _, err := w.do("", append([]string{"deadletters"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out, "hunter2") {
			t.Errorf("%v shows a secret:\n%s", args, out)
		}
		if args[0] == "show" && args[1] == decimal(seq) {
			for _, want := range []string{"anna", "12345678901234567890", "want a string", "https://bank.example/…", "00-1-2-01", "Authorization", "2026-03-02T12:00:00Z"} {
				if !strings.Contains(out, want) {
					t.Errorf("%v lacks %q:\n%s", args, want, out)
				}
			}
		}
	}
	if _, _, err := w.do("", "deadletters", "show", "99"); err == nil || errors.Is(err, errUsage) || !strings.Contains(err.Error(), "no such dead letter: 99") {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestDroppingAsksOrWantsToBeToldSo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers string
		args    []string
		left    uint64
		asks    string
		err     error
	}{
		"agreed":              {"y\n", []string{"--category", "invalid"}, 1, "2 dead letters (2 invalid) will be removed", nil},
		"declined":            {"n\n", []string{"--all"}, 3, "3 dead letters (1 exhausted, 2 invalid)", errDeclined},
		"no answer":           {"\n", []string{"--all"}, 3, "Go on? [y/N]", errDeclined},
		"nobody there":        {"", []string{"--all"}, 3, "", errUsage},
		"--yes":               {"", []string{"--all", "--yes"}, 0, "", nil},
		"by reason":           {"", []string{"--reason", "timeout", "--yes"}, 2, "", nil},
		"one":                 {"yes\n", []string{"2"}, 2, "1 dead letters will be removed", nil},
		"one, nobody there":   {"", []string{"2"}, 3, "", errUsage},
		"some":                {"", []string{"1", "3", "--yes"}, 1, "", nil},
		"none that match":     {"", []string{"--category", "panicked"}, 3, "", nil},
		"nothing chosen":      {"y\n", nil, 3, "", errUsage},
		"all and some":        {"y\n", []string{"--all", "--category", "invalid"}, 3, "", errUsage},
		"sequence and filter": {"y\n", []string{"1", "--all"}, 3, "", errUsage},
		"no category":         {"y\n", []string{"--category", "stale"}, 3, "", errUsage},
		"no sequence":         {"y\n", []string{"first"}, 3, "", errUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLetterWard(t)
			w.die(events.CategoryInvalid, "user: missing", "{}")
			w.die(events.CategoryExhausted, "mx read_member: timeout", "{}")
			w.die(events.CategoryInvalid, "member: missing", "{}")
			out, logs, err := w.do(tc.answers, append([]string{"deadletters", "drop"}, tc.args...)...)
			if !errors.Is(err, tc.err) || (tc.err == nil && err != nil) {
				t.Errorf("error %v, want %v", err, tc.err)
			}
			if !strings.Contains(logs, tc.asks) {
				t.Errorf("asks %q, want %q", logs, tc.asks)
			}
			if got := w.messages("MX_DEADLETTERS"); got != tc.left {
				t.Errorf("%d are left, want %d\n%s", got, tc.left, out)
			}
		})
	}
}

func TestLettersWrittenAfterTheCountStay(t *testing.T) {
	t.Parallel()
	for name, q := range map[string]bus.Letters{"by category": {Category: events.CategoryInvalid}, "by reason": {Reason: "miss"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newLetterWard(t)
			w.die(events.CategoryInvalid, "user: missing", "{}")
			subjects, err := events.NewSubjects(events.DefaultPrefix)
			if err != nil {
				t.Fatal(err)
			}
			box := bus.NewLetterbox(w.js(), subjects)
			by, until, err := box.Count(t.Context(), q)
			if err != nil || by[events.CategoryInvalid] != 1 {
				t.Fatal(by, err)
			}
			w.die(events.CategoryInvalid, "user: missing", "{}")
			q.Until = until
			if n, err := box.Drop(t.Context(), q); n != 1 || err != nil {
				t.Errorf("dropped %d, %v", n, err)
			}
			if got := w.messages("MX_DEADLETTERS"); got != 1 {
				t.Errorf("%d are left, want the one that came later", got)
			}
		})
	}
}

func TestRetriedLettersGoBackAndAreGone(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	body := `{"user":"anna","member":"checking"}`
	w.die(events.CategoryExhausted, "timeout", body, func(l *events.DeadLetter) {
		l.Headers["Nats-Msg-Id"] = []string{"first"}
		l.Headers["Nats-Rollup"] = []string{"all"}
		l.Headers["nats-schedule"] = []string{"@every 1s"}
		l.Headers["Content-Type"] = []string{"application/json"}
	})
	w.die(events.CategoryExhausted, "timeout", "", func(l *events.DeadLetter) { l.Subject = "mx.commands.member.refresh.USR-1.MBR-1" })
	w.die(events.CategoryExhausted, "timeout", "event", func(l *events.DeadLetter) {
		l.Stream, l.Subject = "MX_EVENTS", "mx.events.member.connected.USR-2.MBR-2"
	})
	w.die(events.CategoryExhausted, "timeout", `{"cause":"confirm_deletion","correlation_id":"c-9"}`, func(l *events.DeadLetter) {
		l.Stream, l.Subject = "MX_BACKGROUND", "mx.background.due.USR-3.MBR-3"
	})
	cut := w.die(events.CategoryExhausted, "timeout", body, func(l *events.DeadLetter) { l.Body = l.Body[:10] })
	chain := w.die(events.CategoryExhausted, "timeout", `{"cause":"chain","chain":"sweep"}`, func(l *events.DeadLetter) {
		l.Stream, l.Subject = "MX_BACKGROUND", "mx.background.due._._"
	})
	foreign := w.die(events.CategoryExhausted, "timeout", body, func(l *events.DeadLetter) { l.Stream, l.Subject = "OTHER", "other" })

	if _, _, err := w.do("", "deadletters", "retry", "--all"); !errors.Is(err, errUsage) {
		t.Errorf("without anybody to ask: %v", err)
	}
	out, logs, err := w.do("", "deadletters", "retry", "--category", "exhausted", "--yes")
	if !errors.Is(err, errLeft) || !strings.Contains(out, "retried    4") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{
		fmt.Sprintf("letter %d stays: the body was not kept whole: 10 of 35 bytes", cut),
		fmt.Sprintf("letter %d stays: there is no way back", chain), fmt.Sprintf("letter %d stays: there is no way back", foreign),
	} {
		if !strings.Contains(logs, want) {
			t.Errorf("not said: %q\n%s", want, logs)
		}
	}
	type sent struct{ Subject, Body, ID, CommandID, Trace, Rest string }
	var got []sent
	s, err := w.js().Stream(t.Context(), "MX_COMMANDS")
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		var c events.Command
		_ = json.Unmarshal(m.Data, &c) // Not all have a body.
		one := sent{Subject: m.Subject, Body: c.User + "/" + c.Member, ID: m.Header.Get(jetstream.MsgIDHeader), CommandID: c.CommandID, Trace: m.Header["traceparent"][0]}
		for _, name := range []string{"Nats-Rollup", "nats-schedule"} {
			if len(m.Header[name]) > 0 {
				one.Rest += name
			}
		}
		got = append(got, one)
	}
	if diff := cmp.Diff([]sent{
		{"mx.commands.member.refresh", "anna/checking", "retry-MX_DEADLETTERS-1", "", "00-1-2-01", ""},
		{"mx.commands.member.refresh.USR-1.MBR-1", "/", "retry-MX_DEADLETTERS-2", "", "00-1-2-01", ""},
		{"mx.commands.member.refresh", "USR-2/MBR-2", "retry-MX_DEADLETTERS-3", "", "00-1-2-01", ""},
		{"mx.commands.member.refresh", "USR-3/MBR-3", "retry-MX_DEADLETTERS-4", "c-9", "00-1-2-01", ""},
	}, got); diff != "" {
		t.Errorf("sent again (-want +got):\n%s", diff)
	}
	if got := w.messages("MX_DEADLETTERS"); got != 3 {
		t.Errorf("%d letters are left, want 3", got)
	}
	if got := w.messages("MX_EVENTS") + w.messages("MX_BACKGROUND"); got != 0 {
		t.Errorf("%d messages went where they must not", got)
	}
}

func TestRetryKeepsTheLetterUntilItsMessageIsStored(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	seq := w.die(events.CategoryExhausted, "timeout", `{"user":"anna","member":"checking"}`)
	w.changeStream("MX_COMMANDS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	if _, err := w.js().Publish(t.Context(), "mx.commands.member.refresh", []byte("in the way")); err != nil {
		t.Fatal(err)
	}
	if out, _, err := w.do("", "deadletters", "retry", decimal(seq)); err == nil || !strings.Contains(out, "retried    0") {
		t.Errorf("a full queue: %v\n%s", err, out)
	}
	if got := w.messages("MX_DEADLETTERS"); got != 1 {
		t.Errorf("%d letters are left, want 1", got)
	}
	w.changeStream("MX_COMMANDS", func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	if _, _, err := w.do("", "deadletters", "retry", decimal(seq)); err != nil {
		t.Fatal(err)
	}
	if commands, letters := w.messages("MX_COMMANDS"), w.messages("MX_DEADLETTERS"); commands != 2 || letters != 0 {
		t.Errorf("%d commands and %d letters, want 2 and 0", commands, letters)
	}
	if _, _, err := w.do("", "deadletters", "retry", decimal(seq)); !errors.Is(err, errLeft) {
		t.Errorf("one that is gone: %v", err)
	}
}

func TestLettersThatAreNoneAreListedAndDropped(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	if _, err := w.js().Publish(t.Context(), "mx.deadletters.invalid", []byte("not JSON")); err != nil {
		t.Fatal(err)
	}
	if out, _, err := w.do("", "deadletters", "ls"); err != nil || !strings.Contains(out, "unreadable") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := w.do("", "deadletters", "show", "1"); err != nil || !strings.Contains(out, "unreadable") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := w.do("", "deadletters", "retry", "1"); !errors.Is(err, errLeft) {
		t.Error(err)
	}
	if _, _, err := w.do("", "deadletters", "drop", "1", "--yes"); err != nil || w.messages("MX_DEADLETTERS") != 0 {
		t.Error(err)
	}
}

func TestManyLettersAreReadPageByPage(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	const n = 100 // some pages
	for i := range n {
		w.die(events.CategoryInvalid, fmt.Sprintf("number %d", i%2), "{}")
	}
	out, _, err := w.do("", "deadletters", "ls", "--json")
	if err != nil || strings.Count(out, "\n") != n {
		t.Errorf("%v: %d lines", err, strings.Count(out, "\n"))
	}
	if out, _, err := w.do("", "deadletters", "retry", "--reason", "number 1", "--yes"); err != nil || !strings.Contains(out, "retried    50") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := w.do("", "deadletters", "drop", "--reason", "number 0", "--yes"); err != nil || !strings.Contains(out, "dropped    50") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := w.messages("MX_DEADLETTERS"); got != 0 {
		t.Errorf("%d are left", got)
	}
}
