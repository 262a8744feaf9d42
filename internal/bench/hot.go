//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	hotMembers = membersPerUser
	hotMX      = 5 * time.Millisecond
	hotChange  = 20 * time.Millisecond // how often each member changes
	hotRate    = 8000                  // commands a second: a thousand for each member, of which one at a time is read
	hotTail    = 8                     // the last eighth of the commands comes after the last change
)

// Scenario C: everybody asks about the same few members while they change.
func (b *bench) hot(ctx context.Context, c *contender) (err error) {
	w, err := b.newWorld(ctx, c, b.size.inFlight, hotMembers)
	if err != nil {
		return err
	}
	defer w.closing(&err)
	if _, err := w.run(ctx, w.members, nil); err != nil {
		return fmt.Errorf("seeding: %w", err)
	}
	if err := w.mx.setLatency(ctx, hotMX); err != nil {
		return err
	}
	p, changes, err := w.hotRun(ctx)
	if err != nil {
		return err
	}
	all, err := w.eventsAfter(ctx, 0)
	if err != nil {
		return err
	}
	outOfTurn, repeated := disorder(all)
	truth, err := w.mx.truth(ctx)
	if err != nil {
		return err
	}
	wrong, err := w.wrongLast(ctx, truth)
	if err != nil {
		return err
	}
	note := func(name string, value float64) { w.report.add("C", name, "", w.c, value) }
	note("commands a second", float64(p.commands)/p.took.Seconds())
	note("changes of the truth", float64(changes))
	note("reads per command", float64(p.reads)/float64(p.commands))
	note("reads per command, with follow-ups", float64(p.allReads)/float64(p.commands))
	note("events", float64(len(all)-hotMembers))
	note("events out of turn", float64(outOfTurn))
	note("events that repeat the last one", float64(repeated))
	note("members whose last event is wrong", float64(wrong))
	if w.c.isProduct() && outOfTurn+repeated+wrong > 0 {
		return w.fault("%d events out of turn, %d repeated, %d members with a wrong last state", outOfTurn, repeated, wrong)
	}
	if w.c.isProduct() {
		return w.verify(ctx, p)
	}
	return nil
}

// hotRun publishes the commands while the truth changes, until the last eighth:
// those are read when it has come to rest.
func (w *world) hotRun(ctx context.Context) (*pass, int, error) {
	targets := w.targets(w.size.hotCommands)
	changing, rest := context.WithCancel(ctx)
	defer rest()
	var changer sync.WaitGroup
	var changes int
	var failed error
	changer.Go(func() { changes, failed = w.change(changing) })
	steady := pace(hotRate)
	still := len(targets) - len(targets)/hotTail
	p, err := w.run(ctx, targets, func(ctx context.Context, i int) error {
		if i == still {
			rest()
			changer.Wait()
		}
		return steady(ctx, i)
	})
	rest()
	changer.Wait()
	if err == nil {
		err = failed
	}
	return p, changes, err
}

// change gives every member another status and a numbered name, again and again,
// until ctx ends. The numbers tell the order in which MX said things. There are
// several statuses because with two a stale read looks like no change.
func (w *world) change(ctx context.Context) (changes int, err error) {
	statuses := []string{"CONNECTED", "DEGRADED", "IMPEDED", "DELAYED", "UPDATED"}
	t := time.NewTicker(hotChange)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return changes, nil
		case <-t.C:
		}
		status := statuses[n%len(statuses)]
		for _, m := range w.members {
			// Not ctx: a change that has begun is finished.
			if err := w.mx.set(context.WithoutCancel(ctx), m.Member, status, strconv.Itoa(n)); err != nil {
				return changes, err
			}
			changes++
		}
	}
}

// disorder counts events that tell something older than the member's event
// before them, and events that tell the same.
func disorder(all []stored) (outOfTurn, repeated int) {
	type said struct {
		status string
		number int
	}
	last := map[string]said{}
	for _, e := range all {
		n, err := strconv.Atoi(e.name)
		if err != nil {
			n = 0 // the name before the first change
		}
		now := said{e.status, n}
		if before, ok := last[e.member]; ok {
			switch {
			case now.number < before.number:
				outOfTurn++
			case now == before:
				repeated++
			}
		}
		last[e.member] = now
	}
	return outOfTurn, repeated
}
