package refresh_test

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// hanging is an MX that reads well and answers nothing else until open is closed.
type hanging struct {
	refresh.MX
	open        chan struct{}
	calls, most atomic.Int32
}

func (h *hanging) hang(ctx context.Context) error {
	defer h.calls.Add(-1)
	if n := h.calls.Add(1); n > h.most.Load() {
		h.most.Store(n)
	}
	select {
	case <-h.open:
		return nil
	case <-ctx.Done():
		return &mx.CallError{Kind: mx.Canceled, Err: ctx.Err()}
	}
}

func (h *hanging) OAuthWindowURI(ctx context.Context, user, member string, o mx.OAuthOptions) (string, error) {
	if err := h.hang(ctx); err != nil {
		return "", err
	}
	return h.MX.OAuthWindowURI(ctx, user, member, o)
}

func (h *hanging) Aggregate(ctx context.Context, user, member string) (bool, error) {
	if err := h.hang(ctx); err != nil {
		return false, err
	}
	return h.MX.Aggregate(ctx, user, member)
}

// hangBeside is a rig with one worker, which may make four calls at once.
func hangBeside(t *testing.T, wrap func(*refresh.Deps)) (*refreshtest.Rig, *hanging) {
	t.Helper()
	h := &hanging{open: make(chan struct{})}
	r := refreshtest.New(t, refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.MaxInFlight = 4 },
		Wrap: func(_ int, d *refresh.Deps) {
			h.MX = d.MX
			d.MX = h
			if wrap != nil {
				wrap(d)
			}
		},
	})
	return r, h
}

func TestAnEndpointOfURIsThatHangsDelaysNoStatus(t *testing.T) {
	t.Parallel()
	r, h := hangBeside(t, func(d *refresh.Deps) { d.Jitter = rand.Float64 })
	var members []events.Key
	for range 20 {
		members = append(members, r.AddMember(pending()))
	}
	for _, k := range members {
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	for _, k := range members {
		r.Until("the status is published", func() bool { return len(r.Events(k)) == 1 })
	}
	if got := r.Refresh(r.AddMember(status("CONNECTED"))); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s of a member that needs no URI", got.Outcome)
	}
	if n := r.Messages(r.Subjects.OAuthStream()); n != 0 {
		t.Errorf("%d announcements; the test shows nothing", n)
	}
	close(h.open)
	r.WaitIdle()
	for _, k := range members {
		if a := r.Announcements(k); len(a) != 1 || a[0].Data.OAuthWindowURI == "" {
			t.Errorf("announcements %+v, want one with a URI", a)
		}
	}
	if n := h.most.Load(); n != 1 {
		t.Errorf("%d calls for URIs at once, want the share of one", n)
	}
}

func TestAnAggregationThatHangsKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	r, h := hangBeside(t, func(d *refresh.Deps) { d.Jitter = rand.Float64 })
	const n = 8
	for range n {
		r.Publish(aggregating(r.AddMember(settled())))
	}
	r.Until("MX is asked to aggregate", func() bool { return h.calls.Load() > 0 })
	if got := r.Refresh(r.AddMember(status("CONNECTED"))); got.Outcome != events.OutcomeChanged {
		t.Errorf("outcome %s of a member that nobody wants aggregated", got.Outcome)
	}
	close(h.open)
	for id := 1; id <= n; id++ {
		if got := r.Result(decimal(id)); got.Outcome == events.OutcomeFailed {
			t.Errorf("command %d: %s", id, got.Reason)
		}
	}
	if n := h.most.Load(); n != 1 {
		t.Errorf("%d calls at once, want the share of one", n)
	}
}

func TestAnAnnouncementThatFindsNoRoomForLongGoesWithoutAURI(t *testing.T) {
	t.Parallel()
	clock := new(clock)
	r, h := hangBeside(t, func(d *refresh.Deps) { d.Now = clock.Now })
	first := r.AddMember(pending())
	r.Publish(events.Command{User: first.User(), Member: first.Member()})
	r.Until("the one call there may be hangs", func() bool { return h.calls.Load() > 0 })
	k := r.AddMember(pending())
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("the status is published", func() bool { return len(r.Events(k)) == 1 })
	r.Until("the command is handed back", func() bool { return r.Workers[0].Service.Flow().Hand == 1 })
	if a := r.Announcements(k); len(a) != 0 {
		t.Errorf("announcements %+v although the need is new", a)
	}
	clock.Advance(3 * 60e9) // a tenth of OAUTH_URI_TTL
	r.Until("the need is announced", func() bool { return len(r.Announcements(k)) == 1 })
	if a := r.Announcements(k)[0]; a.Data.OAuthWindowURI != "" {
		t.Error("a URI from nowhere")
	}
	close(h.open)
	r.WaitIdle()
	if a := r.Announcements(first); len(a) != 1 || a[0].Data.OAuthWindowURI == "" {
		t.Errorf("announcements %+v of the member whose call hung, want one with a URI", a)
	}
}

func TestAURIThatFailedOnceAndFindsNoRoomHasFailedTwice(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	fail, open := make(chan struct{}), make(chan struct{})
	r := refreshtest.New(t, refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.MaxInFlight = 4 },
		Wrap: func(_ int, d *refresh.Deps) {
			d.MX = &uris{d.MX, func(context.Context) (string, error) {
				if calls.Add(1) == 1 {
					<-fail
					return "", &mx.CallError{Kind: mx.ServerFailed, Op: mx.OpOAuthWindowURI}
				}
				<-open
				return "https://bank.test/", nil
			}}
		},
	})
	k := r.AddMember(pending())
	r.Publish(events.Command{User: k.User(), Member: k.Member()})
	r.Until("MX is asked for a URI", func() bool { return calls.Load() == 1 })
	asked := make(chan error)
	go func() { asked <- uri(t, r, k) }()
	r.Until("a request waits for room", func() bool { return r.Workers[0].Service.Flow().Hand == 2 })
	close(fail) // the request has the room now
	r.Until("the need is announced", func() bool { return len(r.Announcements(k)) == 1 })
	if a := r.Announcements(k)[0]; a.Data.OAuthWindowURI != "" || calls.Load() != 2 {
		t.Errorf("announced with a URI: %t, after %d calls", a.Data.OAuthWindowURI != "", calls.Load())
	}
	close(open)
	if err := <-asked; err != nil {
		t.Error(err)
	}
	r.WaitIdle()
	announcement(t, r, k)
}
