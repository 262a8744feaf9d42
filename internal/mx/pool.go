package mx

import (
	"context"
	"slices"
	"sync"
	"time"
)

// idleTimeout closes a connection before the other side does: load balancers commonly wait 60 s (AWS's default), and
// a request sent into a connection that is just being closed is lost.
const idleTimeout = 50 * time.Second

// pool keeps the idle connections. The zero value is ready.
type pool struct {
	mu     sync.Mutex
	idle   []*conn // the longest idle first: the last is taken, so that those not needed grow old
	closed bool
	ticks  int // how often half an idleTimeout has passed while connections were idle
	timer  *time.Timer
}

// take returns the connection that was used last, bound to ctx; nil when none is idle. Those that cannot be used again
// are closed.
func (p *pool) take(ctx context.Context) *conn {
	for ctx.Err() == nil {
		c := p.pop()
		if c == nil || c.bind(ctx) == nil && c.quiet() {
			return c
		}
		_ = c.Close()
	}
	return nil
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	c := p.idle[last]
	p.idle = slices.Delete(p.idle, last, last+1)
	return c
}

// put makes c available to other requests.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	c.idleSince = p.ticks
	p.idle = append(p.idle, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTimeout/2, p.tick)
	}
}

// tick closes the connections that were not used since the last tick but one. So none is idle for longer than
// idleTimeout, and using one costs neither a timer nor a look at the clock.
func (p *pool) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ticks++
	old := 0
	for old < len(p.idle) && p.idle[old].idleSince < p.ticks-1 {
		_ = p.idle[old].Close()
		old++
	}
	p.idle = slices.Delete(p.idle, 0, old)
	p.timer = nil
	if len(p.idle) > 0 {
		p.timer = time.AfterFunc(idleTimeout/2, p.tick)
	}
}

// close closes the idle connections now, and the others when they are put.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}
