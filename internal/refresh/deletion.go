package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// evidenceAge is how old MX's last good read may be for a 404 to be believed.
const evidenceAge = time.Minute

// witnessesOfADeletion is how many other members are read for it at most.
const witnessesOfADeletion = 3

// notFound decides what a 404 means. A wrong key or host answers 404 for
// everybody, so a member is only declared deleted by a second read, after some
// time in which MX answered others well. evidence is when MX had answered a read
// with 200 last, as this one began.
func (c *cycle) notFound(ctx context.Context, last *known, at, evidence time.Time) (bool, error) {
	strays, lives, err := c.resolveAgain(ctx)
	if lives || err != nil {
		return false, err
	}
	alive := last.state.Known() && !last.state.Deleted
	var confirms *Confirmation
	if alive {
		// Also when all who asked meant another member: nobody may ask for this one again.
		if confirms, err = c.confirmation(ctx); err != nil {
			return false, err
		}
		if confirms == nil {
			_, by := c.cause(last)
			if err := c.Confirmations.Schedule(ctx, c.key, at, by); err != nil {
				return false, fmt.Errorf("scheduling confirmation of deletion: %w", err)
			}
		}
	}
	c.part(strays)
	switch {
	case len(c.serving) == 0:
		return true, nil
	case last.state.Deleted:
		return c.concludeGone(ctx, last, events.OutcomeUnchanged, "")
	case !alive:
		return c.concludeGone(ctx, last, events.OutcomeNotFound, "MX knows no such member")
	case confirms == nil:
		return c.concludeGone(ctx, last, events.OutcomeUnchanged, "MX answers 404; to be confirmed")
	}
	again, err := c.believe(ctx, confirms, evidence)
	if again {
		return false, nil
	}
	if err != nil {
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
func (c *cycle) confirmation(ctx context.Context) (*Confirmation, error) {
	for _, j := range c.serving {
		if j.Confirms == nil {
			continue
		}
		stands, err := c.Confirmations.Stands(ctx, c.key, *j.Confirms)
		if err != nil {
			return nil, fmt.Errorf("looking for confirmation of deletion: %w", err)
		}
		if stands {
			return j.Confirms, nil
		}
	}
	return nil, nil
}

// believe returns an error when a confirmed 404 may be our fault rather than the
// member's end: MX must have answered some other member well since the first
// 404 and within evidenceAge, and only so many may go at a time. Evidence that
// comes after the 404 says nothing of it, for MX may have recovered in between:
// the member has to be read again. Where hardly anybody else is known who could be
// asked, any good answer within evidenceAge is evidence.
func (c *cycle) believe(ctx context.Context, confirms *Confirmation, evidence time.Time) (again bool, err error) {
	recent := func(ok time.Time) bool { return c.now().Sub(ok) < evidenceAge }
	evident := func(ok time.Time) bool { return ok.After(confirms.FirstAt) && recent(ok) }
	if !evident(evidence) {
		few, err := c.seekEvidence(ctx)
		switch {
		case err != nil:
			return false, err
		case evident(c.desk.lastOK()):
			return true, nil
		case !few || !recent(evidence):
			return false, fmt.Errorf("%w: MX has answered no member's read well since this one got 404; check host and key", errHeld)
		}
	}
	if !c.deletions.allow(c.now()) {
		return false, fmt.Errorf("%w (%d a minute)", errTooMany, c.cfg.DeleteLimit)
	}
	return false, nil
}

// seekEvidence asks others, unless somebody did so lately in vain. It reports whether there
// are so few others that all of them may have gone with this one, as a user's members do.
func (c *cycle) seekEvidence(ctx context.Context) (few bool, err error) {
	lastOK := c.desk.lastOK()
	if c.fruitless.lately(c.now(), lastOK) {
		return false, nil
	}
	few, err = c.askOthers(ctx)
	if err == nil && !few {
		c.fruitless.note(c.now(), lastOK)
	}
	return few, err
}

// fruitless is a search for evidence that found none. With 404 for everybody each
// confirmation would else ask for six other members more, again and again.
type fruitless struct {
	mu     sync.Mutex
	at     time.Time // its end; zero: there was none
	lastOK time.Time // MX's last good read as it began
}

// fruitlessFor is how long no other search is made: a held deletion comes again later.
const fruitlessFor = time.Second

func (f *fruitless) note(at, lastOK time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.lastOK = at, lastOK
}

// lately reports whether a search that was made lately found nothing, and MX has
// answered no read well since it began.
func (f *fruitless) lately(now, lastOK time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	age := now.Sub(f.at)
	return !f.at.IsZero() && age >= 0 && age < fruitlessFor && lastOK.Equal(f.lastOK)
}

// askOthers asks MX for other members, rather than wait until somebody does,
// until one is answered: first such as are remembered, then some of the event stream.
// Those that are in doubt themselves are no evidence. few is that of seekEvidence.
func (c *cycle) askOthers(ctx context.Context) (few bool, err error) {
	met := make(map[events.Key]struct{})
	for _, find := range []func(context.Context) ([]events.Key, error){c.remembered, c.strangers} {
		others, err := find(ctx)
		if err != nil {
			return false, fmt.Errorf("%w: looking for other members to read: %w", errHeld, err)
		}
		asked := 0
		for _, k := range others {
			if _, again := met[k]; again {
				continue
			}
			met[k] = struct{}{}
			if asked == witnessesOfADeletion || c.Confirmations.Pending(k) {
				continue
			}
			asked++
			if err := c.call.begin(ctx); err != nil {
				return false, fmt.Errorf("%w: reading other members: %w", errHeld, err)
			}
			if !c.missing(ctx, k) {
				return false, nil
			}
		}
	}
	return len(met) <= witnessesOfADeletion, nil
}

// remembered are some other members that are remembered to live.
func (c *cycle) remembered(context.Context) ([]events.Key, error) {
	return c.memory.others(c.key, 2*witnessesOfADeletion, c.jitter(), c.Confirmations.Pending), nil
}

// strangers are some other members of the event stream that live: a process remembers
// few after a restart, and those may be the ones that are gone.
func (c *cycle) strangers(ctx context.Context) ([]events.Key, error) {
	some, err := c.States.Some(ctx, 4*witnessesOfADeletion)
	if err != nil {
		return nil, err //nolint:wrapcheck // The caller says what it was for.
	}
	var others []events.Key
	for _, k := range some {
		if k == c.key {
			continue
		}
		last, seq, err := c.States.Last(ctx, k)
		switch {
		case errors.Is(err, ErrUnreadable): // whether it lives
		case err != nil:
			return nil, err //nolint:wrapcheck // As above.
		case seq != 0 && !last.Data.Deleted:
			others = append(others, k)
		}
	}
	return others, nil
}

// missing reads a member for nothing but whether MX answers 404.
func (c *cycle) missing(ctx context.Context, k events.Key) bool {
	_, err := c.MX.ReadMember(ctx, k.User(), k.Member())
	c.note(c.call.answered(err), err)
	return mx.KindOf(err) == mx.NotFound
}

// hold keeps the confirming jobs for later and settles the others.
func (c *cycle) hold(ctx context.Context, last *known, err error) (bool, error) {
	c.metrics.held.Inc()
	var confirming []*Job
	var longest time.Duration
	c.serving = slices.DeleteFunc(c.serving, func(j *Job) bool {
		if j.Confirms != nil {
			confirming = append(confirming, j)
			longest = max(longest, heldFor(j.Deliveries))
		}
		return j.Confirms != nil
	})
	if errors.Is(err, errTooMany) {
		longest = c.comesUpIn(c.key)
	}
	if c.held.add(c.key, c.now().Add(2*longest), err) {
		c.heldBack.Write("member", c.key.Member(), "reason", err)
	}
	c.fail(confirming, err)
	if len(c.serving) == 0 {
		return true, nil
	}
	return c.concludeGone(ctx, last, events.OutcomeUnchanged, "MX answers 404; to be confirmed")
}

// cancelDeletion takes back the suspicion: MX answers for the member.
func (c *cycle) cancelDeletion(ctx context.Context) error {
	if err := c.Confirmations.Cancel(ctx, c.key); err != nil {
		return fmt.Errorf("canceling confirmation of deletion: %w", err)
	}
	c.held.remove(c.key)
	return nil
}
