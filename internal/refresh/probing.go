package refresh

import (
	"context"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// Whom MX is probed with while it may not be asked: mostly a witness, whether anything
// waits or not, so that a service with nothing to do finds out that MX is back; else a
// turn that waits, or a call from outside the queues.

// testify begins to probe MX with a read of the witness k. d.mu is held.
func (d *desk) testify(now time.Time, k turnKey) (*turn, *call) {
	t := newErrand(Background, k, func(ctx context.Context, c *call) { d.look(ctx, c, k) })
	t.errand.witness, t.running = true, true
	d.hand++
	d.starts++
	d.cycles++
	d.asking++
	d.breaker.started(now)
	return t, &call{desk: d, key: k, slot: true, probe: true}
}

// candidate returns where the turn stands that is to start: the first of lane or,
// to probe with, a promising one if there is any.
func (d *desk) candidate(lane Lane) (Lane, int) {
	if d.breaker.open {
		if l, i := d.findPromising(); i >= 0 {
			return l, i
		}
	}
	return lane, 0
}

// findPromising returns where the first promising turn stands; -1: there is none.
func (d *desk) findPromising() (Lane, int) {
	for _, l := range []Lane{Interactive, Background} {
		if i := slices.IndexFunc(d.ready[l], func(t *turn) bool { return t.queued && t.lane == l && d.promising(t) }); i >= 0 {
			return l, i
		}
	}
	return 0, -1
}

// promising reports whether a turn is good to probe with: nothing is known
// against its member, and it has jobs that were never handed back.
func (d *desk) promising(t *turn) bool {
	return t.errand != nil || !d.breaker.witnesses.failing.Contains(t.key) &&
		slices.ContainsFunc(t.waiting, func(j *Job) bool { return j.Deliveries <= 1 })
}

// friendless reports whether MX is not asked, or not more of it, and hardly
// anybody is known to ask whether it answers.
func (d *desk) friendless() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return (d.breaker.open || d.asking >= d.breaker.window) && (d.breaker.witnesses.few() || !d.breaker.witnesses.known(d.busy))
}

// acquaint makes members witnesses of whom it is not known how MX answers for them.
func (d *desk) acquaint(members []events.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range members {
		d.breaker.witnesses.meet(keyOf(k), d.now())
	}
	d.pump()
}

// volunteer has a call from outside the queues be the probe, if one is due. d.mu is held.
func (d *desk) volunteer(c *call) bool {
	now := d.now()
	if ok, _ := d.breaker.admits(now, d.asking); !ok || d.asking >= d.breaker.limit {
		return false
	}
	d.asking++
	d.breaker.started(now)
	c.slot, c.probe = true, true
	return true
}
