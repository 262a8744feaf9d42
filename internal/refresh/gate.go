package refresh

import (
	"errors"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// Bounds of the gate. Together they keep what reaches an MX that is down for
// three seconds below twenty requests, and notice its return within half a
// second.
const (
	firstWindow   = 8                      // calls in flight at first and after an outage; each good answer doubles them
	windowGrowth  = 3                      // what it adds after an outage: fourfold every round trip, 64 after two
	idleWindow    = time.Second            // without an answer for so long, begin with firstWindow again
	silence       = time.Second            // a full window without a good answer for so long may be some members' trouble
	failedMembers = 5                      // different members that fail in a row before MX is doubted
	mostUnheard   = 3                      // witnesses, if so many are known, that are asked before MX itself is blamed
	firstProbe    = 200 * time.Millisecond // after opening
	quickProbes   = 350 * time.Millisecond // while the outage is young: most are short
	youngOutage   = 4 * time.Second
	slowProbes    = time.Second
	refusedProbes = 2 * time.Second // first interval while MX refuses our credentials; doubles up to slowestRefused
	slowestProbes = 30 * time.Second
	turnShare     = 4 // one probe in so many is a turn that waits, the others are witnesses
)

// gate decides whether MX may be asked: a circuit breaker that probes with one
// call, or one after the other while they hang, and a window of calls in flight
// that opens quickly while answers are good. It is guarded by the desk's lock.
//
// A general breaker does not fit: one member's failures must not open it however
// often they come, nor those of a whole bank; five members' must, when witnesses,
// members that were answered lately, are not answered either; and MX says by
// Retry-After when to probe.
type gate struct {
	limit  int // MX_MAX_IN_FLIGHT
	window int
	weak   bool // there was an outage since the window was last as wide as the limit

	failing  []turnKey // different members that failed since the last good answer, save those that fail by themselves
	lastGood time.Time // last answer of any kind that was good for the gate
	lastOK   time.Time // when the latest read began that got 200

	witnesses witnesses
	busy      func(turnKey) bool // is MX being asked about this member? Then it is no witness
	doubting  bool               // enough members fail for MX to be blamed, and witnesses are asked first
	unheard   int                // how many of them were not answered
	probed    uint               // probes while open, for which there was a witness to ask
	begun     time.Time          // the last call

	open     bool
	refused  bool // open because MX refuses us, rather than because it is down
	since    time.Time
	probeAt  time.Time
	rest     time.Time // MX has asked by Retry-After not to be asked before
	probing  bool
	interval time.Duration // between probes while refused
}

func newGate(limit int) gate {
	return gate{
		limit: limit, window: min(firstWindow, limit), witnesses: newWitnesses(),
		busy: func(turnKey) bool { return false },
	}
}

// admits reports whether another call may start when running are in flight.
// When it may not, wait tells how long until a probe is due; 0: when a call ends.
func (g *gate) admits(now time.Time, running int) (ok bool, wait time.Duration) {
	if g.probes() {
		if g.doubting && running >= g.limit {
			return false, 0
		}
		due := g.probeAt
		switch { // Others are asked while a probe hangs.
		case g.probing && g.doubting && g.witnesses.known(g.busy):
			due = g.begun.Add(quickProbes)
		case g.probing:
			due = later(g.begun.Add(slowProbes), g.rest) // what MX said while the probe hung
		}
		if d := due.Sub(now); d > 0 {
			return false, d
		}
		return true, 0
	}
	if running == 0 && now.Sub(g.lastGood) > idleWindow {
		g.window = min(firstWindow, g.limit)
	}
	if running < g.window || running >= g.limit || !g.witnesses.known(g.busy) {
		return running < g.window, 0
	}
	quiet := now.Sub(g.begun)
	if d := now.Sub(g.lastGood); d < quiet {
		quiet = d
	}
	if quiet < silence {
		return false, silence - quiet
	}
	g.doubt(now)
	return true, 0
}

// doubt has witnesses asked, and nobody else, whether MX answers anybody.
func (g *gate) doubt(now time.Time) {
	g.doubting, g.unheard, g.probeAt = true, 0, now
}

// probes reports whether the next call that admits allows is a probe.
func (g *gate) probes() bool { return g.open || g.doubting }

// witness returns whom to probe with instead of the member whose turn it is, if
// anybody. Of the turns that wait all may be of members that fail by themselves,
// so they have one probe in turnShare; of members from all over the stream hardly
// all are. waits tells whether there is such a turn.
func (g *gate) witness(waits bool) (turnKey, bool) {
	if !g.probes() || !g.witnesses.known(g.busy) {
		return turnKey{}, false
	}
	if !g.doubting && waits {
		if g.probed++; g.probed%turnShare == 0 {
			return turnKey{}, false
		}
	}
	return g.witnesses.next(g.busy)
}

// started notes that the call which admits allowed has begun.
func (g *gate) started(now time.Time) {
	g.begun = now
	if g.probes() {
		g.probing = true
	}
}

// transition is what an answer did to the gate.
type transition uint8

const (
	unmoved transition = iota
	opened
	closed
)

// answered takes in the outcome of a call about member k. probe tells that the
// call began as a probe. jitter is in [0,1).
func (g *gate) answered(now, began time.Time, k turnKey, err error, probe bool, jitter float64) transition {
	if probe {
		g.probing = false
	}
	var call *mx.CallError
	if err != nil {
		call = callErrorOf(err)
	}
	switch classify(err) {
	case blameNobody:
		if err == nil {
			g.witnesses.meet(k, now)
			if began.After(g.lastOK) {
				g.lastOK = began
			}
		}
		return g.alive(now, k, probe)
	case blameUs:
		return g.shut(now, true, call.RetryAfter, jitter)
	case blameMX:
		if call.Kind == mx.Unavailable && call.RetryAfter == 0 {
			return g.failed(now, k, call, 1, probe, jitter)
		}
		return g.shut(now, false, call.RetryAfter, jitter)
	case blameMember:
		if answersWell(call.Kind) {
			return g.alive(now, k, probe)
		}
		return g.failed(now, k, call, failedMembers, probe, jitter)
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
func (g *gate) listed(now, began time.Time, k turnKey, err error, probe bool, jitter float64) transition {
	if classify(err) != blameUs || g.refused {
		lastOK := g.lastOK
		t := g.answered(now, began, k, err, probe, jitter)
		g.lastOK = lastOK
		return t
	}
	if probe {
		g.probing = false
		return g.alive(now, k, true)
	}
	return unmoved
}

// gaveURI is answered for a URI that a request asked for. It is listed for an endpoint
// that fails for reasons of its own, too: only that MX is overloaded or down counts,
// and, asked as the probe, whether it answers.
func (g *gate) gaveURI(now, began time.Time, k turnKey, err error, probe bool, jitter float64) transition {
	switch {
	case !probe && classify(err) != blameMX:
		return unmoved
	case probe && errors.Is(err, mx.ErrNoURI):
		err = nil // an answer
	}
	return g.listed(now, began, k, err, probe, jitter)
}

// failed notes that MX did not answer for k. That is MX's trouble, and not k's own,
// when as many as enough fail in a row and witnesses are not answered either.
func (g *gate) failed(now time.Time, k turnKey, call *mx.CallError, enough int, probe bool, jitter float64) transition {
	alone := g.witnesses.failed(k)
	switch {
	case g.doubting && probe && g.unheard+1 < mostUnheard && g.witnesses.known(g.busy):
		g.unheard++
		g.probeAt = now
		return unmoved
	case g.doubting && probe:
		g.witnesses.leave()
		return g.shut(now, false, call.RetryAfter, jitter)
	case g.probes() && probe:
		return g.shut(now, g.refused && call.Kind != mx.Unavailable, call.RetryAfter, jitter)
	case g.probes(), alone, enough > 1 && slices.Contains(g.failing, k):
		return unmoved
	}
	if g.failing = append(g.failing, k); len(g.failing) < enough {
		return unmoved
	}
	if g.witnesses.known(g.busy) {
		g.doubt(now)
		return unmoved
	}
	return g.shut(now, false, call.RetryAfter, jitter)
}

// alive notes that MX answers. Only a probe closes the breaker: an answer to a
// call from before the opening says nothing about now.
func (g *gate) alive(now time.Time, k turnKey, probe bool) transition {
	g.witnesses.answered(k)
	g.lastGood = now
	g.failing = g.failing[:0]
	if g.doubting && probe {
		g.weak = false // It is some members' trouble: MX is as well as ever.
	}
	g.doubting = false
	switch {
	case !g.open:
		g.widen()
	case probe:
		g.open, g.refused, g.rest = false, false, time.Time{}
		g.window = min(firstWindow, g.limit)
		return closed
	}
	return unmoved
}

// widen lets more calls be in flight after a good answer: soon as many as there
// may be, unless MX has just come back, with everybody waiting for it.
func (g *gate) widen() {
	more := g.window
	if g.weak {
		more = windowGrowth
	}
	g.window = min(g.window+more, g.limit)
	g.weak = g.weak && g.window < g.limit
}

// shut opens the breaker, or keeps it open after a probe failed. MX is left alone
// for as long as any of its answers asked for.
func (g *gate) shut(now time.Time, refused bool, retryAfter time.Duration, jitter float64) transition {
	t := unmoved
	g.doubting, g.weak = false, true
	if retryAfter > 0 {
		g.rest = later(g.rest, now.Add(retryAfter))
	}
	wait := firstProbe
	switch {
	case !g.open || g.refused != refused:
		if !g.open {
			t = opened
			g.since = now
		}
		g.open, g.refused = true, refused
		g.failing = g.failing[:0]
		g.interval = refusedProbes
		if refused {
			wait = g.interval
		}
	case now.Before(g.probeAt): // an answer to a call from before the opening says nothing new but for how long
		g.probeAt = later(g.probeAt, g.rest)
		return unmoved
	case refused:
		g.interval = min(2*g.interval, slowestProbes)
		wait = g.interval
	case now.Sub(g.since) < youngOutage:
		wait = quickProbes
	default:
		wait = slowProbes
	}
	wait += time.Duration((jitter - 0.5) * 0.2 * float64(wait))
	g.probeAt = later(now.Add(wait), g.rest)
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
