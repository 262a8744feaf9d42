package refresh

import (
	"context"
	"fmt"
	"time"

	"github.com/memberwatch/memberwatch/internal/member"
)

// Following to the end: a read that finds nothing new in a member that is on its
// way to another state has the next one scheduled, on NATS. What it finds new is
// an event, and that has a follow-up of its own. So at any time the next look at
// such a member is either due by its last event, or scheduled, or in hand.

// followMost is the longest time between two reads of a followed member. The
// first is FOLLOW_UP_AFTER, from where it doubles.
const followMost = 2 * time.Minute

// dormant is how long after a member's last event a status that passes is no
// longer taken to. MX aggregates a member about once a day by itself: what is as
// it was yesterday will not change within the next hour because we look.
const dormant = 24 * time.Hour

// patience bounds a following: by reads, should a clock be wrong, and by time.
type patience struct {
	tries uint64
	time  time.Duration
}

// patienceFor is how long a member is followed. Reads every two minutes for an
// hour are 35 with those at the beginning.
func (c *Config) patienceFor(why member.Transience) patience {
	switch why {
	case member.Settled:
	case member.Aggregating, member.Moving:
		return patience{40, time.Hour} // MX's jobs take seconds to minutes; DELAYED is MX's word for longer
	case member.Reconnected:
		return patience{20, 15 * time.Minute} // the user is there now, or comes another day, which MX's webhook or a command will tell
	case member.Authorizing:
		return patience{1000, c.OAuthURITTL} // as long as the announced URI is offered; a day of it are 740 reads
	}
	return patience{}
}

// follow schedules the next read of the member when this one found nothing new,
// and nothing that lasts. It is called before the jobs are settled, so that none
// is acknowledged before what follows it is durable.
func (c *cycle) follow(ctx context.Context, last *known, why member.Transience) error {
	if why == member.Settled || c.cfg.FollowUpAfter == 0 || len(c.serving) == 0 {
		return nil
	}
	now := c.now()
	f, begins := c.following(last, now)
	most, age := c.cfg.patienceFor(why), now.Sub(time.Unix(0, last.observedAt))
	switch {
	case f.Tries > most.tries, now.Sub(f.Since) > most.time, why == member.Authorizing && age > most.time:
		if f.Tries > 1 {
			c.metrics.followings.WithLabelValues(string(why), followingGivenUp).Inc()
		}
		return nil
	case f.Tries == 1 && why != member.Aggregating && age > dormant:
		return nil
	}
	after := c.spread(c.cfg.FollowUpAfter, followMost, f.Tries)
	if err := c.Followings.Schedule(ctx, c.key, f, after, begins); err != nil {
		return fmt.Errorf("scheduling next read: %w", err)
	}
	c.metrics.followings.WithLabelValues(string(why), followingScheduled).Inc()
	return nil
}

// following is the next read of the following that the jobs served belong to.
// The follow-up of an event begins a new one, in place of any that is scheduled,
// since the event is news; a scheduled read goes on with its own; any other job
// begins one where none is scheduled. Whichever it is, a command that shared the
// read is what it is for from then on.
func (c *cycle) following(last *known, now time.Time) (f Following, begins bool) {
	first, by := c.cause(last)
	f = Following{Tries: 1, Since: now, Cause: by}
	for _, j := range c.serving {
		if j.FollowUpOf != 0 {
			f, begins = Following{Tries: 1, Since: now, Cause: last.cause}, true
			break
		}
		if j.Following != nil {
			f = Following{Tries: j.Following.Tries + 1, Since: j.Following.Since, Cause: j.cause()}
		}
	}
	if first.commanded() {
		f.Cause = by
	}
	return f, begins
}
