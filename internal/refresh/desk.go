package refresh

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/memberwatch/memberwatch/events"
)

// cyclesPerCall bounds the cycles that run, as a multiple of MX_MAX_IN_FLIGHT: a
// cycle that has its answer and waits for NATS does not keep another from asking.
const cyclesPerCall = 2

// backgroundShare: while both lanes have something to do, one start in so many
// is the background lane's.
const backgroundShare = 8

// ailingShare: members that fail by themselves have one in so many calls to MX, and
// more only as long as half of all calls are free.
const ailingShare = 4

// parkTime is how long jobs in hand wait for an outage to end before they are
// handed back, so that another worker, whose way to MX may be fine, can have them.
const parkTime = 5 * time.Second

// turnKey names what is served one at a time: a member by its guids or, until
// those are known, a pair of ids as the partner gave them.
type turnKey struct {
	user, member string
	partner      bool
}

func keyOf(k events.Key) turnKey { return turnKey{k.User(), k.Member(), false} }

// turn is the queue of jobs for one member. All fields are guarded by the desk's lock.
type turn struct {
	key     turnKey
	waiting []*Job
	running bool
	queued  bool // stands in the ready queue of lane
	ailing  bool // its member failed by itself when the turn was made
	lane    Lane
	errand  *errand // set: no member's turn but one call to MX for somebody else
}

// desk hands out turns: it knows which members have jobs waiting, starts as
// many cycles as the breaker, the rate limit and the lanes allow, and never two of
// one member. A waiting job costs a slice entry, not a goroutine.
type desk struct {
	run    func(context.Context, *turn, *call)            // serves one turn
	look   func(ctx context.Context, c *call, of turnKey) // reads a member for nobody
	now    func() time.Time
	jitter func() float64

	mu       sync.Mutex
	breaker  breaker
	limiter  *rate.Limiter // nil: no limit
	turns    map[turnKey]*turn
	ready    [lanes][]*turn // in order of arrival; an entry whose turn has moved on is skipped
	starts   uint64
	asking   int                // calls to MX in flight, or about to be
	beside   int                // calls beside reads that have room, under way or about to be
	roomed   int                // those of requests among them
	cycles   int                // cycles that run, those that are past their call to MX included
	wanting  []chan struct{}    // cycles that need to ask again, in order
	errands  map[*turn]struct{} // those that have not begun
	requests []*turn            // errands among them that wait for room beside reads, in order
	ailing   int                // turns that are
	hand     int                // jobs, and errands, waiting or being served
	closed   bool
	alarm    *time.Timer
	moved    chan struct{} // closed and replaced whenever fetching may start or must stop

	crew crew

	ctx context.Context //nolint:containedctx // The life of all cycles; ended after SHUTDOWN_TIMEOUT.
}

func newDesk(
	ctx context.Context, cfg *Config, now func() time.Time, jitter func() float64,
	run func(context.Context, *turn, *call), look func(context.Context, *call, turnKey),
) *desk {
	d := &desk{
		run: run, look: look, now: now, jitter: jitter, ctx: ctx,
		turns:   make(map[turnKey]*turn),
		errands: make(map[*turn]struct{}),
		moved:   make(chan struct{}),
	}
	d.breaker = newBreaker(cfg.MaxInFlight, d.busy)
	if cfg.RateLimit > 0 {
		// A burst of a twentieth of a second's worth keeps the limit over any longer time.
		d.limiter = rate.NewLimiter(rate.Limit(cfg.RateLimit), max(1, int(cfg.RateLimit/20)))
	}
	return d
}

// submit takes a job in hand, or returns why not: errStopping after close,
// errCrowded for a member that fails by itself when there are enough of those.
func (d *desk) submit(j *Job, k turnKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return errStopping
	case d.crowded() && d.turns[k] == nil && d.breaker.witnesses.failsAlone(k):
		return errCrowded
	}
	d.hand++
	d.enqueue(j, k)
	d.pump()
	return nil
}

// crowded reports whether members that fail by themselves have their share, while
// half of the calls that there may be are under way. Reads that hang would leave no
// other a place.
func (d *desk) crowded() bool {
	return d.ailing*ailingShare >= d.breaker.limit && 2*d.asking >= d.breaker.limit
}

// enqueue puts a job that is in hand into its turn's queue. d.mu is held.
func (d *desk) enqueue(j *Job, k turnKey) {
	t := d.turns[k]
	if t == nil {
		t = &turn{key: k, lane: Background, ailing: d.breaker.witnesses.failsAlone(k)}
		d.turns[k] = t
		if t.ailing {
			d.ailing++
		}
	} else if j.Joined != nil {
		j.Joined()
	}
	t.waiting = append(t.waiting, j)
	if !t.running {
		d.line(t, j.Lane)
	}
}

// forget ends a turn that has nothing to do. d.mu is held.
func (d *desk) forget(t *turn) {
	delete(d.turns, t.key)
	if t.ailing {
		d.ailing--
	}
}

// line queues a turn, or moves it from the background queue to the interactive one.
func (d *desk) line(t *turn, lane Lane) {
	if t.queued && t.lane <= lane {
		return
	}
	t.queued, t.lane = true, lane
	d.ready[lane] = append(d.ready[lane], t)
}

// pump starts cycles while it may. d.mu is held.
func (d *desk) pump() {
	for {
		t, c := d.next()
		if t == nil {
			return
		}
		if s := (start{t, c}); !d.crew.take(s) {
			d.crew.all.Go(func() { d.work(s) })
		}
	}
}

// work serves a turn, and goes on with others that may start until there is no more to do.
func (d *desk) work(s start) {
	var next chan start
	for s.turn != nil {
		d.run(d.ctx, s.turn, s.call)
		d.mu.Lock()
		d.finish(s.turn, s.call)
		s.turn, s.call = d.next()
		d.pump()
		rests := false
		if s.turn == nil {
			if next == nil {
				next = make(chan start, 1)
			}
			rests = d.crew.rest(next)
		}
		d.mu.Unlock()
		if rests {
			s = <-next
		}
	}
}

// next takes the turn that may start now, if any. d.mu is held.
func (d *desk) next() (*turn, *call) {
	lane, waits := d.chooseLane()
	if !waits && !d.breaker.probes() || d.closed || d.cycles >= cyclesPerCall*d.breaker.limit || len(d.wanting) > 0 {
		return nil, nil
	}
	now := d.now()
	if ok, wait := d.breaker.admits(now, d.asking); !ok {
		d.wake(wait)
		return nil, nil
	}
	if k, ok := d.breaker.witness(waits); ok {
		return d.testify(now, k)
	}
	if !waits {
		return nil, nil // and nobody is known: whoever asks next is the probe
	}
	lane, i := d.candidate(lane)
	t := d.ready[lane][i]
	pays := !t.key.partner || t.errand != nil // ids are mostly resolved without asking MX
	if pays && d.limiter != nil && !d.limiter.AllowN(now, 1) {
		r := d.limiter.ReserveN(now, 1)
		d.wake(r.DelayFrom(now))
		r.CancelAt(now)
		return nil, nil
	}
	if i == 0 {
		d.ready[lane] = d.ready[lane][1:] // and nothing has to move
	} else {
		d.ready[lane] = slices.Delete(d.ready[lane], i, i+1)
	}
	t.queued, t.running = false, true
	delete(d.errands, t)
	d.starts++
	d.cycles++
	d.asking++
	c := &call{desk: d, key: t.key, slot: true, paid: pays, probe: d.breaker.probes()}
	d.breaker.started(now)
	return t, c
}

// chooseLane drops queue entries that have moved on and picks the lane to serve.
func (d *desk) chooseLane() (Lane, bool) {
	for l := range d.ready {
		q := d.ready[l]
		for len(q) > 0 && (!q[0].queued || q[0].lane != Lane(l)) {
			q = q[1:]
		}
		if len(q) == 0 {
			q = nil // let go of the array
		}
		d.ready[l] = q
	}
	interactive, background := len(d.ready[Interactive]) > 0, len(d.ready[Background]) > 0
	switch {
	case background && (!interactive || d.starts%backgroundShare == backgroundShare-1):
		return Background, true
	case interactive:
		return Interactive, true
	}
	return 0, false
}

// busy reports whether MX is being asked about k. d.mu is held.
func (d *desk) busy(k turnKey) bool { return d.turns[k] != nil && d.turns[k].running }

// finish ends a turn's cycle. d.mu is held.
func (d *desk) finish(t *turn, c *call) {
	c.quit()
	t.running = false
	d.cycles--
	if t.errand != nil {
		d.finishErrand(t)
		return
	}
	if len(t.waiting) == 0 {
		d.forget(t)
		return
	}
	lane := Background
	for _, j := range t.waiting {
		lane = min(lane, j.Lane)
	}
	d.line(t, lane)
}

// peek is the job of the turn that has waited longest, nil if none waits.
func (d *desk) peek(t *turn) *Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(t.waiting) == 0 {
		return nil
	}
	return t.waiting[0]
}

// claim hands the jobs that wait for the turn to the read that starts now.
func (d *desk) claim(t *turn) []*Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	take := t.waiting
	t.waiting = nil
	return take
}

// move puts jobs in hand to the turn of k; those it cannot take any more are returned.
func (d *desk) move(jobs []*Job, k turnKey) (refused []*Job) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return jobs
	}
	for _, j := range jobs {
		d.enqueue(j, k)
	}
	d.pump()
	return nil
}

// settled notes that a job is no longer in hand.
func (d *desk) settled(n int) {
	d.mu.Lock()
	d.hand -= n
	d.mu.Unlock()
}

// wake has pump called again after wait; 0 means that an event will do it. d.mu is held.
func (d *desk) wake(wait time.Duration) {
	if wait <= 0 || d.closed {
		return
	}
	if d.alarm == nil {
		d.alarm = time.AfterFunc(wait, d.ring)
		return
	}
	d.alarm.Reset(wait)
}

func (d *desk) ring() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pump()
}

// parked takes back all waiting jobs once an outage has lasted parkTime, save
// those of one member, to probe with.
func (d *desk) parked() []*Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.breaker.open || d.now().Sub(d.breaker.since) < parkTime {
		return nil
	}
	lane, ok := d.chooseLane()
	if !ok {
		return nil
	}
	lane, i := d.candidate(lane)
	probe := d.ready[lane][i]
	out := d.drop(probe)
	d.line(probe, lane)
	return out
}

// drop empties every queue but that of keep, which stands in no lane then. d.mu is held.
func (d *desk) drop(keep *turn) []*Job {
	var out []*Job
	for _, t := range d.turns {
		if t == keep {
			t.queued = false
			continue
		}
		out = append(out, t.waiting...)
		t.waiting, t.queued = nil, false
		if !t.running {
			d.forget(t)
		}
	}
	for t := range d.errands {
		t.queued = false
		if t != keep {
			d.refuse(t)
		}
	}
	d.ready = [lanes][]*turn{}
	return out
}

// close stops starting cycles and returns the jobs that have not begun.
func (d *desk) close() []*Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.crew.close()
	if d.alarm != nil {
		d.alarm.Stop()
	}
	d.signalMoved()
	return d.drop(nil)
}

// thin lets go of goroutines that are too many for what there is to do.
func (d *desk) thin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crew.thin()
}

// signalMoved tells those who wait on moved. d.mu is held.
func (d *desk) signalMoved() {
	close(d.moved)
	d.moved = make(chan struct{})
}

func (d *desk) flow() Flow {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := Flow{Suspended: d.breaker.open, Hand: d.hand, Moved: d.moved}
	if f.Suspended {
		_, i := d.findPromising()
		f.Promising = i >= 0
	}
	return f
}

func (d *desk) suspended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.open
}

// lastOK is when the latest read began that MX answered with 200. The beginning
// counts: what was under way when MX went wrong says nothing of what it says since.
func (d *desk) lastOK() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.breaker.lastOK
}
