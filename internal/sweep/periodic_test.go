package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// wishes records who a walk asks to be refreshed, and refreshes nobody.
type wishes struct {
	Refreshes
	mu  sync.Mutex
	all map[events.Key]int
}

func (w *wishes) Refresh(_ context.Context, k events.Key, _, _, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[k]++
	return nil
}

// period makes the steps of the periodic refresh by hand, on a clock of its own.
type period struct {
	*site
	w     *Walker
	now   time.Time
	state []byte
	asked *wishes
}

func newPeriod(t *testing.T) *period {
	t.Helper()
	p := &period{site: newSite(t, refreshtest.Options{}, Config{}, nil), now: time.Now(), asked: &wishes{all: map[events.Key]int{}}}
	p.w = New(Config{RefreshEvery: time.Hour}, p.walkers[0].Deps)
	p.asked.Refreshes = p.w.Refreshes
	p.w.Refreshes, p.w.Now = p.asked, func() time.Time { return p.now }
	var err error
	if p.state, err = json.Marshal(round{Began: p.now}); err != nil {
		t.Fatal(err)
	}
	return p
}

// after makes all steps that are due once some time has passed, and returns who
// was asked for.
func (p *period) after(d time.Duration) map[events.Key]int {
	p.t.Helper()
	p.now = p.now.Add(d)
	p.asked.all = map[events.Key]int{}
	for {
		next, after, err := p.w.Step(p.t.Context(), chainPeriodic, 1, 1, p.state)
		if err != nil {
			p.t.Fatal(err)
		}
		p.state = next
		if after > 0 {
			return p.asked.all
		}
	}
}

func TestPeriodicRefreshReadsEachKnownMemberOnceAPeriodEvenly(t *testing.T) {
	t.Parallel()
	p := newPeriod(t)
	keys := p.users(40, 1)
	p.sweep(Spec{})
	for range 2 {
		got := map[events.Key]int{}
		for range 4 {
			quarter := p.after(15 * time.Minute)
			if n := len(quarter); n < 9 || n > 11 {
				t.Errorf("%d of %d members in a quarter of the period", n, len(keys))
			}
			for k, n := range quarter {
				got[k] += n
			}
		}
		for _, k := range keys {
			if got[k] != 1 {
				t.Errorf("%s was asked for %d times in a period", k, got[k])
			}
		}
	}
}

func TestPeriodicRefreshLeavesNoMemberLongerThanAPeriodThoughEventsMove(t *testing.T) {
	t.Parallel()
	p := newPeriod(t)
	keys := p.users(12, 1)
	p.sweep(Spec{})
	p.after(30 * time.Minute)
	for _, k := range keys[:3] { // read before: their last events move behind all others
		p.Set(k, mxsim.Patch{"connection_status": "DEGRADED"})
		p.Refresh(k)
	}
	late := p.users(2, 1)
	p.Refresh(late[0])
	p.Refresh(late[1])
	all := append(keys, late...)
	since := map[events.Key]int{}
	for range 12 { // a whole period in steps
		for k, n := range p.after(5 * time.Minute) {
			since[k] += n
		}
	}
	for _, k := range all {
		if since[k] < 1 {
			t.Errorf("%s was not asked for within a period", k)
		}
	}
}

func TestPeriodicRefreshReadsAMemberOnceHoweverManyEventsItHas(t *testing.T) {
	t.Parallel()
	p := newPeriod(t)
	keys := p.users(4, 1)
	p.sweep(Spec{})
	for _, status := range []string{"DEGRADED", "DENIED", "CONNECTED"} {
		for _, k := range keys {
			p.Set(k, mxsim.Patch{"connection_status": status})
			p.Refresh(k)
		}
	}
	got := map[events.Key]int{}
	for range 8 {
		for k, n := range p.after(time.Hour / 8) {
			got[k] += n
		}
	}
	for _, k := range keys {
		if got[k] != 1 {
			t.Errorf("%s was asked for %d times in a period", k, got[k])
		}
	}
}

func TestPeriodicRefreshLeavesOutTheDeletedAndTheUnreadable(t *testing.T) {
	t.Parallel()
	p := newPeriod(t)
	keys := p.users(3, 1)
	p.sweep(Spec{})
	if err := p.Sim.Delete(keys[0].Member()); err != nil {
		t.Fatal(err)
	}
	p.Refresh(keys[0])
	p.Settled()
	if _, err := p.JS.Publish(t.Context(), p.Subjects.Event(events.TypeConnected, keys[1]), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(maps.Keys(p.after(59 * time.Minute))); !slices.Equal(got, keys[2:]) {
		t.Errorf("asked for %v, want %v of %v; the first went through %v", got, keys[2:], keys, p.Types(keys[0]))
	}
}

func TestPeriodicRefreshAfterALongOutageBeginsAPeriodNow(t *testing.T) {
	t.Parallel()
	r := round{Began: time.Unix(0, 0), Cursor: 7}
	r.turn(time.Unix(0, 0).Add(59*time.Minute), time.Hour)
	if r.Cursor != 7 {
		t.Error("the period was over too early")
	}
	r.turn(time.Unix(0, 0).Add(61*time.Minute), time.Hour)
	if r.Cursor != 0 || !r.Began.Equal(time.Unix(3600, 0)) {
		t.Errorf("the next period: %+v", r)
	}
	r.turn(time.Unix(100_000, 0), time.Hour)
	if !r.Began.Equal(time.Unix(100_000, 0)) {
		t.Errorf("after an outage: %+v", r)
	}
}

func TestPeriodicRefreshIsOneChainHoweverManyWorkersRunAndRestart(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{Workers: 2}, Config{RefreshEvery: time.Hour}, nil)
	keys := s.users(5, 1)
	for _, k := range keys {
		s.Refresh(k)
	}
	load := func() (round, bool) {
		state, live, seq, err := s.chains().Load(t.Context(), chainPeriodic)
		if err != nil {
			t.Fatal(err)
		}
		var r round
		if seq > 0 {
			if err := json.Unmarshal(state, &r); err != nil {
				t.Fatal(err)
			}
		}
		return r, live
	}
	stop := []func(){s.run(s.walkers[0]), s.run(s.walkers[1])}
	s.until("the chain goes", func() bool { _, live := load(); return live })
	began, _ := load()
	for range 3 {
		for i := range stop {
			stop[i]()
			stop[i] = s.run(s.walkers[i])
		}
	}
	if now, live := load(); !live || !now.Began.Equal(began.Began) {
		t.Errorf("restarts made of %+v %+v, live %t", began, now, live)
	}
	ticks := func() uint64 {
		return s.waiting(s.Subjects.Prefix()+".background.at.chain.*.*") + s.waiting(s.Subjects.BackgroundDue())
	}
	// Who makes a step sends the next tick before his own is acknowledged.
	s.until("one tick waits", func() bool { return ticks() == 1 })
}

func TestPeriodicRefreshEndsWhenItIsSwitchedOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{RefreshEvery: 50 * time.Millisecond}, nil)
	keys := s.users(3, 1)
	for _, k := range keys {
		s.Refresh(k)
	}
	stop := s.run(s.walkers[0])
	s.until("everybody has been read again", func() bool {
		return !slices.ContainsFunc(keys, func(k events.Key) bool { return s.Reads(k) < 3 })
	})
	stop()
	off := s.serve(0, Config{}, nil)
	s.run(off)
	s.until("the chain has ended", func() bool {
		_, live, _, err := s.chains().Load(t.Context(), chainPeriodic)
		return err == nil && !live
	})
	s.Settled()
	s.judge()
}

func TestWalkerTriesAgainWhenNATSFails(t *testing.T) {
	t.Parallel()
	s := newSite(t, refreshtest.Options{}, Config{RefreshEvery: time.Hour}, nil)
	w := s.walkers[0]
	actual := w.Chains
	failed := false
	w.Chains = &unsteady{Chains: actual, load: func() error {
		if failed {
			return nil
		}
		failed = true
		return errors.New("no answer")
	}}
	s.run(w)
	s.until("the chain goes", func() bool {
		_, live, _, err := actual.Load(t.Context(), chainPeriodic)
		return err == nil && live
	})
}

// unsteady are chains that sometimes cannot be loaded.
type unsteady struct {
	Chains
	load func() error
}

func (u *unsteady) Load(ctx context.Context, name string) ([]byte, bool, uint64, error) {
	if err := u.load(); err != nil {
		return nil, false, 0, err
	}
	return u.Chains.Load(ctx, name)
}

func TestConfigNamesAPeriodThatIsTooShort(t *testing.T) {
	t.Parallel()
	for every, problems := range map[time.Duration]int{0: 0, time.Minute: 0, 24 * time.Hour: 0, time.Second: 1, -time.Hour: 1} {
		if got := (&Config{RefreshEvery: every}).Problems(); len(got) != problems {
			t.Errorf("%s: %v", every, got)
		}
	}
}
