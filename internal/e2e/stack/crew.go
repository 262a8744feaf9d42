package stack

import (
	"fmt"
	"syscall"
	"testing"
)

// Crew is workers of one stack, numbered from 0, for chaos: each can be killed,
// frozen, thawed and replaced, in any order.
type Crew struct {
	stack   Stack
	env     []Env
	workers []Program
	hired   int
}

// NewCrew starts n workers on the NATS that s has, and returns when all are ready.
// Of several settings the first is for worker 0, the second for worker 1, and so on
// from the first again.
func NewCrew(tb testing.TB, s Stack, n int, env ...Env) *Crew {
	tb.Helper()
	c := &Crew{stack: s, env: append(env, nil)[:max(len(env), 1)], workers: make([]Program, n)}
	for i := range c.workers {
		c.hire(tb, i)
	}
	for _, w := range c.workers {
		Ready(tb, w)
	}
	return c
}

func (c *Crew) hire(tb testing.TB, i int) {
	tb.Helper()
	c.hired++
	c.workers[i] = c.stack.Beside(tb, fmt.Sprintf("worker %d (start %d)", i, c.hired), c.env[i%len(c.env)])
}

// Worker is who has place i now.
func (c *Crew) Worker(i int) Program { return c.workers[i] }

// Kill ends worker i with SIGKILL.
func (c *Crew) Kill(tb testing.TB, i int) {
	tb.Helper()
	Kill(tb, c.workers[i])
}

// Replace starts a worker in the place of i, which has ended.
func (c *Crew) Replace(tb testing.TB, i int) {
	tb.Helper()
	c.hire(tb, i)
}

// Freeze stops worker i where it stands, as a paused machine does.
func (c *Crew) Freeze(tb testing.TB, i int) {
	tb.Helper()
	c.workers[i].Signal(tb, syscall.SIGSTOP)
}

// Thaw lets worker i go on, unaware that time has passed.
func (c *Crew) Thaw(tb testing.TB, i int) {
	tb.Helper()
	c.workers[i].Signal(tb, syscall.SIGCONT)
}

// Dismiss ends all workers with SIGTERM and returns their exit codes.
func (c *Crew) Dismiss(tb testing.TB) (codes []int) {
	tb.Helper()
	for _, w := range c.workers {
		codes = append(codes, Stop(tb, w))
	}
	return codes
}
