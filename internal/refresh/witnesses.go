package refresh

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxWitnesses = 8           // some of them are likely to be at another bank than those that fail
	fewWitnesses = 4           // below, others are looked for while MX is not asked
	witnessEvery = time.Second // how often one is replaced: they were answered lately, and are seldom touched
	maxFailing   = 4096        // members that are known to fail; beyond, MX is suspected more often than it need be
)

// witnesses tell the trouble of some members from MX's own. A bank that fails at
// MX takes all its members with it, and their reads come back again and again:
// without somebody else to ask, they look like an outage of MX for good.
//
// It is guarded by the desk's lock.
type witnesses struct {
	met     []turnKey                       // answered well lately, each once, the latest last; at most maxWitnesses
	metAt   time.Time                       // when the latest of them was noted
	asked   int                             // how many were asked since, from the latest on and around
	out     []turnKey                       // who is being asked
	answers uint64                          // of any member, so far
	failing *simplelru.LRU[turnKey, uint64] // whom MX has not answered since, with answers as they were then
}

func newWitnesses() witnesses {
	l, err := simplelru.NewLRU[turnKey, uint64](maxFailing, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return witnesses{failing: l}
}

// answered notes that MX answered for k.
func (w *witnesses) answered(k turnKey) {
	w.answers++
	if w.failing.Len() > 0 {
		w.failing.Remove(k)
	}
}

// failed notes that MX did not answer for k, and reports whether that is k's own
// trouble: it failed before, and others were answered since. So it stays until k
// is answered itself. A witness it is no more.
func (w *witnesses) failed(k turnKey) (alone bool) {
	w.met = slices.DeleteFunc(w.met, func(other turnKey) bool { return other == k })
	then, ok := w.failing.Get(k)
	if !ok {
		w.failing.Add(k, w.answers)
	}
	return ok && then < w.answers
}

func (w *witnesses) failsAlone(k turnKey) bool {
	then, ok := w.failing.Peek(k)
	return ok && then < w.answers
}

// meet notes a member whose read MX answered well.
func (w *witnesses) meet(k turnKey, now time.Time) {
	full := len(w.met) == maxWitnesses
	if k.partner || k.member == "" || full && now.Sub(w.metAt) < witnessEvery || slices.Contains(w.met, k) {
		return
	}
	w.metAt, w.asked = now, 0
	if full {
		w.met = slices.Delete(w.met, 0, 1)
	}
	w.met = append(w.met, k)
}

// known reports whether next has somebody.
func (w *witnesses) known(busy func(turnKey) bool) bool {
	return slices.ContainsFunc(w.met, func(k turnKey) bool { return w.free(k, busy) })
}

// free reports whether a witness can be asked now.
func (w *witnesses) free(k turnKey, busy func(turnKey) bool) bool {
	return !w.failsAlone(k) && !busy(k) && !slices.Contains(w.out, k)
}

// back notes that a witness is not being asked any more.
func (w *witnesses) back(k turnKey) {
	w.out = slices.DeleteFunc(w.out, func(other turnKey) bool { return other == k })
}

// leave has others looked for: those who were met about the same time may all be
// at one bank.
func (w *witnesses) leave() { w.met = w.met[:0] }

// few reports whether there are so few that others should be looked for.
func (w *witnesses) few() bool {
	return len(w.met) < fewWitnesses
}

// next returns one member after the other to ask whether MX answers, who was met
// last first; false when none is known that is not busy and does not fail by
// itself. back must follow.
func (w *witnesses) next(busy func(turnKey) bool) (turnKey, bool) {
	for range w.met {
		k := w.met[len(w.met)-1-w.asked%len(w.met)]
		w.asked++
		if w.free(k, busy) {
			w.out = append(w.out, k)
			return k, true
		}
	}
	return turnKey{}, false
}
