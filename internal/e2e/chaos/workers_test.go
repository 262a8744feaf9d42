package chaos

import (
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// laden is the setting of workers that are under load for long.
func laden(more ...string) stack.Env {
	env := stack.Env{
		"LOG_LEVEL":        "info",   // what they write is kept in memory, and searched
		"HISTORY_PER_TYPE": "100000", // the oracle wants to see all of it
	}
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

func killWorkers(t *scene) {
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 3, laden())
	t.under("workers killed", s, usual(), func(*load) {
		i := t.rng.IntN(3)
		crew.Kill(t, i)
		t.tally.kills++
		t.between(0, 100*time.Millisecond)
		crew.Replace(t, i)
		t.between(100*time.Millisecond, 500*time.Millisecond)
	})
	t.leave(s, crew)
}

func killNATS(t *scene) {
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 3, laden())
	t.under("nats-server killed", s, usual(), func(l *load) {
		t.between(300*time.Millisecond, 2*time.Second)
		s.KillNATS(t)
		t.tally.kills++
		t.between(0, 500*time.Millisecond)
		s.RestartNATS(t)
		l.flows(t.T)
	})
	t.leave(s, crew)
}

// freezeWorkers stops workers for longer than NATS waits for a sign of life:
// what they had in hand is done by others when they go on and finish it.
func freezeWorkers(t *scene) {
	const ackWait = 15 * time.Second
	s := stack.NewProcesses(t, binaries, stack.OwnNATS())
	crew := stack.NewCrew(t, s, 3, laden())
	t.under("worker frozen", s, usual(), func(l *load) {
		i := t.rng.IntN(3)
		crew.Freeze(t, i)
		t.tally.freezes++
		t.between(ackWait+time.Second, ackWait+4*time.Second)
		crew.Thaw(t, i)
		l.flows(t.T)
	})
	t.leave(s, crew)
}
