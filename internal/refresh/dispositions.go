package refresh

import (
	"errors"
	"fmt"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// blame says whom a failed call to MX speaks against.
type blame uint8

const (
	blameNobody  blame = iota // MX answered, well or with a 404
	blameMember               // this member's or this request's, as long as others are answered well
	blameMX                   // MX is down or overloaded
	blameUs                   // our credentials, address or version are refused
	blameOurStop              // we gave the call up ourselves
)

// classify is the table from MX's answer to whom it speaks against.
func classify(err error) blame {
	switch mx.KindOf(err) {
	case mx.None:
		if err != nil {
			return blameMember
		}
		return blameNobody
	case mx.NotFound:
		return blameNobody
	case mx.BadRequest, mx.Conflict, mx.Unprocessable, mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection:
		return blameMember
	case mx.RateLimited, mx.Unavailable:
		return blameMX
	case mx.Unauthorized, mx.Forbidden, mx.NotAcceptable:
		return blameUs
	case mx.Canceled:
		return blameOurStop
	}
	return blameMember
}

// answersWell reports whether a request that failed speaks for MX being alive:
// it was understood and refused.
func answersWell(k mx.Kind) bool {
	return k == mx.BadRequest || k == mx.Conflict || k == mx.Unprocessable
}

func asCallError(err error) *mx.CallError {
	c, _ := errors.AsType[*mx.CallError](err)
	return c
}

// Errors that end a cycle without an answer of MX.
var (
	errSuspended = errors.New("mx is not being asked at the moment")
	errCrowded   = errors.New("mx did not answer for this member, and others like it are being tried")
	errStopping  = errors.New("stopping")
	errContended = errors.New("the member's events kept changing under the read")
	errHeld      = errors.New("deletions are held back")
	errTooMany   = fmt.Errorf("%w: more than DELETE_LIMIT would go", errHeld)
	errPanicked  = errors.New("handling panicked")
)

// Delays after which a job comes again. Each doubles with every delivery, that of a
// member which fails alone with every such failure, up to its bound, and is spread by
// ±20 %; for want of room beside reads by ±50 %.
const (
	outageDelay    = 500 * time.Millisecond // MX is down or refuses us: fetching has stopped, so few are handed back
	outageDelayMax = 30 * time.Second
	memberDelay    = time.Second // this member alone fails
	memberDelayMax = 5 * time.Minute
	busDelay       = 250 * time.Millisecond // NATS did not answer, the member is contended, or there is no room beside reads
	busDelayMax    = 10 * time.Second
	heldDelay      = 5 * time.Second // a deletion that waits for evidence: every time for a minute, then less and less often; for DELETE_LIMIT: see comesUpIn
	heldDelayMax   = 5 * time.Minute
	heldAtFirst    = 12 // deliveries of the first minute
	maxPanics      = 3  // panics after which a job that crashes us is dead
)

// dispose is the table of what becomes of a job whose cycle ended with err. It
// is called once per failed job and counts the member's own failures.
func (s *Service) dispose(j *Job, err error) Verdict {
	grow := func(first, most time.Duration) time.Duration { return s.spread(first, most, j.Deliveries) }
	retry := func(d time.Duration) Verdict {
		return Verdict{Disposition: Retry, Delay: d, Reason: err.Error()}
	}
	switch {
	case errors.Is(err, ErrUnreadable):
		return Verdict{Disposition: Dead, Category: events.CategoryStateUnreadable, Reason: err.Error()}
	case errors.Is(err, errPanicked):
		n := s.budget.panicked(j.Ref)
		if n >= maxPanics {
			return Verdict{Disposition: Dead, Category: events.CategoryPanicked, Reason: err.Error()}
		}
		return retry(s.spread(busDelay, busDelayMax, uint64(n))) //nolint:gosec // Below maxPanics.
	case errors.Is(err, errTooMany):
		return retry(heldDelay + time.Duration(s.jitter()*float64(s.comesUpIn(j.Key)-heldDelay)))
	case errors.Is(err, errHeld):
		return retry(s.spread(heldFor(j.Deliveries), heldDelayMax, 1))
	case errors.Is(err, errCrowded):
		return s.unlessOver(j, retry(grow(outageDelay, outageDelayMax)))
	case errors.Is(err, errSuspended):
		return retry(grow(outageDelay, outageDelayMax))
	case errors.Is(err, ErrTooLarge):
		return s.blameMember(j, err)
	case errors.Is(err, errNoRoom):
		return retry(s.scatter(busDelay, busDelayMax, j.Deliveries))
	case asCallError(err) == nil:
		return retry(grow(busDelay, busDelayMax)) // errContended, or NATS
	}
	switch classify(err) {
	case blameMX, blameUs:
		return retry(grow(outageDelay, outageDelayMax))
	case blameOurStop:
		return Verdict{Disposition: Return, Reason: err.Error()}
	case blameNobody, blameMember:
	}
	if s.desk.suspended() { // MX fails for everybody: no member is to blame
		return retry(grow(outageDelay, outageDelayMax))
	}
	return s.blameMember(j, err)
}

// comesUpIn is within what time k, whose deletion waits for DELETE_LIMIT alone, is looked
// at again: as long as all those take that are held. Each comes at any moment of it, so
// that in every minute about twice as many come as may go, and no gap is left between
// those that were held together. It is bounded for whoever raises the limit: he waits
// for heldDelayMax at most.
func (s *Service) comesUpIn(k events.Key) time.Duration {
	minutes := float64(s.held.countWith(k)) / float64(s.cfg.DeleteLimit)
	return time.Duration(min(max(minutes*float64(time.Minute), float64(heldDelay)), float64(heldDelayMax)))
}

// heldFor is after how long a deletion that lacks evidence is looked at again.
func heldFor(deliveries uint64) time.Duration {
	d := heldDelay
	for ; deliveries > heldAtFirst && d < heldDelayMax; deliveries-- {
		d *= 2
	}
	return min(d, heldDelayMax)
}

// blameMember has a job tried again until its own failures have used up the budget.
func (s *Service) blameMember(j *Job, err error) Verdict {
	delay, spent := s.budget.spend(j.Ref, s.now(), func(n uint64) time.Duration { return s.spread(memberDelay, memberDelayMax, n) })
	if spent > s.cfg.CommandBudget {
		return Verdict{Disposition: Dead, Category: events.CategoryExhausted, Reason: err.Error()}
	}
	return s.unlessOver(j, Verdict{Disposition: Retry, Delay: delay, Reason: err.Error()})
}

// unlessOver has a periodic read that failed for its own member end when it would come
// again after a period: the next one's comes for the same member by then, and members
// that fail for long would have one more message waiting with every period. It counts
// as failed, and is no dead letter: nobody asked for it, and nothing is lost that could
// be sent again.
func (s *Service) unlessOver(j *Job, retry Verdict) Verdict {
	every := s.cfg.RefreshEvery
	if j.Source != SourcePeriodic || every == 0 || j.At.IsZero() || s.now().Add(retry.Delay).Sub(j.At) < every {
		return retry
	}
	s.budget.forget(j.Ref)
	return Verdict{Disposition: Done, Reason: retry.Reason, Result: events.Result{Outcome: events.OutcomeFailed, Reason: retry.Reason}}
}

// spread returns first doubled for every time after the first, at most most, and
// up to a fifth more or less.
func (s *Service) spread(first, most time.Duration, times uint64) time.Duration {
	d := doubled(first, most, times)
	return d + time.Duration((s.jitter()-0.5)*0.4*float64(d))
}

// doubled returns first doubled for every time after the first, at most most.
func doubled(first, most time.Duration, times uint64) time.Duration {
	d := first
	for i := uint64(1); i < times && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// scatter is spread by up to a half instead of a fifth. It is for those that compete for
// few places: whom the same moment turned away would meet in the same moments again.
func (s *Service) scatter(first, most time.Duration, times uint64) time.Duration {
	d := doubled(first, most, times)
	return d + time.Duration((s.jitter()-0.5)*float64(d))
}
