package mx

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
)

// observed is a context that counts who waits for its end.
type observed struct {
	context.Context //nolint:containedctx // It is one.
	done            chan struct{}
	watchers        int
}

func (o *observed) Done() <-chan struct{} { return o.done }

// AfterFunc is what context.AfterFunc calls when a context has it.
func (o *observed) AfterFunc(func()) (stop func() bool) {
	o.watchers++
	return func() bool { o.watchers--; return true }
}

func TestAConnectionIsWatchedOncePerContextAndNoLongerThanItIsOpen(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := newConn(ours)
	first, second := &observed{Context: t.Context(), done: make(chan struct{})}, &observed{Context: t.Context(), done: make(chan struct{})}
	watched := func(when string, wantFirst, wantSecond int) {
		t.Helper()
		if first.watchers != wantFirst || second.watchers != wantSecond {
			t.Errorf("%s, %d wait for the end of the first context and %d for the second's", when, first.watchers, second.watchers)
		}
	}
	for range 3 {
		if err := c.bind(first); err != nil {
			t.Fatal(err)
		}
	}
	watched("bound to the first", 1, 0)
	if err := c.bind(second); err != nil {
		t.Fatal(err)
	}
	watched("bound to the second", 0, 1)
	c.interrupt(first.done) // It had begun to before it was stopped.
	go func() { _, _ = theirs.Write([]byte("x")) }()
	if _, err := c.Read(c.one[:]); err != nil {
		t.Errorf("the end of the first context broke off a request of the second: %v", err)
	}
	c.interrupt(second.done)
	if _, err := c.Read(c.one[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end of the second context did not break off its request: %v", err)
	}
	_ = c.Close()
	watched("closed", 0, 0)
}

func TestAContextThatHasEndedCostsNoConnection(t *testing.T) {
	t.Parallel()
	tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
		answerAll(conn, requests, okAnswer)
	}), 1)
	if _, _, err := ask(t.Context(), tr, http.MethodGet); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if tr.pool.take(ctx) != nil || seen.open.Load() != 1 {
		t.Errorf("%d connections are open, want the idle one", seen.open.Load())
	}
}
