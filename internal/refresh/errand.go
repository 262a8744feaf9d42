package refresh

import (
	"context"
	"slices"
)

// errand is one call to MX that serves no job. A page of a list waits for its
// turn in the background lane as a member's read does, so that a walk over
// everybody takes nothing from those who wait for an answer; a request's call waits
// in the interactive lane, and for room among the calls beside reads first; the read
// of a witness waits for nothing.
type errand struct {
	do      func(ctx context.Context, c *call)
	witness bool          // it reads one
	request bool          // it is somebody's request, and a call beside reads
	roomed  bool          // such a call that counts for the share of those
	refused bool          // do never runs; written before ended is closed
	ended   chan struct{} // closed once do has returned, or never will run
}

func newErrand(lane Lane, key turnKey, do func(ctx context.Context, c *call)) *turn {
	return &turn{key: key, lane: lane, errand: &errand{do: do, ended: make(chan struct{})}}
}

// send queues an errand about key in the background lane. It reports false after close.
func (d *desk) send(key turnKey, do func(ctx context.Context, c *call)) (*turn, bool) {
	t := newErrand(Background, key, do)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, false
	}
	d.hand++
	d.errands[t] = struct{}{}
	d.lineErrand(t)
	d.pump()
	return t, true
}

// receive queues the errand of a request, which is refused as soon as the breaker
// opens. While it is open there is none, and no error: the request may be the probe.
func (d *desk) receive(key turnKey, do func(ctx context.Context, c *call)) (*turn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, errStopping
	case d.breaker.open:
		return nil, nil //nolint:nilnil // As said above.
	}
	t := newErrand(Interactive, key, do)
	t.errand.request = true
	d.hand++
	d.errands[t] = struct{}{}
	d.requests = append(d.requests, t)
	d.admitRequests()
	d.pump()
	return t, nil
}

// admitRequests has requests wait in their lane as soon as there is room for their
// calls: no more of them, so that they never stand between commands in numbers. Half of
// the share is theirs at most, as cycles do not wait for room and would find none. d.mu
// is held.
func (d *desk) admitRequests() {
	for share := d.share(); len(d.requests) > 0 && d.beside < share && d.roomed < max(1, share/2); {
		t := d.requests[0]
		d.requests = d.requests[1:]
		d.beside++
		d.roomed++
		t.errand.roomed = true
		d.lineErrand(t)
	}
}

// refuseRequests ends those that have not begun, as MX may not be asked now: each
// would wait for the end of an outage while somebody waits for it. d.mu is held.
func (d *desk) refuseRequests() {
	for t := range d.errands {
		if t.errand.request {
			d.refuse(t)
		}
	}
}

// lineErrand puts an errand into its lane. d.mu is held.
func (d *desk) lineErrand(t *turn) {
	t.queued = true
	d.ready[t.lane] = append(d.ready[t.lane], t)
}

// finishErrand notes that an errand has been run. d.mu is held.
func (d *desk) finishErrand(t *turn) {
	if t.errand.witness {
		d.breaker.witnesses.back(t.key)
	}
	d.hand--
	d.unroom(t)
}

// unroom gives back the room of a request's call. d.mu is held.
func (d *desk) unroom(t *turn) {
	if t.errand.roomed {
		t.errand.roomed = false
		d.roomed--
		d.besideEnded()
	}
}

// refuse ends an errand that has not begun. d.mu is held.
func (d *desk) refuse(t *turn) {
	delete(d.errands, t)
	d.requests = slices.DeleteFunc(d.requests, func(other *turn) bool { return other == t })
	d.hand--
	t.queued = false
	t.errand.refused = true
	close(t.errand.ended)
	d.unroom(t)
}

// withdraw ends an errand for whoever no longer waits for it, unless it has begun.
func (d *desk) withdraw(t *turn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, waits := d.errands[t]; waits {
		d.refuse(t)
		d.pump()
	}
}

// await waits until an errand has been run or refused. When ctx ends it is refused
// unless it has begun; then it has to end by itself, as ctx is its own too.
func (d *desk) await(ctx context.Context, t *turn) {
	select {
	case <-t.errand.ended:
	case <-ctx.Done():
		d.withdraw(t)
		<-t.errand.ended
	}
}
