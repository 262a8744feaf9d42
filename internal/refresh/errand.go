package refresh

import "context"

// errand is one call to MX that serves no job. A page of a list waits for its
// turn in the background lane as a member's read does, so that a walk over
// everybody takes nothing from those who wait for an answer; the read of a
// witness waits for nothing.
type errand struct {
	do      func(ctx context.Context, c *call)
	refused bool          // do never runs; written before ended is closed
	ended   chan struct{} // closed once do has returned, or never will run
}

func newErrand(key turnKey, do func(ctx context.Context, c *call)) *turn {
	return &turn{key: key, lane: Background, errand: &errand{do: do, ended: make(chan struct{})}}
}

// send queues an errand about key. It reports false after close.
func (d *desk) send(key turnKey, do func(ctx context.Context, c *call)) (*turn, bool) {
	t := newErrand(key, do)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, false
	}
	d.hand++
	d.errands[t] = struct{}{}
	t.queued = true
	d.ready[Background] = append(d.ready[Background], t)
	d.pump()
	return t, true
}

// refuse ends an errand that has not begun. d.mu is held.
func (d *desk) refuse(t *turn) {
	delete(d.errands, t)
	d.hand--
	t.queued = false
	t.errand.refused = true
	close(t.errand.ended)
}

// withdraw ends an errand for whoever no longer waits for it, unless it has begun.
func (d *desk) withdraw(t *turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, waits := d.errands[t]; waits {
		d.refuse(t)
	}
}
