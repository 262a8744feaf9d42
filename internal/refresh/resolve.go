package refresh

import (
	"context"
	"fmt"
	"slices"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// resolve serves a turn whose jobs give partner ids: it finds out which guids
// they mean, from memory or by one read that is not compared, and moves the jobs
// to the turn of those guids.
func (c *cycle) resolve(ctx context.Context) error {
	if k, ok := c.IDs.Lookup(ctx, c.turn.key.user, c.turn.key.member); ok {
		c.handOver(c.desk.claim(c.turn), k)
		return nil
	}
	c.serving = c.desk.claim(c.turn) // before the read begins: who asks later is not answered by it
	k, err := c.ask(ctx, c.turn.key.user, c.turn.key.member)
	switch {
	case mx.KindOf(err) == mx.NotFound:
		for len(c.serving) > 0 {
			j := c.serving[0]
			c.serving = c.serving[1:]
			c.settle(j, unknownMember())
		}
		return nil
	case err != nil:
		return err
	}
	jobs := c.serving
	c.serving = nil
	c.handOver(jobs, k)
	return nil
}

// ask reads a member by ids as a partner gave them, to learn its guids.
func (c *cycle) ask(ctx context.Context, user, member string) (events.Key, error) {
	if err := c.call.begin(ctx); err != nil {
		return events.Key{}, err
	}
	c.metrics.resolutions.Inc()
	m, err := c.MX.ReadMember(ctx, user, member)
	var k events.Key
	if err == nil {
		if k, err = events.NewKey(m.UserGUID, m.GUID); err != nil {
			err = &mx.CallError{Kind: mx.BadAnswer, Op: mx.OpReadMember, Err: err}
		}
	}
	c.note(c.call.answered(err), err)
	if err != nil {
		return events.Key{}, fmt.Errorf("resolving ids: %w", err)
	}
	c.IDs.Remember(ctx, user, member, k)
	return k, nil
}

// handOver moves jobs to the turn of k.
func (c *cycle) handOver(jobs []*Job, k events.Key) {
	for _, j := range jobs {
		j.aggregated, j.note = false, "" // if it was, it was another member
	}
	for _, j := range c.desk.move(jobs, keyOf(k)) {
		c.settle(j, Verdict{Disposition: Return, Reason: "stopping"})
	}
}

// stray is a job whose ids have come to mean another member.
type stray struct {
	job *Job
	of  events.Key
}

// resolveAgain is for a 404 by guids that came from memory: the partner's ids
// may have come to mean another member since. It returns the jobs for which they
// do; lives reports that MX finds this very member by them.
func (c *cycle) resolveAgain(ctx context.Context) (strays []stray, lives bool, err error) {
	for _, j := range c.serving {
		if !j.turn().partner {
			continue
		}
		k, err := c.ask(ctx, j.Command.User, j.Command.Member)
		switch {
		case mx.KindOf(err) == mx.NotFound:
		case err != nil:
			return nil, false, err
		case k == c.key:
			return nil, true, nil
		default:
			strays = append(strays, stray{j, k})
		}
	}
	return strays, false, nil
}

// part hands strays over to the members that they are about.
func (c *cycle) part(strays []stray) {
	for _, s := range strays {
		c.serving = slices.DeleteFunc(c.serving, func(j *Job) bool { return j == s.job })
		c.handOver([]*Job{s.job}, s.of)
	}
}

// renamed is for an answer about a member that does not go by the ids that a
// partner gave, which came to its guids from memory: they may mean another member
// by now. Jobs for which they do are moved to that member's turn.
func (c *cycle) renamed(ctx context.Context, m *mx.Member) error {
	stray := func(j *Job) bool { return j.turn().partner && !goesBy(m, &j.Command) }
	for _, jobs := range []*[]*Job{&c.serving, &c.wishing} {
		if !slices.ContainsFunc(*jobs, stray) {
			continue
		}
		for _, j := range slices.Clone(*jobs) { // a copy: jobs leave *jobs meanwhile
			if !stray(j) {
				continue
			}
			k, err := c.ask(ctx, j.Command.User, j.Command.Member)
			gone := mx.KindOf(err) == mx.NotFound
			switch {
			case err == nil && k == c.key:
				continue // MX finds it by other names than it tells
			case err != nil && !gone:
				return err
			}
			*jobs = slices.DeleteFunc(*jobs, func(o *Job) bool { return o == j })
			if gone {
				c.settle(j, unknownMember())
			} else {
				c.handOver([]*Job{j}, k)
			}
		}
	}
	return nil
}

// goesBy reports whether a member has the ids of a command.
func goesBy(m *mx.Member, cmd *events.Command) bool {
	is := func(given, guid string, id *string) bool { return given == guid || id != nil && given == *id }
	return is(cmd.User, m.UserGUID, m.UserID) && is(cmd.Member, m.GUID, m.ID)
}

func unknownMember() Verdict {
	return Verdict{Disposition: Done, Result: events.Result{Outcome: events.OutcomeNotFound, Reason: "MX knows no such member"}}
}
