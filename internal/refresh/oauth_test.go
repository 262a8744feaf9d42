package refresh_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestNoURIIsAskedForWhileMXIsNotAsked(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	id := r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: http.StatusServiceUnavailable, Scope: "read"})
	s := r.Workers[0].Service
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the breaker opens", func() bool { return s.Flow().Suspended })
	if uri, err := s.OAuthURI(t.Context(), k.User(), k.Member(), refresh.OAuthOptions{}); err == nil || uri != "" {
		t.Errorf("error %v", err)
	}
	if n := len(r.Answers(k, "oauth_window_uri")); n != 0 {
		t.Errorf("MX was asked %d times", n)
	}
	r.Sim.ClearFaults(id)
	r.WaitIdle()
	if _, err := s.OAuthURI(t.Context(), k.User(), k.Member(), refresh.OAuthOptions{}); err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

func TestURIsAreAskedForWithinTheLimitsOfAllCalls(t *testing.T) {
	t.Parallel()
	const most = 2
	r := refreshtest.New(t, refreshtest.Options{Refresh: func(c *refresh.Config) { c.MaxInFlight = most }})
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
	r.Refresh(k) // every slot is back
}
