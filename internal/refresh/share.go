package refresh

import (
	"context"
	"errors"
)

// Calls beside reads ask MX for something else: a URI for an announcement or a
// request, or to aggregate. Their endpoints may hang or be slow while MX reads well.
// They have a share of all calls, so that reads always find the rest.

// besideShare: calls beside reads have one in so many, and one at least; and no more
// than half of the window while that is narrow.
const besideShare = 4

// errNoRoom ends a cycle that would ask beside reads when their share is taken. To
// wait would hold one of the cycles that may run, and those are few.
var errNoRoom = errors.New("as many calls beside reads are under way as may be")

// share is how many calls beside reads there may be at once. d.mu is held.
func (d *desk) share() int {
	return max(1, min(d.breaker.limit/besideShare, d.breaker.window/2))
}

// besideEnded makes room for another call beside reads. d.mu is held.
func (d *desk) besideEnded() {
	d.beside--
	d.admitRequests()
}

// beginBeside is begin for a call beside reads. It never waits for room: errNoRoom.
func (c *call) beginBeside(ctx context.Context) error {
	if !c.takeRoom() {
		return errNoRoom
	}
	return c.begin(ctx)
}

func (c *call) takeRoom() bool {
	d := c.desk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.beside >= d.share() {
		return false
	}
	d.beside++
	c.beside = true
	return true
}
