package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// giver is an MX that is only asked for URIs.
type giver struct {
	MX
	calls int
	err   error
}

func (g *giver) OAuthWindowURI(context.Context, string, string, mx.OAuthOptions) (string, error) {
	g.calls++
	if g.err != nil {
		return "", g.err
	}
	return "https://bank.test/", nil
}

// checks is what a service said of itself last.
type checks map[string]error

func (c checks) Set(check string, err error) { c[check] = err }

// guest is a service with nothing in hand that is asked for URIs, within a synctest
// bubble.
type guest struct {
	*Service
	mx     *giver
	checks checks
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	s, _ := newIdle(t, even)
	s.now, s.desk.now = time.Now, time.Now
	g := &guest{s, new(giver), checks{}}
	s.MX, s.Health = g.mx, g.checks
	return g
}

func (g *guest) ask(ctx context.Context, err error) error {
	g.mx.err = err
	k := someone(g.mx.calls) // another each time
	_, err = g.OAuthURI(ctx, k.user, k.member, OAuthOptions{})
	return err
}

// wait is until the next probe is due.
func (g *guest) wait() time.Duration {
	g.desk.mu.Lock()
	defer g.desk.mu.Unlock()
	return time.Until(g.desk.breaker.probeAt)
}

func TestARequestForAURITellsTheBreakerOnlyThatMXIsBusyOrDown(t *testing.T) {
	t.Parallel()
	for kind, opens := range map[mx.Kind]bool{
		mx.RateLimited: true, mx.Unavailable: true,
		mx.Unauthorized: false, mx.Forbidden: false, mx.NotAcceptable: false,
		mx.BadRequest: false, mx.NotFound: false, mx.Conflict: false, mx.Unprocessable: false,
		mx.ServerFailed: false, mx.BadAnswer: false, mx.Timeout: false, mx.Connection: false, mx.Canceled: false,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				for range 2 * failedMembers {
					if err := g.ask(t.Context(), failure(kind)); err == nil {
						t.Fatal("no error")
					}
				}
				if got := g.Flow().Suspended; got != opens {
					t.Errorf("the breaker is open: %t, want %t", got, opens)
				}
				if err := g.checks[CheckCredentials]; err != nil {
					t.Errorf("readiness: %v", err)
				}
				if err := g.ask(t.Context(), failure(kind)); errors.Is(err, ErrForbidden) != (kind == mx.Forbidden) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestARequestForAURIIsTheProbeOfAnIdleServiceWhenOneIsDue(t *testing.T) {
	t.Parallel()
	noURI := &mx.CallError{Kind: mx.BadAnswer, Err: mx.ErrNoURI}
	for name, tc := range map[string]struct {
		outage mx.Kind // of reads
		answer error
		closes bool
		next   time.Duration // until the next probe, if it does not
	}{
		"a URI":                               {mx.RateLimited, nil, true, 0},
		"no such member":                      {mx.Unavailable, failure(mx.NotFound), true, 0},
		"none for this member":                {mx.Unavailable, failure(mx.BadRequest), true, 0},
		"a blank one":                         {mx.Unavailable, noURI, true, 0},
		"not for this client":                 {mx.RateLimited, failure(mx.Forbidden), true, 0},
		"credentials that reads never had":    {mx.RateLimited, failure(mx.Unauthorized), true, 0},
		"too many":                            {mx.RateLimited, failure(mx.RateLimited), false, quickProbes},
		"for long too many":                   {mx.RateLimited, &mx.CallError{Kind: mx.RateLimited, RetryAfter: time.Minute}, false, time.Minute},
		"still down":                          {mx.Unavailable, failure(mx.Unavailable), false, quickProbes},
		"fails":                               {mx.Unavailable, failure(mx.ServerFailed), false, quickProbes},
		"no answer":                           {mx.Unavailable, failure(mx.Timeout), false, quickProbes},
		"a URI for whom MX refused":           {mx.Unauthorized, nil, true, 0},
		"a refusal like that of the reads":    {mx.Unauthorized, failure(mx.Unauthorized), false, 2 * refusedProbes},
		"a refusal of who was refused before": {mx.Unauthorized, failure(mx.Forbidden), false, 2 * refusedProbes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				outage(g.Service, tc.outage)
				g.note(opened, failure(tc.outage))
				refused := g.checks[CheckCredentials] != nil
				if err := g.ask(t.Context(), nil); !errors.Is(err, errSuspended) || g.mx.calls != 0 {
					t.Errorf("before a probe is due: %v, %d calls", err, g.mx.calls)
				}
				<-time.After(g.wait())
				if err := g.ask(t.Context(), tc.answer); errors.Is(err, errSuspended) || g.mx.calls != 1 {
					t.Errorf("once it is: %v, %d calls", err, g.mx.calls)
				}
				if open := g.Flow().Suspended; open == tc.closes {
					t.Errorf("the breaker is open: %t", open)
				}
				if bad := g.checks[CheckCredentials] != nil; bad != (refused && !tc.closes) {
					t.Errorf("readiness: %v", g.checks[CheckCredentials])
				}
				if got := g.wait(); !tc.closes && got != tc.next {
					t.Errorf("next probe after %s, want %s", got, tc.next)
				}
				if lastOK := g.desk.lastOK(); !lastOK.IsZero() {
					t.Error("that MX gives a URI, or none, is evidence for a deletion")
				}
			})
		})
	}
}

func TestARequestForAURIIsNoProbeBeyondTheLimitOfCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuest(t)
		outage(g.Service, mx.RateLimited)
		<-time.After(g.wait())
		g.desk.asking = g.desk.breaker.limit // all of which hang
		if err := g.ask(t.Context(), nil); !errors.Is(err, errSuspended) || g.mx.calls != 0 {
			t.Errorf("error %v, %d calls", err, g.mx.calls)
		}
	})
}

func TestAProbeThatIsGivenUpLeavesItToTheNext(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(g *guest){
		"while it waits for the rate limit": func(g *guest) {
			g.desk.limiter = rate.NewLimiter(rate.Every(time.Hour), 1)
			g.desk.limiter.Allow()
		},
		"while MX is asked": func(*guest) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newGuest(t)
				outage(g.Service, mx.RateLimited)
				prepare(g)
				<-time.After(g.wait())
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := g.ask(ctx, failure(mx.Canceled)); err == nil || errors.Is(err, errSuspended) {
					t.Errorf("error %v", err)
				}
				g.desk.limiter = nil
				if err := g.ask(t.Context(), nil); err != nil {
					t.Errorf("the next: %v", err)
				}
				if g.desk.asking != 0 {
					t.Errorf("%d calls are still counted", g.desk.asking)
				}
			})
		})
	}
}
