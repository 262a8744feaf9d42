package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/sweep"
)

// brokenWriter takes so many bytes and then no more.
type brokenWriter struct {
	room int
	err  error
}

// Write implements io.Writer.
func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.room < len(b) {
		return 0, w.err
	}
	w.room -= len(b)
	return len(b), nil
}

func TestOutputThatCannotBeWrittenFailsTheCommand(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	k := w.addMember()
	w.publish(k)
	letter := w.die(events.CategoryInvalid, "a reason", `{}`)
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	chains := bus.NewChains(w.js(), subjects, time.Now)
	if _, err := sweep.Start(t.Context(), chains, "sweep-1", sweep.Spec{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"version", "--help", "help events", "catalog", "catalog --json", "catalog --config", "catalog --metrics", "topology plan",
		"events", "events --json", "member " + k.User() + " " + k.Member(), "member --json " + k.User() + " " + k.Member(),
		"deadletters ls", "deadletters ls --json", "deadletters show " + decimal(letter), "doctor", "doctor --json",
		"sweep --stop", "verify", "refresh anna checking", "deadletters drop --all --yes", "forget --yes --wait 1ms " + k.User(),
	} {
		err := run(t.Context(), strings.Fields(command), envconfig.MapLookuper(w.env), &brokenWriter{err: syscall.ENOSPC}, io.Discard)
		if !errors.Is(err, syscall.ENOSPC) || exitCode(err, io.Discard) != exitFailed {
			t.Errorf("%s: ends with %v, want that the disk is full", command, err)
			continue
		}
		if what := "writing the output of memberwatch"; strings.Count(err.Error(), what) != 1 || strings.Count(err.Error(), syscall.ENOSPC.Error()) != 1 {
			t.Errorf("%s: told %q, want %q, and why, once", command, err, what)
		}
	}
}

func TestEventsAreNotFollowedWhenTheyCannotBeShown(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t)
	w.publish(w.addMember())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // A follower that does not see it has to end, too.
	defer cancel()
	err := run(ctx, []string{"events", "--follow"}, envconfig.MapLookuper(w.env), &brokenWriter{err: syscall.ENOSPC}, io.Discard)
	if !errors.Is(err, syscall.ENOSPC) || ctx.Err() != nil {
		t.Errorf("ends with %v; %v", err, ctx.Err())
	}
}

func TestOutputErrorIsToldBesideTheCommands(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		room int
		err  error // of the writer
		from error // of the command
		want string
	}{
		"all is written":        {10, syscall.ENOSPC, nil, ""},
		"nothing is written":    {0, syscall.ENOSPC, nil, "writing the output of it: no space left on device"},
		"the end is missing":    {1, syscall.ENOSPC, nil, "writing the output of it: no space left on device"},
		"the command failed":    {10, syscall.ENOSPC, errIll, "not everything is well"},
		"both":                  {0, syscall.ENOSPC, errIll, "not everything is well\nwriting the output of it: no space left on device"},
		"both, the same":        {0, syscall.ENOSPC, syscall.ENOSPC, "writing the output of it: no space left on device"},
		"who read has gone":     {0, syscall.EPIPE, nil, ""},
		"who read has gone too": {0, syscall.EPIPE, errIll, "not everything is well"},
	} {
		o := &output{w: &brokenWriter{tc.room, tc.err}}
		for range 2 {
			_, _ = io.WriteString(o, "x") // Its error is what is looked for.
		}
		got := ""
		if err := o.verdict("it", tc.from); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: told %q, want %q", name, got, tc.want)
		}
	}
}
