package refresh_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// lister is a client that lists members, of the MX of a rig.
func lister(t *testing.T, r *refreshtest.Rig) *mx.Client {
	t.Helper()
	c, err := mx.New(mx.Config{
		BaseURL: r.Sim.URL, ClientID: mxsim.DefaultClientID, APIKey: mxsim.DefaultAPIKey,
		AcceptVersion: "v20250224", Timeout: 10 * time.Second, MaxInFlight: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// list asks for a user's members as a walk does.
func list(ctx context.Context, s *refresh.Service, c *mx.Client, user string) ([]mx.Member, error) {
	var page mx.Page[mx.Member]
	err := s.Ask(ctx, user, func(ctx context.Context) (err error) {
		page, err = c.MembersPage(ctx, user, 1)
		return err
	})
	return page.Records, err
}

func TestCompareTellsWhatAListedMemberIsBesideItsLastEvent(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	look := func(want refresh.Sight) {
		t.Helper()
		all, err := list(t.Context(), s, c, k.User())
		if err != nil || len(all) != 1 {
			t.Fatalf("%d members, %v", len(all), err)
		}
		if got, err := s.Compare(t.Context(), &all[0]); got != want || err != nil {
			t.Errorf("it is %d, want %d; %v", got, want, err)
		}
	}
	look(refresh.Unseen)
	r.Refresh(k)
	look(refresh.Unchanged)
	r.Set(k, mxsim.Patch{"connection_status": "DENIED"})
	look(refresh.Different)
	if n := len(r.Events(k)); n != 1 {
		t.Errorf("comparing published %d events", n-1)
	}
	if _, err := r.JS.Publish(t.Context(), r.Subjects.Event(events.TypeConnected, k), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compare(t.Context(), &mx.Member{GUID: k.Member(), UserGUID: k.User()}); !errors.Is(err, refresh.ErrUnreadable) {
		t.Errorf("an unreadable event: %v", err)
	}
	if _, err := s.Compare(t.Context(), &mx.Member{GUID: "a.b", UserGUID: k.User()}); mx.KindOf(err) != mx.BadAnswer {
		t.Errorf("a guid that is none: %v", err)
	}
}

func TestAskTellsAnMXThatFailsFromAQuestionThatDoes(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	if _, err := list(t.Context(), s, c, "USR-none"); mx.KindOf(err) != mx.NotFound || errors.Is(err, refresh.ErrUnavailable) {
		t.Errorf("an unknown user: %v", err)
	}
	r.Inject(mxsim.Fault{Kind: mxsim.FaultNonJSON, Count: 1})
	if _, err := list(t.Context(), s, c, k.User()); mx.KindOf(err) != mx.BadAnswer || errors.Is(err, refresh.ErrUnavailable) {
		t.Errorf("nonsense: %v", err)
	}
	id := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable})
	if _, err := list(t.Context(), s, c, k.User()); !errors.Is(err, refresh.ErrUnavailable) {
		t.Errorf("MX is down: %v", err)
	}
	if !s.Flow().Suspended {
		t.Error("the breaker did not hear of it")
	}
	r.Sim.ClearFaults(id)
	if _, err := list(t.Context(), s, c, k.User()); err != nil { // it waits, and is the probe
		t.Errorf("MX is well again: %v", err)
	}
	if s.Flow().Suspended || s.Flow().Hand != 0 {
		t.Errorf("after that: %+v", s.Flow())
	}
}

func TestListsThatAreClosedToThisClientTellNothingOfItsCredentials(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable} {
		closed := func() (reopen func()) {
			id := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: status, Scope: mxsim.ScopeLists})
			return func() { r.Sim.ClearFaults(id) }
		}
		well := func(when string) {
			t.Helper()
			if err := r.Workers[0].Health.Get(refresh.CheckCredentials); err != nil || s.Flow().Suspended {
				t.Errorf("%d %s: readiness says %v, suspended: %t", status, when, err, s.Flow().Suspended)
			}
		}
		reopen := closed()
		if _, err := list(t.Context(), s, c, k.User()); !errors.Is(err, refresh.ErrUnavailable) {
			t.Errorf("%d: %v", status, err)
		}
		well("at first")
		reopen()
		r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusTooManyRequests, Count: 1})
		if _, err := list(t.Context(), s, c, k.User()); !errors.Is(err, refresh.ErrUnavailable) || !s.Flow().Suspended {
			t.Errorf("MX is busy: %v, suspended: %t", err, s.Flow().Suspended)
		}
		reopen = closed()
		_, _ = list(t.Context(), s, c, k.User()) // it waits, and is the probe
		well("as the probe")
		reopen()
	}
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusUnauthorized})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("reads are refused", func() bool { return r.Workers[0].Health.Get(refresh.CheckCredentials) != nil })
}

func TestAWitnessTellsThatMXRefusesThisClient(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	r.Refresh(k)
	r.WaitIdle()
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusUnauthorized, Scope: "read"})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusTooManyRequests, Scope: mxsim.ScopeLists, Count: 1})
	if _, err := list(t.Context(), s, c, k.User()); !errors.Is(err, refresh.ErrUnavailable) {
		t.Errorf("MX is busy: %v", err)
	}
	r.Until("readiness says so", func() bool { return r.Workers[0].Health.Get(refresh.CheckCredentials) != nil })
}

func TestAskEndsWithItsContextOrTheService(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.RateLimit = 0.001 }})
	s := r.Workers[0].Service
	ask := func(ctx context.Context) error {
		return s.Ask(ctx, "USR-1", func(context.Context) error { return nil })
	}
	if err := ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { // waits for the rate limit
		if err := ask(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("after its context: %v", err)
		}
	})
	r.Until("it waits", func() bool { return s.Flow().Hand == 1 })
	cancel()
	wg.Wait()
	wg.Go(func() {
		if err := ask(t.Context()); !errors.Is(err, refresh.ErrUnavailable) {
			t.Errorf("after the service: %v", err)
		}
	})
	r.Until("it waits", func() bool { return s.Flow().Hand == 1 })
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := ask(t.Context()); !errors.Is(err, refresh.ErrUnavailable) {
		t.Errorf("of a service that has stopped: %v", err)
	}
}

func TestAskSurvivesAPanic(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	s := r.Workers[0].Service
	if err := s.Ask(t.Context(), "USR-1", func(context.Context) error { panic("on purpose") }); err == nil {
		t.Error("a panic is no error")
	}
	if err := s.Ask(t.Context(), "USR-1", func(context.Context) error { return nil }); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestAListIsNoEvidenceForADeletion(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	r.Refresh(k)
	for range 4 { // too many to have gone with it
		r.Refresh(r.AddMember(mxsim.Patch{}))
	}
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusNotFound, Scope: "read"}) // as from a wrong host
	r.Refresh(k)
	for range 3 {
		if _, err := list(t.Context(), s, c, k.User()); err != nil {
			t.Fatal(err)
		}
	}
	r.Until("the deletion is held back", func() bool { return r.Workers[0].Health.Get(refresh.CheckDeletions) != nil })
	if n := len(r.Events(k)); n != 1 {
		t.Errorf("%d events, want the first alone", n)
	}
}

func TestAWalkThatEndsWithTheBreakerOpenLeavesItToWitnesses(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	c, s := lister(t, r), r.Workers[0].Service
	k := r.AddMember(mxsim.Patch{})
	r.Refresh(k)
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusTooManyRequests, Scope: mxsim.ScopeLists, Count: 1})
	if _, err := list(t.Context(), s, c, k.User()); !errors.Is(err, refresh.ErrUnavailable) || !s.Flow().Suspended {
		t.Errorf("error %v; the breaker did not hear of it", err)
	}
	r.Until("MX is asked again", func() bool { return !s.Flow().Suspended })
}
