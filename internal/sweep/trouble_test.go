package sweep

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestSweepOutlastsAnOutageOfMX(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{Workers: 2}, Config{}, nil)
	s.users(300, 1)
	s.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable, Scope: mxsim.ScopeLists, For: 700 * time.Millisecond})
	sw := s.sweep(Spec{})
	counted(t, sw, Counts{Users: 300, Visited: 300, Members: 300, New: 300, Asked: 300})
	s.judge()
}

func TestSweepCountsAUserWhoseListFailsAloneAndGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(10, 1)
	s.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusInternalServerError, User: keys[4].User(), Scope: "members"})
	sw := s.sweep(Spec{})
	counted(t, sw, Counts{Users: 10, Visited: 10, Members: 9, New: 9, Asked: 9, Errors: 1})
	if sw.Outcome != Completed || !strings.Contains(sw.Note, keys[4].User()) {
		t.Errorf("it ended as %s: %q", sw.Outcome, sw.Note)
	}
}

func TestSweepAsksTwiceWhenAListFailsOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	s.users(3, 1)
	s.Inject(mxsim.Fault{Kind: mxsim.FaultNonJSON, Scope: mxsim.ScopeLists, Count: 2})
	counted(t, s.sweep(Spec{}), Counts{Users: 3, Visited: 3, Members: 3, New: 3, Asked: 3})
}

func TestSweepPassesAPageOfUsersThatNeverComes(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		actual := w.Lists
		w.Lists = &lists{Lists: actual, users: func(ctx context.Context, n int) (mx.Page[mx.User], error) {
			if n == 1 {
				return mx.Page[mx.User]{}, &mx.CallError{Kind: mx.BadAnswer, Op: mx.OpListUsers, Err: errors.New("not JSON")}
			}
			return actual.UsersPage(ctx, n)
		}}
	})
	s.users(300, 1)
	sw := s.sweep(Spec{DryRun: true})
	counted(t, sw, Counts{Users: 50, Visited: 50, Members: 50, New: 50, Errors: 1})
	if !strings.Contains(sw.Note, "page 1 of users") {
		t.Errorf("its note is %q", sw.Note)
	}
}

func TestSweepGivesUpAListOfUsersThatNeverComesAndWalksTheKnown(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	s := newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		actual := w.Lists
		w.Lists = &lists{Lists: actual, users: func(ctx context.Context, n int) (mx.Page[mx.User], error) {
			if broken.Load() {
				return mx.Page[mx.User]{}, &mx.CallError{Kind: mx.BadAnswer, Op: mx.OpListUsers, Err: errors.New("not JSON")}
			}
			return actual.UsersPage(ctx, n)
		}}
	})
	s.users(3, 1)
	s.sweep(Spec{})
	broken.Store(true)
	counted(t, s.sweep(Spec{}), Counts{Visited: 3, Members: 3, Same: 3, Errors: maxSkipped})
}

func TestSweepLooksAgainAtThePageBeforeWhenUsersAreDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	var victims []string
	var s *site
	once := sync.OnceFunc(func() {
		for _, u := range victims {
			if err := s.Sim.DeleteUser(u); err != nil {
				t.Error(err)
			}
		}
	})
	s = newSite(t, refreshtest.Options{}, Config{}, func(_ int, w *Walker) {
		actual := w.Lists
		w.Lists = &lists{Lists: actual, users: func(ctx context.Context, n int) (mx.Page[mx.User], error) {
			if n == 2 {
				once() // ten of the first page go: ten of the second move there
			}
			return actual.UsersPage(ctx, n)
		}}
	})
	keys := s.users(300, 1)
	for _, k := range keys[:10] {
		victims = append(victims, k.User())
	}
	s.sweep(Spec{})
	for i, k := range keys[10:] {
		if len(s.Events(k)) == 0 {
			t.Fatalf("user %d was missed", 10+i)
		}
	}
}

func TestSweepCountsABadRecordAndReadsThoseItMayHaveHidden(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(2, 2)
	s.sweep(Spec{})
	bad := func(ctx context.Context, user string, _ int) (mx.Page[mx.Member], error) {
		p := mx.Page[mx.Member]{Last: true}
		if user == keys[0].User() {
			p.Bad = []error{&mx.CallError{Kind: mx.BadAnswer, Op: mx.OpListMembers, Err: errors.New("guid: missing")}}
			p.Records = []mx.Member{{GUID: "MBR-other", UserGUID: "USR-other"}}
			return p, nil
		}
		return s.client.MembersPage(ctx, user, 1)
	}
	s.walkers[0].Lists = &lists{Lists: s.client, members: bad}
	sw := s.sweep(Spec{})
	counted(t, sw, Counts{Users: 2, Visited: 2, Members: 2, Same: 2, Missing: 2, Asked: 2, Errors: 2})
	s.judge() // they are read, and found well
}

func TestSweepReportsAMemberWhoseLastEventIsUnreadable(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{}, nil)
	keys := s.users(1, 1)
	if _, err := s.JS.Publish(t.Context(), s.Subjects.Event(events.TypeConnected, keys[0]), []byte("{")); err != nil {
		t.Fatal(err)
	}
	sw := s.sweep(Spec{})
	counted(t, sw, Counts{Users: 1, Visited: 1, Members: 1, Errors: 1})
	if !strings.Contains(sw.Note, keys[0].Member()) {
		t.Errorf("its note is %q", sw.Note)
	}
}

func TestWalkWaitsWhileTheSlowLaneHasEnoughToDo(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{RefreshEvery: time.Hour}, nil)
	s.users(3, 1)
	w := s.walkers[0]
	w.Refreshes = &lane{Refreshes: w.Refreshes, waiting: maxBacklog, places: 100_000}
	sw := Sweep{ID: "one", Phase: PhaseNew, Page: 1}
	state, err := sw.encode()
	if err != nil {
		t.Fatal(err)
	}
	next, after, err := w.Step(t.Context(), chainSweep, 1, 1, state)
	if err != nil || after != backlogPause || !strings.Contains(string(next), `"waiting":true`) {
		t.Errorf("a sweep goes on in %s with %s, %v", after, next, err)
	}
	if next, after, err = w.Step(t.Context(), chainPeriodic, 1, 1, []byte("{}")); err != nil || after != backlogPause || string(next) != "{}" {
		t.Errorf("the periodic refresh goes on in %s with %s, %v", after, next, err)
	}
}

func TestMembersThatWaitForADelayKeepNoWalkFromGoingOnUntilHalfThePlacesAreTaken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		waiting, taken, places int
		busy                   bool
	}{
		{0, 3_000, 100_000, false},
		{maxBacklog - 1, 40_000, 100_000, false},
		{maxBacklog, 0, 100_000, true},
		{1_000, 48_999, 100_000, false},
		{1_000, 49_000, 100_000, true},
		{0, 9_999, 20_000, false}, // an installation with the places of the first versions
		{0, 10_000, 20_000, true},
		{0, 200_000, 0, false}, // without a bound none of them keeps another one waiting
		{maxBacklog, 0, 0, true},
	} {
		w := New(Config{}, Deps{Refreshes: &lane{waiting: c.waiting, taken: c.taken, places: c.places}})
		if busy, err := w.busy(t.Context()); busy != c.busy || err != nil {
			t.Errorf("%d waiting, %d of %d places taken: busy %t, %v", c.waiting, c.taken, c.places, busy, err)
		}
	}
}

// lane is a slow lane that has so much to do.
type lane struct {
	Refreshes
	waiting, taken, places int
}

func (l *lane) Backlog(context.Context) (waiting, taken, places int, err error) {
	return l.waiting, l.taken, l.places, nil
}

// flaky fails what a step asks for, each call once before it is done and once after.
type flaky struct {
	Refreshes
	mu    sync.Mutex
	tries map[string]int
}

func (f *flaky) Refresh(ctx context.Context, k events.Key, cause, id, once string) error {
	f.mu.Lock()
	f.tries[once]++
	n := f.tries[once]
	f.mu.Unlock()
	if n == 1 {
		return fmt.Errorf("refresh: %w", refresh.ErrOutcomeUnknown)
	}
	err := f.Refreshes.Refresh(ctx, k, cause, id, once)
	if n == 2 && err == nil {
		err = fmt.Errorf("refresh: %w", refresh.ErrOutcomeUnknown)
	}
	return err
}

func TestStepThatIsMadeAgainAsksForNothingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{Workers: -1}, Config{}, nil)
	s.StartWorker()
	w := s.serve(0, Config{}, func(_ int, w *Walker) {
		w.Refreshes = &flaky{Refreshes: w.Refreshes, tries: map[string]int{}}
	})
	keys := s.users(3, 1)
	sw := Sweep{ID: "again", Phase: PhaseNew, Page: 1}
	state, err := sw.encode()
	if err != nil {
		t.Fatal(err)
	}
	failures := 0
	for {
		_, _, err := w.Step(t.Context(), chainSweep, 1, 1, state)
		if err == nil {
			break
		}
		failures++
	}
	s.Settled()
	for _, k := range keys {
		if n := s.Reads(k); n != 1 {
			t.Errorf("after %d failures %s was read %d times, want once", failures, k, n)
		}
	}
	s.judge()
}

func TestFirstsKeepsOneEntryForEachNameInOrder(t *testing.T) {
	t.Parallel()
	key := func(user, member string) events.Key {
		k, err := events.NewKey(user, member)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	all := []entry{{key("u", "a"), 1}, {key("v", "b"), 2}, {key("u", "c"), 3}, {key("u", "a"), 4}}
	got := firsts(slices.Clone(all), func(e entry) string { return e.key.User() })
	if !slices.Equal(got, all[:2]) {
		t.Errorf("got %v", got)
	}
}
