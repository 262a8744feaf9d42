package refresh

import (
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	maxWitnesses = 8           // so that one of them is likely to be at another bank than those that fail
	witnessEvery = time.Second // how often one is replaced: they were answered lately, and are seldom touched
	maxFailing   = 4096        // members that are known to fail; beyond, MX is doubted more often than it need be
)

// witnesses tell the trouble of some members from MX's own. A bank that fails at
// MX takes all its members with it, and their reads come back again and again:
// without somebody else to ask, they look like an outage of MX for good.
//
// It is guarded by the desk's lock.
type witnesses struct {
	met     []turnKey                       // answered well lately, each once; at most maxWitnesses
	metAt   time.Time                       // when the latest of them was noted
	oldest  int                             // of met: the next to be replaced
	hand    int                             // of met: the next to be asked
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
// is answered itself.
func (w *witnesses) failed(k turnKey) (alone bool) {
	then, ok := w.failing.Get(k)
	if !ok {
		w.failing.Add(k, w.answers)
	}
	return ok && then < w.answers
}

func (w *witnesses) alone(k turnKey) bool {
	then, ok := w.failing.Peek(k)
	return ok && then < w.answers
}

// meet notes a member whose read MX answered well.
func (w *witnesses) meet(k turnKey, now time.Time) {
	full := len(w.met) == maxWitnesses
	if k.partner || k.member == "" || full && now.Sub(w.metAt) < witnessEvery || slices.Contains(w.met, k) {
		return
	}
	w.metAt = now
	if !full {
		w.met = append(w.met, k)
		return
	}
	w.met[w.oldest] = k
	w.oldest = (w.oldest + 1) % maxWitnesses
}

// known reports whether next has somebody.
func (w *witnesses) known(busy func(turnKey) bool) bool {
	return slices.ContainsFunc(w.met, func(k turnKey) bool { return !w.alone(k) && !busy(k) })
}

// next returns one member after the other to ask whether MX answers; false when
// none is known that is not busy and does not fail by itself.
func (w *witnesses) next(busy func(turnKey) bool) (turnKey, bool) {
	for range w.met {
		k := w.met[w.hand%len(w.met)]
		w.hand++
		if !w.alone(k) && !busy(k) {
			return k, true
		}
	}
	return turnKey{}, false
}
