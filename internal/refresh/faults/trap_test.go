package faults

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
)

// errFault is what a call that a trap spoils fails with, where its port leaves
// the error to the implementation.
var errFault = errors.New("fault of the test")

// trap spoils one effect of one worker: the first that takes place once it is
// set. It counts all.
type trap struct {
	effect effect
	kind   kind
	wire   *wire
	prefix string // of the installation

	mu     sync.Mutex
	counts map[effect]int
	set    bool
	sprung bool

	struck  chan struct{} // closed when it springs
	moved   chan struct{} // closed by the test when the world has moved on; the spoilt call waits for it
	release chan struct{} // closed by the test: what is late goes on
	landed  chan struct{} // closed when what was stray or held back has been sent
	buried  chan struct{} // closed at the test's end: the dead may return
}

func newTrap(prefix string) *trap {
	t := &trap{prefix: prefix, wire: &wire{}, counts: make(map[effect]int)}
	t.wire.meets = t.meets
	for _, c := range []*chan struct{}{&t.struck, &t.moved, &t.release, &t.landed, &t.buried} {
		*c = make(chan struct{})
	}
	return t
}

// arm sets the trap.
func (t *trap) arm(e effect, k kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.counts)
	t.effect, t.kind, t.set = e, k, true
}

// taken are the effects that have taken place since the trap was set.
func (t *trap) taken() map[effect]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// meet counts e and returns what goes wrong with it; "" for nothing.
func (t *trap) meet(e effect) kind {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.set {
		return ""
	}
	t.counts[e]++
	if t.sprung || e != t.effect || t.kind == "" {
		return ""
	}
	t.sprung = true
	return t.kind
}

// strike tells the test, and waits until it has moved the world.
func (t *trap) strike() {
	close(t.struck)
	<-t.moved
}

// failures are the errors of a call that is spoilt.
type failures struct{ refused, unanswered error }

// call makes a call through a port, spoilt if the trap says so.
func call[T any](t *trap, e effect, errs failures, do func() (T, error)) (T, error) {
	var nothing T
	switch t.meet(e) {
	case refused:
		t.strike()
		return nothing, errs.refused
	case lostRequest:
		t.strike()
		return nothing, errs.unanswered
	case lostAnswer:
		_, _ = do()
		t.strike()
		return nothing, errs.unanswered
	case stray:
		t.strike()
		go func() {
			defer close(t.landed)
			<-t.release
			_, _ = do()
		}()
		return nothing, errs.unanswered
	case lateRequest:
		t.strike()
		<-t.release
		return do()
	case lateAnswer:
		v, err := do()
		t.strike()
		<-t.release
		return v, err
	case diedBefore:
		t.wire.kill()
		t.strike()
		<-t.buried
		return nothing, errs.unanswered
	case diedAfter:
		_, _ = do()
		t.wire.kill()
		t.strike()
		<-t.buried
		return nothing, errs.unanswered
	case twice: // only on the wire
	}
	return do()
}

// meets is what becomes of a message on the wire.
func (t *trap) meets(op []byte, subject string, payload []byte) outgoing {
	e := t.effectOf(subject, payload)
	if e == "" {
		return passes
	}
	k := t.meet(e)
	if k == "" {
		return passes
	}
	if k == lateRequest {
		op = slices.Clone(op)
		go func() {
			defer close(t.landed)
			<-t.release
			t.wire.send(op)
		}()
	}
	t.strike()
	return map[kind]outgoing{
		refused: cutsFirst, lostRequest: isLost, lostAnswer: cutsAfter, lateRequest: isHeld,
		diedBefore: diesBefore, diedAfter: diesAfter, twice: goesTwice,
	}[k]
}

// effectOf tells what a message on the wire is; "" for what a port shows.
func (t *trap) effectOf(subject string, payload []byte) effect {
	stream := strings.ToUpper(t.prefix)
	is := func(word string) bool { return strings.HasPrefix(string(payload), word) }
	switch {
	case strings.HasPrefix(subject, t.prefix+".results."):
		return result
	case strings.HasPrefix(subject, t.prefix+".deadletters."):
		return deadLetter
	case !strings.HasPrefix(subject, "$JS.ACK."):
		return ""
	case is("-NAK"):
		return nak
	case is("+TERM"):
		return term
	case !is("+ACK"):
		return ""
	case strings.Contains(subject, "."+stream+"_COMMANDS."):
		return ack
	case strings.Contains(subject, "."+stream+"_BACKGROUND."):
		return ackBackground
	case strings.Contains(subject, "."+stream+"_EVENTS."):
		return ackFollowUp
	}
	return ""
}
