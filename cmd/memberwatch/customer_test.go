package main

import (
	"bytes"
	"context"
	"io"
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
		{"events", "--since", "2100-01-01T00:00:00Z"},
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
	c, err := w.program().customer(t.Context())
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
