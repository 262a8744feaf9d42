package chaos

import (
	"context"
	"time"

	"github.com/memberwatch/memberwatch/internal/e2e/stack"
)

// cluster does its harm to a JetStream cluster of three nodes.
func cluster(t *scene) {
	s := stack.NewContainers(t, 3)
	crew := stack.NewCrew(t, s, 3, laden())
	lead := func(l *load, stream string) (leader int) {
		stack.Eventually(t, stream+" has a leader", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), answer)
			defer cancel()
			leader = s.Leader(ctx, l.js, stream)
			return leader >= 0
		})
		return leader
	}
	usual := size{members: 200, backlog: 150}
	for _, stream := range []string{eventStream, commandStream} {
		t.under("leader of "+stream+" killed", s, usual, func(l *load) {
			leader := lead(l, stream)
			s.KillNode(t, leader)
			t.tally.kills++
			l.flows(t.T)
			if now := lead(l, stream); now != leader {
				t.tally.leaders++
			}
			s.StartNode(t, leader)
			t.between(0, 2*time.Second)
		})
	}
	t.under("node cut off", s, usual, func(l *load) {
		leader := lead(l, eventStream)
		cut := (leader + t.rng.IntN(2)) % s.Nodes() // the leader, or another
		s.CutNode(t, cut)
		t.tally.partitions++
		t.between(3*time.Second, 10*time.Second)
		l.flows(t.T)
		if now := lead(l, eventStream); now != leader {
			t.tally.leaders++
		}
		s.HealNode(t, cut)
		l.flows(t.T)
	})
	t.under("rolling restart", s, usual, func(l *load) {
		for i := range s.Nodes() {
			leader := lead(l, eventStream)
			s.StopNode(t, i)
			s.StartNode(t, i)
			l.flows(t.T)
			if lead(l, eventStream) != leader {
				t.tally.leaders++
			}
		}
	})
	t.leave(s, crew)
}
