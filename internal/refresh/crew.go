package refresh

import "sync"

// crew is the goroutines that serve turns. Those that are done wait for another turn: the
// stack of a new one has to grow twice on its way to MX, and every answer lets another turn
// begin. All but all is guarded by the desk's lock.
type crew struct {
	idle   []chan start   // of those that wait, in order of their coming
	fewest int            // of idle at any time since some were let go
	over   bool           // nobody waits any more
	all    sync.WaitGroup // of goroutines
}

// start is a turn to serve, with its permission to ask MX. None is the word to go.
type start struct {
	turn *turn
	call *call
}

// take has the goroutine that came last serve a turn: its stack is the least likely to
// have been shrunk. It reports false if all are at work.
func (w *crew) take(s start) bool {
	last := len(w.idle) - 1
	if last < 0 {
		return false
	}
	w.idle[last] <- s
	w.idle = w.idle[:last]
	w.fewest = min(w.fewest, last)
	return true
}

// rest notes a goroutine that waits on next, which has room for one start. It reports
// false if that has to end.
func (w *crew) rest(next chan start) bool {
	if w.over {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// thin ends the goroutines that nothing was to do for since it was last called.
func (w *crew) thin() { w.end(w.fewest) }

// close ends all goroutines once they have nothing to do.
func (w *crew) close() {
	w.over = true
	w.end(len(w.idle))
}

// end ends those n that have waited longest.
func (w *crew) end(n int) {
	for _, next := range w.idle[:n] {
		close(next)
	}
	w.idle = append(w.idle[:0:0], w.idle[n:]...)
	w.fewest = len(w.idle)
}
