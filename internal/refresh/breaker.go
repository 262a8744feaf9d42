package refresh

import (
	"errors"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// Bounds of the breaker. An idle worker sends an MX that is down for three seconds
// fewer than twenty requests, a busy one those besides that it had in flight; both
// notice its return within half a second.
const (
	firstWindow   = 8                      // calls in flight at first and after an outage; each good answer doubles them
	windowGrowth  = 3                      // what it adds after an outage: fourfold every round trip, 64 after two
	idleWindow    = time.Second            // without an answer for so long, begin with firstWindow again
	silence       = time.Second            // a full window without a good answer for so long may be some members' trouble
	failedMembers = 5                      // different members that fail in a row before MX is suspected
	mostUnheard   = 3                      // witnesses, if so many are known, that are asked before MX itself is blamed
	firstProbe    = 200 * time.Millisecond // after opening
	quickProbes   = 350 * time.Millisecond // while the outage is young: most are short
	youngOutage   = 4 * time.Second
	slowProbes    = time.Second
	refusedProbes = 2 * time.Second // first interval while MX refuses our credentials; doubles up to slowestRefused
	slowestProbes = 30 * time.Second
	turnShare     = 4 // one probe in so many is a turn that waits, the others are witnesses
)

// breaker decides whether MX may be asked: a circuit breaker that probes with one
// call, or one after the other while they hang, and a window of calls in flight
// that opens quickly while answers are good. It is guarded by the desk's lock.
//
// A general breaker does not fit: one member's failures must not open it however
// often they come, nor those of a whole bank; five members' must, when witnesses,
// members that were answered lately, are not answered either; and MX says by
// Retry-After when to probe.
type breaker struct {
	limit  int // MX_MAX_IN_FLIGHT
	window int
	weak   bool // there was an outage since the window was last as wide as the limit

	failing  []turnKey // different members that failed since the last good answer, save those that fail by themselves
	lastGood time.Time // last answer of any kind that was good for the breaker
	lastOK   time.Time // when the latest read began that got 200

	witnesses  witnesses
	busy       func(turnKey) bool // is MX being asked about this member? Then it is no witness
	suspecting bool               // enough members fail for MX to be blamed, and witnesses are asked first
	unheard    int                // how many of them were not answered
	probed     uint               // probes while open, for which there was a witness to ask
	begun      time.Time          // the last call

	open     bool
	refused  bool // open because MX refuses us, rather than because it is down
	since    time.Time
	probeAt  time.Time
	rest     time.Time // MX has asked by Retry-After not to be asked before
	probing  bool
	interval time.Duration // between probes while refused
}

func newBreaker(limit int, busy func(turnKey) bool) breaker {
	return breaker{limit: limit, window: min(firstWindow, limit), witnesses: newWitnesses(), busy: busy}
}

// admits reports whether another call may start when running are in flight.
// When it may not, wait tells how long until a probe is due; 0: when a call ends.
func (b *breaker) admits(now time.Time, running int) (ok bool, wait time.Duration) {
	if b.probes() {
		if b.suspecting && running >= b.limit {
			return false, 0
		}
		due := b.probeAt
		switch { // Others are asked while a probe hangs.
		case b.probing && b.suspecting && b.witnesses.known(b.busy):
			due = b.begun.Add(quickProbes)
		case b.probing:
			due = later(b.begun.Add(slowProbes), b.rest) // what MX said while the probe hung
		}
		if d := due.Sub(now); d > 0 {
			return false, d
		}
		return true, 0
	}
	if running == 0 && now.Sub(b.lastGood) > idleWindow {
		b.window = min(firstWindow, b.limit)
	}
	if running < b.window || running >= b.limit || !b.witnesses.known(b.busy) {
		return running < b.window, 0
	}
	quiet := now.Sub(b.begun)
	if d := now.Sub(b.lastGood); d < quiet {
		quiet = d
	}
	if quiet < silence {
		return false, silence - quiet
	}
	b.suspect(now)
	return true, 0
}

// suspect has witnesses asked, and nobody else, whether MX answers anybody.
func (b *breaker) suspect(now time.Time) {
	b.suspecting, b.unheard, b.probeAt = true, 0, now
}

// probes reports whether the next call that admits allows is a probe.
func (b *breaker) probes() bool { return b.open || b.suspecting }

// witness returns whom to probe with instead of the member whose turn it is, if
// anybody. Of the turns that wait all may be of members that fail by themselves,
// so they have one probe in turnShare; of members from all over the stream hardly
// all are. waits tells whether there is such a turn.
func (b *breaker) witness(waits bool) (turnKey, bool) {
	if !b.probes() || !b.witnesses.known(b.busy) {
		return turnKey{}, false
	}
	if !b.suspecting && waits {
		if b.probed++; b.probed%turnShare == 0 {
			return turnKey{}, false
		}
	}
	return b.witnesses.next(b.busy)
}

// started notes that the call which admits allowed has begun.
func (b *breaker) started(now time.Time) {
	b.begun = now
	if b.probes() {
		b.probing = true
	}
}

// transition is what an answer did to the breaker.
type transition uint8

const (
	unmoved transition = iota
	opened
	closed
)

// answer is how a call to MX ended.
type answer struct {
	of        turnKey
	err       error // nil: 200
	began, at time.Time
	probe     bool    // the call began as a probe
	jitter    float64 // in [0,1), for the time of the next probe
}

// answered takes in how a read ended.
func (b *breaker) answered(a answer) transition {
	if a.probe {
		b.probing = false
	}
	call := callErrorOf(a.err)
	switch classify(a.err) {
	case blameNobody:
		if a.err == nil {
			b.witnesses.meet(a.of, a.at)
			b.lastOK = later(b.lastOK, a.began)
		}
		return b.alive(a)
	case blameUs:
		return b.trip(a, true)
	case blameMX:
		if call.Kind == mx.Unavailable && call.RetryAfter == 0 {
			return b.failed(a, 1)
		}
		return b.trip(a, false)
	case blameMember:
		if answersWell(call.Kind) {
			return b.alive(a)
		}
		return b.failed(a, failedMembers)
	case blameOurStop:
		return unmoved
	}
	return unmoved
}

// listed is answered for a page of a list. That MX shows one is no evidence that
// it knows the members it answers 404 for: a wrong host shows an empty one. And lists
// may be closed to this client while reads are not: they tell nothing of our
// credentials but, asked as the probe, that MX answers. Only while it refuses our reads
// a refusal here is another one.
func (b *breaker) listed(a answer) transition {
	if classify(a.err) != blameUs || b.refused {
		lastOK := b.lastOK
		t := b.answered(a)
		b.lastOK = lastOK
		return t
	}
	if a.probe {
		b.probing = false
		return b.alive(a)
	}
	return unmoved
}

// gaveURI is answered for a URI that a request asked for. It is listed for an endpoint
// that fails for reasons of its own, too: only that MX is overloaded or down counts,
// and, asked as the probe, whether it answers.
func (b *breaker) gaveURI(a answer) transition {
	switch {
	case !a.probe && classify(a.err) != blameMX:
		return unmoved
	case a.probe && errors.Is(a.err, mx.ErrNoURI):
		a.err = nil // an answer
	}
	return b.listed(a)
}

// failed notes that MX did not answer for a member. That is MX's trouble, and not the
// member's own, when as many as enough fail in a row and witnesses are not answered
// either.
func (b *breaker) failed(a answer, enough int) transition {
	alone := b.witnesses.failed(a.of)
	switch {
	case b.suspecting && a.probe && b.unheard+1 < mostUnheard && b.witnesses.known(b.busy):
		b.unheard++
		b.probeAt = a.at
		return unmoved
	case b.suspecting && a.probe:
		b.witnesses.leave()
		return b.trip(a, false)
	case b.probes() && a.probe:
		return b.trip(a, b.refused && mx.KindOf(a.err) != mx.Unavailable)
	case b.probes(), alone, enough > 1 && slices.Contains(b.failing, a.of):
		return unmoved
	}
	if b.failing = append(b.failing, a.of); len(b.failing) < enough {
		return unmoved
	}
	if b.witnesses.known(b.busy) {
		b.suspect(a.at)
		return unmoved
	}
	return b.trip(a, false)
}

// alive notes that MX answers. Only a probe closes the breaker: an answer to a
// call from before the opening says nothing about now.
func (b *breaker) alive(a answer) transition {
	b.witnesses.answered(a.of)
	b.lastGood = a.at
	b.failing = b.failing[:0]
	if b.suspecting && a.probe {
		b.weak = false // It is some members' trouble: MX is as well as ever.
	}
	b.suspecting = false
	switch {
	case !b.open:
		b.widen()
	case a.probe:
		b.open, b.refused, b.rest = false, false, time.Time{}
		b.window = min(firstWindow, b.limit)
		return closed
	}
	return unmoved
}

// widen lets more calls be in flight after a good answer: soon as many as there
// may be, unless MX has just come back, with everybody waiting for it.
func (b *breaker) widen() {
	more := b.window
	if b.weak {
		more = windowGrowth
	}
	b.window = min(b.window+more, b.limit)
	b.weak = b.weak && b.window < b.limit
}

// trip opens the breaker, or keeps it open after a probe failed. MX is left alone
// for as long as any of its answers asked for.
func (b *breaker) trip(a answer, refused bool) transition {
	t := unmoved
	b.suspecting, b.weak = false, true
	if d := callErrorOf(a.err).RetryAfter; d > 0 {
		b.rest = later(b.rest, a.at.Add(d))
	}
	wait := firstProbe
	switch {
	case !b.open || b.refused != refused:
		if !b.open {
			t = opened
			b.since = a.at
		}
		b.open, b.refused = true, refused
		b.failing = b.failing[:0]
		b.interval = refusedProbes
		if refused {
			wait = b.interval
		}
	case a.at.Before(b.probeAt): // an answer to a call from before the opening says nothing new but for how long
		b.probeAt = later(b.probeAt, b.rest)
		return unmoved
	case refused:
		b.interval = min(2*b.interval, slowestProbes)
		wait = b.interval
	case a.at.Sub(b.since) < youngOutage:
		wait = quickProbes
	default:
		wait = slowProbes
	}
	wait += time.Duration((a.jitter - 0.5) * 0.2 * float64(wait))
	b.probeAt = later(a.at.Add(wait), b.rest)
	return t
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// callErrorOf returns the mx error in err's chain, or an empty one.
func callErrorOf(err error) *mx.CallError {
	if c := asCallError(err); c != nil {
		return c
	}
	return &mx.CallError{}
}
