package refresh_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// followings lets a test step between the service and the schedule.
type followings struct {
	refresh.Followings
	schedule func(context.Context, events.Key, refresh.Following, time.Duration, bool) error
}

func (f *followings) Schedule(ctx context.Context, k events.Key, next refresh.Following, after time.Duration, anew bool) error {
	return f.schedule(ctx, k, next, after, anew)
}

// scheduled is one call of Schedule.
type scheduled struct {
	tries uint64
	after time.Duration
	anew  bool
}

// diary records what would be scheduled, and schedules nothing.
type diary struct {
	mu  sync.Mutex
	all []scheduled
}

func (d *diary) wrap(_ int, deps *refresh.Deps) {
	deps.Followings = &followings{schedule: func(_ context.Context, _ events.Key, f refresh.Following, after time.Duration, anew bool) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.all = append(d.all, scheduled{f.Tries, after, anew})
		return nil
	}}
}

func (d *diary) read() []scheduled {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all)
}

// submit gives the first worker a job and waits until it is done.
func submit(t *testing.T, r *refreshtest.Rig, j refresh.Job) refresh.Verdict {
	t.Helper()
	verdict := make(chan refresh.Verdict, 1)
	j.Settle = func(v refresh.Verdict) { verdict <- v }
	if j.Ref == "" {
		j.Ref = "test-" + j.ID
	}
	r.Workers[0].Service.Submit(&j)
	select {
	case v := <-verdict:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("the job is not settled")
		return refresh.Verdict{}
	}
}

func TestAMemberOnItsWayIsReadUntilItHasSettled(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon, Sim: func(c *mxsim.Config) { c.SettleReads = 6 }})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "PENDING"})
	if err := r.Sim.Authorize(k.Member(), ""); err != nil {
		t.Fatal(err)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.PublishMsg(&nats.Msg{
		Subject: r.Subjects.Refresh(), Header: nats.Header{"traceparent": {trace}, "tracestate": {"a=b"}},
		Data: []byte(`{"user":"` + k.User() + `","member":"` + k.Member() + `","command_id":"the-cause","reason":"signup"}`),
	})
	r.WaitSettled()
	wantTypes(t, r, k, events.TypeUpdated, events.TypeConnected)
	// The command's and its follow-up; five until MX has settled; the follow-up of what that found.
	if n := r.Reads(k); n != 8 {
		t.Errorf("%d reads, want 8", n)
	}
	for _, e := range r.Events(k) {
		if e.CorrelationID != "the-cause" || e.Reason != "signup" || e.Traceparent != trace || e.Tracestate != "a=b" {
			t.Errorf("%s: correlation id %q, reason %q, traceparent %q, tracestate %q", e.Type, e.CorrelationID, e.Reason, e.Traceparent, e.Tracestate)
		}
	}
	reads := r.Answers(k, "read")
	for i, ms := range []int{20, 20, 40, 80, 160} { // the follow-up, then doubling
		if got := reads[i+1].At.Sub(reads[i].At); got < time.Duration(ms)*time.Millisecond {
			t.Errorf("read %d came after %s, before %d ms", i+2, got, ms)
		}
	}
}

func TestAnAggregationThatMakesNoEventIsFollowedAllTheSame(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon})
	k := r.AddMember(status("CONNECTED"))
	r.Refresh(k)
	r.WaitIdle()
	r.Set(k, mxsim.Patch{"is_being_aggregated": true})
	r.Do(events.Command{User: k.User(), Member: k.Member(), CommandID: "looks", Reason: "opened the app"})
	if n := len(r.Followed()); n != 1 {
		t.Fatalf("%d members are followed, want one", n)
	}
	r.Set(k, mxsim.Patch{"is_being_aggregated": false, "connection_status": "IMPAIRED"})
	r.WaitSettled()
	wantTypes(t, r, k, events.TypeConnected, events.TypeImpaired)
	if e := r.Events(k)[1]; e.CorrelationID != "looks" || e.Reason != "opened the app" {
		t.Errorf("correlation id %q, reason %q; want those of the command", e.CorrelationID, e.Reason)
	}
}

func TestASettledMemberCostsNoWrite(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon})
	for _, s := range []string{"CONNECTED", "DISCONNECTED", "CHALLENGED", "NEVER_SEEN_BEFORE"} {
		k := r.AddMember(status(s))
		r.Refresh(k)
		r.Refresh(k)
	}
	r.WaitIdle()
	if n := r.StreamInfo(r.Subjects.BackgroundStream()).State.LastSeq; n != 0 {
		t.Errorf("%d messages were scheduled", n)
	}
}

func TestNobodyIsFollowedWhenFollowUpsAreTurnedOff(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	k := r.AddMember(status("CREATED"))
	r.Refresh(k)
	r.Refresh(k)
	if n := r.StreamInfo(r.Subjects.BackgroundStream()).State.LastSeq; n != 0 {
		t.Errorf("%d messages were scheduled", n)
	}
}

func TestHoweverOftenAMemberIsReadOneNextReadIsScheduled(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Workers: 3, Bus: func(c *bus.Config) { c.FollowUpAfter = 10 * time.Second }})
	k := r.AddMember(status("CREATED"))
	for range 20 {
		r.Refresh(k)
	}
	if n := r.StreamInfo(r.Subjects.BackgroundStream()).State.LastSeq; n != 1 {
		t.Errorf("%d messages were scheduled, want one", n)
	}
}

func TestAFollowingOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon})
	k := r.AddMember(status("CREATED"))
	r.Refresh(k)
	r.Until("the member is followed", func() bool { return len(r.Followed()) == 1 })
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	r.Set(k, status("CONNECTED"))
	r.StartWorker()
	r.WaitSettled()
	wantTypes(t, r, k, events.TypeCreated, events.TypeConnected)
}

func TestNothingIsAcknowledgedBeforeTheNextReadIsScheduled(t *testing.T) {
	t.Parallel()
	var failures int
	r := refreshtest.New(t, refreshtest.Options{Bus: followSoon, Wrap: func(_ int, d *refresh.Deps) {
		sound := d.Followings
		d.Followings = &followings{schedule: func(ctx context.Context, k events.Key, f refresh.Following, after time.Duration, anew bool) error {
			if failures++; failures <= 2 { // called by one cycle at a time: there is one member
				return errors.New("fault of the test")
			}
			return sound.Schedule(ctx, k, f, after, anew)
		}}
	}})
	k := r.AddMember(status("CREATED"))
	r.Refresh(k)
	r.Until("the member is followed", func() bool { return len(r.Followed()) == 1 })
	r.Set(k, status("CONNECTED"))
	r.WaitSettled()
	wantTypes(t, r, k, events.TypeCreated, events.TypeConnected)
}

func TestEachReadOfAFollowingComesLaterThanTheLast(t *testing.T) {
	t.Parallel()
	var d diary
	r := refreshtest.New(t, refreshtest.Options{Wrap: d.wrap, Refresh: func(c *refresh.Config) { c.FollowUpAfter = 3 * time.Second }})
	k := r.AddMember(status("CREATED"))
	r.Refresh(k)
	for tries := uint64(1); tries <= 8; tries++ {
		submit(t, r, refresh.Job{ID: decimal(int(tries)), Key: k, Source: refresh.SourceFollowing, Following: &refresh.Following{Tries: tries, Since: time.Now()}})
	}
	want := []scheduled{
		{2, 6 * time.Second, false},
		{3, 12 * time.Second, false},
		{4, 24 * time.Second, false},
		{5, 48 * time.Second, false},
		{6, 96 * time.Second, false},
		{7, 2 * time.Minute, false},
		{8, 2 * time.Minute, false},
		{9, 2 * time.Minute, false},
	}
	if diff := cmp.Diff(want, d.read(), cmp.AllowUnexported(scheduled{})); diff != "" {
		t.Errorf("scheduled (-want +got):\n%s", diff)
	}
}

func TestTheFollowUpOfAnEventBeginsAFollowingAnew(t *testing.T) {
	t.Parallel()
	var d diary
	r := refreshtest.New(t, refreshtest.Options{Wrap: d.wrap, Bus: followSoon})
	k := r.AddMember(status("CREATED"))
	r.Refresh(k)
	r.Until("the event is followed up", func() bool { return len(d.read()) == 1 })
	if got, want := d.read()[0], (scheduled{1, 20 * time.Millisecond, true}); got != want {
		t.Errorf("scheduled %v, want %v", got, want)
	}
}

func TestAFollowingEndsByReadsAndByTime(t *testing.T) {
	t.Parallel()
	pending := mxsim.Patch{"is_oauth": true, "connection_status": "PENDING"}
	aggregating := mxsim.Patch{"connection_status": "CONNECTED", "is_being_aggregated": true}
	const ttl = 20 * time.Minute
	for name, tc := range map[string]struct {
		patch      mxsim.Patch
		transience string
		tries      uint64
		since      time.Duration // ago
		ahead      time.Duration // of the last event
		goesOn     bool
	}{
		"the last read of a moving member":          {status("DELAYED"), "moving", 39, 50 * time.Minute, 0, true},
		"a moving member, too many reads":           {status("DELAYED"), "moving", 40, 50 * time.Minute, 0, false},
		"a moving member, too long":                 {status("CREATED"), "moving", 5, 61 * time.Minute, 0, false},
		"a following that goes on for a day":        {status("CREATED"), "moving", 5, 59 * time.Minute, 25 * time.Hour, true},
		"an aggregation, too long":                  {aggregating, "aggregating", 5, 61 * time.Minute, 0, false},
		"an aggregation of a member long as it is":  {aggregating, "aggregating", 5, time.Minute, 50 * time.Hour, true},
		"a reconnected member":                      {status("RECONNECTED"), "reconnected", 5, 14 * time.Minute, 0, true},
		"a reconnected member whose user stays out": {status("RECONNECTED"), "reconnected", 5, 16 * time.Minute, 0, false},
		"a URI that is still offered":               {pending, "authorizing", 100, ttl - time.Minute, ttl - time.Minute, true},
		"a URI that is gone":                        {pending, "authorizing", 5, time.Minute, ttl + time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d diary
			c := &clock{}
			r := refreshtest.New(t, refreshtest.Options{
				Refresh: func(c *refresh.Config) { c.FollowUpAfter, c.OAuthURITTL = time.Second, ttl },
				Wrap:    func(n int, deps *refresh.Deps) { setClock(c)(n, deps); d.wrap(n, deps) },
			})
			k := r.AddMember(tc.patch)
			r.Refresh(k)
			c.Advance(tc.ahead)
			submit(t, r, refresh.Job{ID: "next", Key: k, Source: refresh.SourceFollowing, Following: &refresh.Following{Tries: tc.tries, Since: c.Now().Add(-tc.since)}})
			if goesOn := len(d.read()) == 1; goesOn != tc.goesOn {
				t.Errorf("goes on: %t, want %t", goesOn, tc.goesOn)
			}
			givenUp := 1.0
			if tc.goesOn {
				givenUp = 0
			}
			if got := counter(t, r, "memberwatch_followings_total", "given_up", tc.transience); got != givenUp {
				t.Errorf("%v given up, want %v", got, givenUp)
			}
		})
	}
}

func TestWhatHasBeenOnItsWayForADayIsNotTakenTo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch mxsim.Patch
		ahead time.Duration
		taken bool
	}{
		"created this morning":      {status("CREATED"), 12 * time.Hour, true},
		"created two days ago":      {status("CREATED"), 48 * time.Hour, false},
		"pending, its URI offered":  {mxsim.Patch{"is_oauth": true, "connection_status": "PENDING"}, 10 * time.Minute, true},
		"pending, its URI gone":     {mxsim.Patch{"is_oauth": true, "connection_status": "PENDING"}, 40 * time.Minute, false},
		"aggregating since forever": {mxsim.Patch{"connection_status": "CONNECTED", "is_being_aggregated": true}, 48 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d diary
			c := &clock{}
			r := refreshtest.New(t, refreshtest.Options{
				Refresh: func(c *refresh.Config) { c.FollowUpAfter = time.Second },
				Wrap:    func(n int, deps *refresh.Deps) { setClock(c)(n, deps); d.wrap(n, deps) },
			})
			k := r.AddMember(tc.patch)
			r.Refresh(k)
			c.Advance(tc.ahead)
			r.Refresh(k)
			if taken := len(d.read()) == 1; taken != tc.taken {
				t.Errorf("taken to: %t, want %t", taken, tc.taken)
			}
		})
	}
}

// counter is one of the first worker's counters, by the values of its labels in
// the order of their names.
func counter(t *testing.T, r *refreshtest.Rig, name string, labels ...string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Workers[0].Service.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestManyMembersOnTheirWayAtOnceStayWithinTheRateLimit(t *testing.T) {
	t.Parallel()
	const members, limit = 150, 200
	r := refreshtest.New(t, refreshtest.Options{
		Workers: 1, Refresh: func(c *refresh.Config) { c.RateLimit = limit }, Bus: followSoon,
		Sim: func(c *mxsim.Config) { c.SettleReads = 4 },
	})
	keys := make([]events.Key, members)
	for i := range keys {
		keys[i] = r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "PENDING"})
		if err := r.Sim.Authorize(keys[i].Member(), ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range keys {
		r.Publish(events.Command{User: k.User(), Member: k.Member()})
	}
	r.WaitSettled()
	var at []time.Time
	for e := range r.Sim.LogAll(0) {
		if e.Endpoint == "read" {
			at = append(at, e.At)
		}
	}
	if len(at) < 6*members {
		t.Errorf("%d reads, want at least 6 of each member", len(at))
	}
	slices.SortFunc(at, time.Time.Compare)
	// In any two seconds: what the limit allows, its burst of a twentieth of a second, and what a busy machine may hold up for half a second.
	const window = 2 * time.Second
	const most = 2*limit + limit/20 + limit/2
	for i := range at {
		if j := i + most; j < len(at) && at[j].Sub(at[i]) < window {
			t.Fatalf("%d reads in %s, at a limit of %d a second", most+1, at[j].Sub(at[i]), limit)
		}
	}
	for _, k := range keys {
		all := r.Events(k)
		if last := all[len(all)-1]; last.Type != events.TypeConnected || last.Data.Provisional {
			t.Errorf("%s ends with %s, provisional %t", k, last.Type, last.Data.Provisional)
		}
	}
}
