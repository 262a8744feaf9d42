package refresh_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// uri asks the first worker for a URI, and must get one unless there is an error.
func uri(t *testing.T, r *refreshtest.Rig, k events.Key) error {
	t.Helper()
	got, err := r.Workers[0].Service.OAuthURI(t.Context(), k.User(), k.Member(), refresh.OAuthOptions{})
	if (got == "") != (err != nil) {
		t.Errorf("a URI: %t, error %v", got != "", err)
	}
	return err
}

func TestNoURIIsAskedForWhileMXIsNotAsked(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable, Scope: "read", RetryAfter: "600"})
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the breaker opens", func() bool { return r.Workers[0].Service.Flow().Suspended })
	if err := uri(t, r, k); err == nil {
		t.Error("a URI, although MX asked to be left alone")
	}
	if n := len(r.Answers(k, "oauth_window_uri")); n != 0 {
		t.Errorf("MX was asked %d times", n)
	}
}

func TestAServiceThatIsAskedForURIsAloneFindsOutThatMXIsWellAgain(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("members known: %t", known), func(t *testing.T) {
			t.Parallel()
			r := refreshtest.New(t, refreshtest.Options{})
			k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
			if known {
				r.Refresh(k)
			}
			r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusTooManyRequests, Scope: "oauth_window_uri", Count: 1})
			if err := uri(t, r, k); err == nil || !r.Workers[0].Service.Flow().Suspended {
				t.Errorf("error %v; the breaker did not hear of it", err)
			}
			if known { // nobody need ask
				r.Until("MX is asked again", func() bool { return !r.Workers[0].Service.Flow().Suspended })
			}
			r.Until("there is a URI", func() bool { return uri(t, r, k) == nil })
			if r.Workers[0].Service.Flow().Suspended {
				t.Error("MX is not asked although it has given a URI")
			}
		})
	}
}

func TestURIsAreAskedForWithinTheLimitsOfAllCalls(t *testing.T) {
	t.Parallel()
	const most = 2 // an eighth of all
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.MaxInFlight = 8 * most }})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 20 * time.Millisecond})
	var wg sync.WaitGroup
	for range 10 * most {
		wg.Go(func() {
			if _, err := r.Workers[0].Service.OAuthURI(t.Context(), k.User(), k.Member(), refresh.OAuthOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := r.Sim.Stats().MaxInFlight; n != most {
		t.Errorf("%d calls at once, want %d", n, most)
	}
	r.Refresh(k)
}
