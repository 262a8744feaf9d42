package refresh_test

import (
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// rollBack gives the event stream the past that it has after a server lost power, or
// was restored from a copy: it is empty, and will use its sequences again.
func rollBack(t *testing.T, r *refreshtest.Rig) {
	t.Helper()
	was := r.StreamInfo(r.Subjects.EventStream()).Config
	if err := r.JS.DeleteStream(t.Context(), was.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := r.JS.CreateStream(t.Context(), was); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherEventUnderTheSameSequenceIsNotTheOneThatIsRemembered(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k, other := r.AddMember(status("CONNECTED")), r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	r.Refresh(other)
	rollBack(t, r)
	rival(t.Context(), t, r, k, 1, events.StatusDegraded)
	rival(t.Context(), t, r, other, 1, events.StatusDegraded)
	if got := r.Refresh(k); got.Outcome != events.OutcomeChanged || got.Revision != 2 {
		t.Errorf("outcome %s, revision %d; want changed, 2: the stream says DEGRADED, MX CONNECTED", got.Outcome, got.Revision)
	}
	wantTypes(t, r, k, events.TypeDegraded, events.TypeConnected)
	// Who has seen that the stream lost events trusts nothing else that is remembered:
	// the condition of a write names a sequence, and that is there.
	r.Set(other, status("DISCONNECTED"))
	r.Refresh(other)
	wantPrevious(t, r, other, "DEGRADED")
}

// wantPrevious checks which status the member's last event tells as the former one.
func wantPrevious(t *testing.T, r *refreshtest.Rig, k events.Key, want string) {
	t.Helper()
	all := r.Events(k)
	if got := string(all[len(all)-1].Data.Previous["connection_status"]); got != `"`+want+`"` {
		t.Errorf("the last event says that the status was %s; the stream said %s", got, want)
	}
}

func TestWhatIsRememberedEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	rollBack(t, r)
	rival(t.Context(), t, r, k, 1, events.StatusDegraded)
	nc := r.Workers[0].NC
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	r.Until("the worker is connected again", func() bool { return nc.Stats().Reconnects == 1 && nc.IsConnected() })
	r.Set(k, status("DISCONNECTED"))
	if got := r.Refresh(k); got.Revision != 2 {
		t.Errorf("revision %d; want 2", got.Revision)
	}
	wantPrevious(t, r, k, "DEGRADED")
}

func TestAFollowUpTrustsNothingRememberedFromBeforeTheConnectionWasLost(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: -1})
	w := r.StartWorker()
	w.StopFetching()
	k := r.AddMember(status("CONNECTED"))
	submit(t, r, refresh.Job{Key: k, Source: refresh.SourceSweep, Lane: refresh.Background})
	rollBack(t, r)
	rival(t.Context(), t, r, k, 1, events.StatusDegraded)
	if err := w.NC.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	r.Until("the worker is connected again", func() bool { return w.NC.Stats().Reconnects == 1 && w.NC.IsConnected() })
	submit(t, r, refresh.Job{Key: k, Source: refresh.SourceFollowUp, Lane: refresh.Background, FollowUpOf: 1})
	wantTypes(t, r, k, events.TypeDegraded, events.TypeConnected)
}
