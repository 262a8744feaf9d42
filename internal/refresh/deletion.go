package refresh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// evidenceAge is how old MX's last good read may be for a 404 to be believed.
const evidenceAge = time.Minute

// notFound decides what a 404 means. A wrong key or host answers 404 for
// everybody, so a member is only declared deleted by a second read, after some
// time in which MX answered others well. evidence is when MX had answered a read
// with 200 last, as this one began.
func (c *cycle) notFound(ctx context.Context, last *known, at, evidence time.Time) (bool, error) {
	if err := c.resolveAgain(ctx); err != nil {
		return false, err
	}
	if len(c.serving) == 0 {
		return true, nil
	}
	if !last.state.Known() {
		return c.conclude(ctx, last, events.OutcomeNotFound, "MX knows no such member")
	}
	if last.state.Deleted {
		return c.conclude(ctx, last, events.OutcomeUnchanged, "")
	}
	confirms := c.confirmation(ctx)
	if confirms == nil {
		if err := c.Confirmations.Schedule(ctx, c.key, at, c.serving[0].ID); err != nil {
			return false, fmt.Errorf("scheduling confirmation of deletion: %w", err)
		}
		return c.conclude(ctx, last, events.OutcomeUnchanged, "MX answers 404; to be confirmed")
	}
	again, err := c.believe(ctx, confirms, evidence)
	if again {
		return false, nil
	}
	if err != nil {
		c.held.add(c.key, err)
		c.metrics.held.Inc()
		return c.hold(ctx, last, err)
	}
	t, d, _ := last.state.Gone(at)
	finished, err := c.publish(ctx, last, t, &d, "")
	if finished {
		c.held.remove(c.key)
	}
	return finished, err
}

// confirmation returns the confirming job among those served, if one stands.
func (c *cycle) confirmation(ctx context.Context) *Confirmation {
	for _, j := range c.serving {
		if j.Confirms == nil {
			continue
		}
		// Unanswered, it counts as canceled: this read then schedules another.
		if stands, err := c.Confirmations.Stands(ctx, c.key, *j.Confirms); err == nil && stands {
			return j.Confirms
		}
	}
	return nil
}

// believe returns an error when a confirmed 404 may be our fault rather than the
// member's end: MX must have answered some other member well since the first
// 404 and within evidenceAge, and only so many may go at a time. Evidence that
// comes after the 404 says nothing of it, for MX may have recovered in between:
// the member has to be read again.
func (c *cycle) believe(ctx context.Context, confirms *Confirmation, evidence time.Time) (again bool, err error) {
	evident := func(ok time.Time) bool { return ok.After(confirms.FirstAt) && c.now().Sub(ok) < evidenceAge }
	if !evident(evidence) {
		for _, k := range c.memory.others(c.key, 3) { // ask for the evidence rather than wait for it
			if c.call.begin(ctx) != nil {
				break
			}
			_, err := c.MX.ReadMember(ctx, k.User(), k.Member())
			c.note(c.call.answered(err), err)
			if err == nil || mx.KindOf(err) != mx.NotFound {
				break
			}
		}
	}
	switch {
	case !evident(c.desk.lastOK()):
		return false, fmt.Errorf("%w: MX has answered no member's read well since this one got 404; check host and key", errHeld)
	case !evident(evidence):
		return true, nil
	case !c.deletions.AllowN(c.now(), 1):
		return false, fmt.Errorf("%w: more than DELETE_LIMIT (%d a minute) would go", errHeld, c.cfg.DeleteLimit)
	}
	return false, nil
}

// hold keeps the confirming jobs for later and settles the others.
func (c *cycle) hold(ctx context.Context, last *known, err error) (bool, error) {
	c.Log.Error("deletion held back", "member", c.key.Member(), "reason", err)
	var confirming []*Job
	c.serving = slices.DeleteFunc(c.serving, func(j *Job) bool {
		if j.Confirms != nil {
			confirming = append(confirming, j)
		}
		return j.Confirms != nil
	})
	c.fail(confirming, c.key, err)
	if len(c.serving) == 0 {
		return true, nil
	}
	return c.conclude(ctx, last, events.OutcomeUnchanged, "MX answers 404; to be confirmed")
}

// cancelDeletion takes back the suspicion: MX answers for the member.
func (c *cycle) cancelDeletion(ctx context.Context) error {
	if err := c.Confirmations.Cancel(ctx, c.key); err != nil {
		return fmt.Errorf("canceling confirmation of deletion: %w", err)
	}
	c.held.remove(c.key)
	return nil
}

// held is the set of members whose deletion is held back; while there are any
// the service is not ready, so that somebody looks.
type held struct {
	health Health

	mu      sync.Mutex
	members map[events.Key]struct{}
}

func (h *held) add(k events.Key, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.members == nil {
		h.members = make(map[events.Key]struct{})
	}
	h.members[k] = struct{}{}
	h.health.Set(CheckDeletions, err)
}

func (h *held) remove(k events.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.members[k]; !ok {
		return
	}
	delete(h.members, k)
	if len(h.members) == 0 {
		h.health.Set(CheckDeletions, nil)
	}
}
