package sweep

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSweepFindsNewChangedAndVanishedMembersAndVanishedUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{Workers: 2}, Config{}, nil)
	keys := s.users(300, 2) // more than a page of users
	first := s.sweep(Spec{})
	counted(t, first, Counts{Users: 300, Visited: 300, Members: 600, New: 600, Asked: 600})
	if first.Outcome != Completed || first.Phase != PhaseOver || first.FinishedAt.IsZero() {
		t.Errorf("the sweep ended as %+v", first)
	}
	s.judge()

	s.Set(keys[0], mxsim.Patch{"connection_status": "DEGRADED"})
	if err := s.Sim.Delete(keys[2].Member()); err != nil {
		t.Fatal(err)
	}
	if err := s.Sim.DeleteUser(keys[4].User()); err != nil {
		t.Fatal(err)
	}
	late := s.users(1, 3)
	m, err := s.Sim.AddMember(keys[6].User(), mxsim.Patch{})
	if err != nil {
		t.Fatal(err)
	}
	second := s.sweep(Spec{})
	counted(t, second, Counts{
		Users: 300, Visited: 301, Members: 598 - 1 + 3 + 1, Same: 598 - 2, New: 4, Changed: 1, Missing: 3, Asked: 8,
	})
	s.judge()
	for _, k := range []events.Key{keys[2], keys[4], keys[5]} {
		if types := s.Types(k); types[len(types)-1] != events.TypeDeleted {
			t.Errorf("%s went through %v, want deleted at last", k, types)
		}
	}
	changed := s.Events(keys[0])
	if last := changed[len(changed)-1]; last.Type != events.TypeDegraded || last.CorrelationID != second.ID || last.Reason != "sweep" {
		t.Errorf("the event is %s of %q for %q, want degraded of %q for sweep", last.Type, last.CorrelationID, last.Reason, second.ID)
	}
	if k, _ := events.NewKey(m.UserGUID, m.GUID); len(s.Events(k)) != 1 || len(s.Events(late[2])) != 1 {
		t.Error("a new member has no event")
	}
}

func TestSweepThatFindsNothingNewAsksForNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(20, 3)
	s.sweep(Spec{})
	reads := s.Reads(keys[0])
	sw := s.sweep(Spec{})
	counted(t, sw, Counts{Users: 20, Visited: 20, Members: 60, Same: 60})
	if again := s.Reads(keys[0]); again != reads {
		t.Errorf("a member was read %d times more", again-reads)
	}
}

func TestSweepVisitsEachUserOnceWhileEventsMoveTheirLastPlaces(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	visits := map[string]int{}
	s := newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		w.Lists = &lists{Lists: w.Lists, members: func(ctx context.Context, user string, n int) (mx.Page[mx.Member], error) {
			mu.Lock()
			defer mu.Unlock()
			visits[user]++
			return w.Lists.(*lists).Lists.MembersPage(ctx, user, n) //nolint:forcetypeassert,errcheck // Set above.
		}}
	})
	keys := s.users(90, 3) // more events than are looked at together
	s.sweep(Spec{})
	for _, k := range keys { // every event moves its member to the end of the stream
		s.Set(k, mxsim.Patch{"connection_status": "DEGRADED"})
	}
	for _, k := range keys[:60] {
		s.Refresh(k)
	}
	clear(visits)
	counted(t, s.sweep(Spec{}), Counts{Users: 90, Visited: 90, Members: 270, Same: 60, Changed: 210, Asked: 210})
	for user, n := range visits {
		if n != 1 {
			t.Errorf("user %s was visited %d times", user, n)
		}
	}
	s.judge()
}

func TestDryRunAsksForNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	s.users(10, 2)
	sw := s.sweep(Spec{DryRun: true})
	counted(t, sw, Counts{Users: 10, Visited: 10, Members: 20, New: 20})
	if n := s.Messages(s.Subjects.EventStream()); n != 0 {
		t.Errorf("a dry run led to %d events", n)
	}
}

func TestSweepKeepsToItsFilters(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(6, 2)
	s.Set(keys[3], mxsim.Patch{"connection_status": "DENIED"})
	s.Set(keys[5], mxsim.Patch{"institution_code": "riverbank"})
	mine, err := s.Sim.AddUser(mxsim.User{ID: new("anna/7")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sim.AddMember(mine.GUID, mxsim.Patch{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		spec Spec
		want Counts
	}{
		{"status", Spec{Status: "DENIED"}, Counts{Users: 7, Visited: 7, Members: 1, New: 1, Asked: 1}},
		{"institution by code", Spec{Institution: "riverbank"}, Counts{Users: 7, Visited: 7, Members: 1, New: 1, Asked: 1}},
		{"user by guid", Spec{User: keys[0].User()}, Counts{Visited: 1, Members: 2, New: 2, Asked: 2}},
		{"user by the partner's id", Spec{User: "anna/7"}, Counts{Visited: 1, Members: 1, New: 1, Asked: 1}},
	} {
		sw := s.sweep(c.spec)
		if sw.Counts != c.want || sw.Outcome != Completed {
			t.Errorf("%s: %s with %+v, want %+v (note %q)", c.name, sw.Outcome, sw.Counts, c.want, sw.Note)
		}
	}
}

func TestSweepOfAUserThatNobodyKnowsFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	for _, user := range []string{"nobody", "USR-nobody"} {
		if sw := s.sweep(Spec{User: user}); sw.Outcome != Failed || !strings.Contains(sw.Note, "MX knows no") {
			t.Errorf("sweep of %s ended as %s: %q", user, sw.Outcome, sw.Note)
		}
	}
}

func TestSweepOfADeletedUserFindsAllHisMembersMissing(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(1, 3)
	s.users(1, 1) // whose reads are evidence that MX is well
	s.sweep(Spec{})
	if err := s.Sim.DeleteUser(keys[0].User()); err != nil {
		t.Fatal(err)
	}
	counted(t, s.sweep(Spec{User: keys[0].User()}), Counts{Visited: 1, Missing: 3, Asked: 3})
	s.judge()
	counted(t, s.sweep(Spec{User: keys[0].User()}), Counts{Visited: 1}) // the deleted are not asked for again
}

func TestOneSweepAtATime(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{Workers: -1}, Config{}, nil)
	s.StartWorker() // without a walker: the sweep stands still
	if _, err := Load(t.Context(), s.chains()); !errors.Is(err, ErrNone) {
		t.Errorf("no sweep yet: %v", err)
	}
	if _, err := Stop(t.Context(), s.chains(), time.Now()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stopping nothing: %v", err)
	}
	one := s.start(Spec{})
	if other, err := Start(t.Context(), s.chains(), "other", Spec{DryRun: true}, time.Now()); !errors.Is(err, ErrRunning) || other.ID != one.ID {
		t.Errorf("a second sweep: %+v, %v", other, err)
	}
	if again, err := Resume(t.Context(), s.chains()); err != nil || again.ID != one.ID {
		t.Errorf("resuming: %+v, %v", again, err)
	}
	if stopped, err := Stop(t.Context(), s.chains(), time.Now()); err != nil || stopped.Outcome != Stopped {
		t.Errorf("stopping: %+v, %v", stopped, err)
	}
	if _, err := Start(t.Context(), s.chains(), "other", Spec{}, time.Now()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestStoppedSweepMakesNoFurtherStep(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	s := newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		actual := w.Lists
		w.Lists = &lists{Lists: actual, users: func(ctx context.Context, n int) (mx.Page[mx.User], error) {
			if calls.Add(1) == 1 {
				close(reached)
				<-goOn
			}
			return actual.UsersPage(ctx, n)
		}}
	})
	s.users(300, 1)
	s.start(Spec{DryRun: true})
	<-reached
	if _, err := Stop(t.Context(), s.chains(), time.Now()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	s.Settled()
	if sw := s.over(); sw.Outcome != Stopped || sw.Counts.Users != 0 || calls.Load() != 1 {
		t.Errorf("after %d pages it is %s with %+v", calls.Load(), sw.Outcome, sw.Counts)
	}
}

func TestSweepVisitsAUserOfWhomTheFirstIsHeardWhileItRuns(t *testing.T) {
	t.Parallel()
	var s *site
	var keys []events.Key
	s = newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		actual := w.Lists
		w.Lists = &lists{Lists: actual, users: func(ctx context.Context, n int) (mx.Page[mx.User], error) {
			s.Refresh(keys[0]) //nolint:contextcheck // It ends with the test. One of his two members, behind the end that the sweep has noted.
			return actual.UsersPage(ctx, n)
		}}
	})
	keys = s.users(1, 2)
	counted(t, s.sweep(Spec{}), Counts{Users: 1, Visited: 1, Members: 2, Same: 1, New: 1, Asked: 1})
	s.judge()
}
