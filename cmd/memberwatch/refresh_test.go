package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
)

func TestRefreshWithoutResultSaysWhereToLook(t *testing.T) {
	t.Parallel()
	w := newLetterWard(t) // where no worker is
	err := run(t.Context(), []string{"refresh", "anna", "checking", "--wait", "--timeout", "10ms"}, envconfig.MapLookuper(w.env), io.Discard, io.Discard)
	if !errors.Is(err, errOutcome) {
		t.Fatal(err)
	}
	for _, want := range []string{"within 10ms", "is a worker running?", "may still be being tried", "memberwatch doctor", "memberwatch deadletters ls"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("told %q, want %q", err, want)
		}
	}
}

func TestResultIsPrintedWithWhatIsKnown(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]events.Result{
		"changed    member.connected, event E member MBR-1 of USR-1, revision 3\n": {
			Outcome: events.OutcomeChanged, EventType: events.TypeConnected, EventID: "E", UserGUID: "USR-1", MemberGUID: "MBR-1", Revision: 3,
		},
		"failed     member MBR-1 of USR-1 (last event is unreadable)\n": {
			Outcome: events.OutcomeFailed, UserGUID: "USR-1", MemberGUID: "MBR-1", Reason: "last event is unreadable",
		},
		"not_found  (no such member)\n": {Outcome: events.OutcomeNotFound, Reason: "no such member"},
	} {
		var out bytes.Buffer
		p := &program{stdout: &out}
		if err := p.report(r); (err == nil) != (r.Outcome == events.OutcomeChanged) || out.String() != want {
			t.Errorf("printed %q and ended with %v, want %q", out.String(), err, want)
		}
	}
}
