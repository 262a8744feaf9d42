package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
)

// consumers is how many there are on the streams that commands read.
func (w *ward) consumers() map[string]int {
	w.t.Helper()
	n := map[string]int{}
	for name, state := range w.census() {
		n[name] = state.Consumers
	}
	return n
}

func TestCommandsLeaveNoConsumerBehind(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	w.furnish()
	k := w.addMember()
	w.publish(k)
	_ = w.die(events.CategoryInvalid, "a reason", "{}")
	before := w.consumers()
	for _, args := range [][]string{
		{"member", k.User(), k.Member()},
		{"member", "USR-1", "MBR-1"}, // of whom nothing is known
		{"events"},
		{"events", "--since", "2999-01-01T00:00:00Z"},
		{"events", "--oauth"},
		{"doctor"},
		{"deadletters", "ls"},
		{"deadletters", "ls", "--limit", "1"},
		{"forget", k.User(), k.Member(), "--wait", "1ms", "--yes"},
	} {
		_ = run(t.Context(), args, envconfig.MapLookuper(w.env), io.Discard, io.Discard) // Whether it fails is tested elsewhere.
		for stream, n := range w.consumers() {
			if n != before[stream] {
				t.Errorf("%v: %d consumers on %s, want %d", args, n, stream, before[stream])
			}
		}
	}
}

// cancelWriter cancels when something is written.
type cancelWriter struct {
	bytes.Buffer
	cancel context.CancelFunc
}

// Write implements io.Writer.
func (w *cancelWriter) Write(b []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(b)
}

func TestFollowingLeavesNoConsumerBehindWhenItIsBrokenOff(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	w.publish(w.addMember())
	before := w.consumers()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &cancelWriter{cancel: cancel}
	if err := run(ctx, []string{"events", "--follow"}, envconfig.MapLookuper(w.env), out, io.Discard); err != nil || out.Len() == 0 {
		t.Errorf("ends with %v after %q", err, out.String())
	}
	if got, want := w.consumers()["MX_EVENTS"], before["MX_EVENTS"]; got != want {
		t.Errorf("%d consumers, want %d", got, want)
	}
}

func TestReadingLeavesNoConsumerBehindWhenTheReaderHasSeenEnough(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	w.furnish()
	before := w.consumers()
	c, err := w.program().session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, err := range c.read(t.Context(), window{stream: "MX_EVENTS"}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	if got, want := w.consumers()["MX_EVENTS"], before["MX_EVENTS"]; got != want {
		t.Errorf("%d consumers, want %d", got, want)
	}
}

func TestUnreadableEventIsToldWithItsPlaceAndWhatToDo(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	k := w.addMember()
	w.publish(k)
	for _, body := range []string{`nonsense`, `{"specversion":"1.0"}`} {
		if _, err := w.js().Publish(t.Context(), "mx.events.member.connected."+k.User()+"."+k.Member(), []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		args   []string
		failed bool // ends the command; else it is told beside the others
		lines  int
	}{
		"member":        {[]string{"member", k.User(), k.Member()}, true, 0},
		"events":        {[]string{"events"}, false, 1},
		"events --json": {[]string{"events", "--json"}, false, 2},
	} {
		out, logs, err := w.do("", tc.args...)
		told := logs
		if err != nil {
			told = err.Error()
		}
		if (err != nil) != tc.failed || !tc.failed && strings.Count(out, "\n") != tc.lines {
			t.Errorf("%s: ends with %v after\n%s", name, err, out)
		}
		for _, want := range []string{
			"MX_EVENTS, stream sequence 2: mx.events.member.connected." + k.User(), "event is unreadable",
			"somebody else has written it, or a newer version", "memberwatch verify", "who may publish",
		} {
			if !strings.Contains(told, want) {
				t.Errorf("%s: told %q, want %q", name, told, want)
			}
		}
	}
}
