package refresh

import (
	"context"
	"fmt"
	"time"
)

// call is a cycle's permission to ask MX. A member's first request was paid for
// when the cycle was started, so that what waits for the rate limit holds no
// slot; each further one pays for itself.
type call struct {
	desk  *desk
	key   turnKey
	paid  bool // the first request has its rate limit token, still unused
	probe bool // the first request is the breaker's probe
}

// begin gets permission for one request: errSuspended when MX may not be asked
// now, ctx's error when it ended while waiting for the rate limit.
func (c *call) begin(ctx context.Context) error {
	if c.paid {
		c.paid = false
		return nil
	}
	d := c.desk
	if !c.probe && d.suspended() {
		return errSuspended
	}
	if d.limiter != nil {
		if err := d.limiter.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the rate limit: %w", err)
		}
	}
	return nil
}

// answered tells the gate how a read ended, and returns what that did to it.
func (c *call) answered(err error) transition {
	d := c.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	probe := c.probe
	c.probe = false
	was := d.gate.window
	t := d.gate.answered(now, c.key, err, probe, d.jitter())
	switch {
	case t != unmoved:
		d.announce()
		d.pump()
	case d.gate.open:
		d.wake(max(d.gate.probeAt.Sub(now), time.Millisecond))
	case d.gate.window > was:
		d.pump()
	}
	return t
}
