package refresh_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// followSoon has every event followed up at once.
func followSoon(c *bus.Config) { c.FollowUpAfter = 20 * time.Millisecond }

func TestAnEventIsFollowedByReadsUntilNothingIsNew(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon})
	k := r.AddMember(status("CREATED"))
	if err := r.Sim.Script(k.Member(), status("CREATED"), status("UPDATED"), status("DELAYED"), status("CONNECTED")); err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.PublishMsg(&nats.Msg{
		Subject: r.Subjects.Refresh(), Header: nats.Header{"traceparent": {trace}},
		Data: []byte(`{"user":"` + k.User() + `","member":"` + k.Member() + `","command_id":"the-cause","reason":"signup"}`),
	})
	r.Result("the-cause")
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeCreated, events.TypeUpdated, events.TypeDelayed, events.TypeConnected)
	if n := r.Reads(k); n != 5 {
		t.Errorf("%d reads, want 4 that found something and 1 that did not", n)
	}
	for _, e := range r.Events(k) {
		if e.CorrelationID != "the-cause" || e.Reason != "signup" || e.Traceparent != trace {
			t.Errorf("%s: correlation id %q, reason %q, traceparent %q", e.Type, e.CorrelationID, e.Reason, e.Traceparent)
		}
	}
	if got := r.Results("the-cause"); len(got) != 1 {
		t.Errorf("%d results, want one: follow-ups are nobody's command", len(got))
	}
	all := r.Events(k)
	for i := range all[1:] {
		if gap := all[i+1].Time.Sub(all[i].Time); gap < 20*time.Millisecond {
			t.Errorf("event %d follows after %s, before FOLLOW_UP_AFTER", i+2, gap)
		}
	}
}

func TestAFollowUpThatALaterEventHasOvertakenReadsNothing(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: func(c *bus.Config) { c.FollowUpAfter = time.Second }})
	k := r.AddMember(status("CONNECTED"))
	for _, s := range []string{"CONNECTED", "DEGRADED", "CONNECTED"} {
		r.Set(k, status(s))
		r.Refresh(k)
	}
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected, events.TypeDegraded, events.TypeConnected)
	if n := r.Reads(k); n != 4 {
		t.Errorf("%d reads, want those of 3 commands and one follow-up", n)
	}
}

func TestFollowUpsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	r.WaitIdle()
	if n := r.Reads(k); n != 1 {
		t.Errorf("%d reads for one command", n)
	}
	if n := r.StreamInfo(r.Subjects.EventStream()).State.Consumers; n != 0 {
		t.Errorf("%d consumers of the event stream, want none", n)
	}
}

func TestTheFollowUpOfADeletionFindsNothingNew(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon})
	alive, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
	r.Refresh(alive)
	r.Refresh(k)
	r.WaitIdle()
	remove(t, r, k)
	r.Refresh(k)
	r.WaitIdle()
	wantTypes(t, r, k, events.TypeConnected, events.TypeDeleted)
	reads := r.Answers(k, "read")
	if last := reads[len(reads)-1]; last.Status != 404 || len(reads) != 6 {
		t.Errorf("%d reads, want: found, followed up, missed, missed again, confirmed once another was found, followed up", len(reads))
	}
}

func TestWhatIsMissedBetweenTwoReadsIsCaughtByTheFollowUp(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: 2, Bus: followSoon, Sim: func(c *mxsim.Config) { c.SettleReads = 1 }})
	k := r.AddMember(mxsim.Patch{"is_oauth": true})
	r.Refresh(k)
	r.WaitIdle()
	if err := r.Sim.Authorize(k.Member(), ""); err != nil {
		t.Fatal(err)
	}
	r.Refresh(k) // one command; MX moves on by itself
	r.WaitIdle()
	all := r.Events(k)
	if last := all[len(all)-1]; last.Data.Member.ConnectionStatus == nil || *last.Data.Member.ConnectionStatus != events.StatusConnected || last.Data.Provisional {
		t.Errorf("last event %s, provisional %t; want the member connected for good", last.Type, last.Data.Provisional)
	}
}

func TestALastEventThatCannotBeReadIsNeverTakenForAFirstSight(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func(other events.Event) string{
		"no JSON": func(events.Event) string { return "{" },
		"another event": func(events.Event) string {
			return `{"specversion":"1.0","id":"1","source":"/x","type":"com.example.else"}`
		},
		"another member's": func(other events.Event) string {
			b, err := other.Encode()
			if err != nil {
				t.Error(err)
			}
			return string(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			other, k := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
			r.Refresh(other)
			subject := r.Subjects.Event(events.TypeConnected, k)
			r.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(body(r.Events(other)[0]))})
			if got := r.Refresh(k); got.Outcome != events.OutcomeFailed || got.Reason == "" {
				t.Errorf("outcome %s, reason %q", got.Outcome, got.Reason)
			}
			letters := r.DeadLetters()
			if len(letters) != 1 || letters[0].Category != events.CategoryStateUnreadable || letters[0].Stream != r.Subjects.CommandStream() {
				t.Errorf("dead letters %+v", letters)
			}
			if n := len(r.Stored(r.Subjects.EventStream(), r.Subjects.EventsOf(k))); n != 1 {
				t.Errorf("%d events of the member, want the unreadable one alone", n)
			}
			if n := r.Reads(k); n != 0 {
				t.Errorf("%d reads that nothing could be concluded from", n)
			}
			r.WaitIdle()
		})
	}
}
