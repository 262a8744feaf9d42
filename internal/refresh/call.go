package refresh

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// call is a cycle's permission to ask MX. A member's first request was paid for
// when the cycle was started, so that what waits for the rate limit holds no
// slot; each further one pays for itself.
type call struct {
	desk   *desk
	key    turnKey
	guest  bool      // it comes from outside the queues, and is the breaker's probe when one is due
	slot   bool      // one of the calls in flight is ours; guarded by the desk's lock
	beside bool      // it has room among the calls beside reads; guarded by the desk's lock
	paid   bool      // the first request has its rate limit token, still unused
	probe  bool      // the first request is the breaker's probe; guarded by the desk's lock
	began  time.Time // when the last request was allowed to begin
}

// begin gets permission for one request: errSuspended when MX may not be asked
// now, an error when ctx ended while waiting for its turn. Every begin is
// followed by answered or done.
func (c *call) begin(ctx context.Context) error {
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer func() { c.began = c.desk.now() }()
	if c.paid {
		c.paid = false
		return nil
	}
	if l := c.desk.limiter; l != nil {
		if err := l.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the rate limit: %w", err)
		}
	}
	return nil
}

// acquire takes a slot unless the call holds one. Cycles that ask again go
// before those that have not begun.
func (c *call) acquire(ctx context.Context) error {
	d := c.desk
	d.mu.Lock()
	switch {
	case d.breaker.open && !c.probe && (!c.guest || !d.volunteer(c)):
		d.mu.Unlock()
		return errSuspended
	case c.slot:
		d.mu.Unlock()
		return nil
	case d.asking < d.breaker.window:
		d.asking++
		c.slot = true
		d.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	d.wanting = append(d.wanting, turn)
	d.mu.Unlock()
	select {
	case <-turn:
		d.mu.Lock()
		defer d.mu.Unlock()
		c.slot = true
		if d.breaker.open { // it opened while this waited
			c.release()
			d.pump()
			return errSuspended
		}
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.wanting, turn); i >= 0 {
		d.wanting = slices.Delete(d.wanting, i, i+1)
	} else {
		c.slot = true // it was handed over this instant; finish releases it
	}
	return fmt.Errorf("waiting to ask MX: %w", ctx.Err())
}

// release gives the slot to a cycle that needs it, or back. The desk's lock is held.
func (c *call) release() {
	if c.beside {
		c.beside = false
		c.desk.besideEnded()
	}
	if !c.slot {
		return
	}
	c.slot = false
	d := c.desk
	if len(d.wanting) > 0 && d.asking <= d.breaker.window {
		close(d.wanting[0])
		d.wanting = d.wanting[1:]
		return
	}
	d.asking--
}

// done gives the slot back after a request whose answer says nothing to the breaker.
func (c *call) done() {
	c.desk.mu.Lock()
	defer c.desk.mu.Unlock()
	c.release()
	c.desk.pump()
}

// end gives back whatever a guest still holds.
func (c *call) end() {
	c.desk.mu.Lock()
	defer c.desk.mu.Unlock()
	c.quit()
	c.desk.pump()
}

// quit gives the slot back, and the probe if it was not made. The desk's lock is held.
func (c *call) quit() {
	if c.probe {
		c.probe, c.desk.breaker.probing = false, false
	}
	c.release()
}

// answered gives the slot back, tells the breaker how a request ended, and returns
// what that did to it.
func (c *call) answered(err error) transition { return c.tell(err, (*breaker).answered) }

// tell has the breaker take in how a request ended, as hear does it.
func (c *call) tell(err error, hear func(*breaker, answer) transition) transition {
	d := c.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	a := answer{of: c.key, err: err, began: c.began, at: now, probe: c.probe, jitter: d.jitter()}
	c.probe = false
	t := hear(&d.breaker, a)
	c.release()
	if t != unmoved {
		d.signalMoved()
	}
	if t == opened {
		d.refuseRequests()
	}
	if d.breaker.open {
		d.wake(max(d.breaker.probeAt.Sub(now), time.Millisecond))
	}
	d.pump()
	return t
}
