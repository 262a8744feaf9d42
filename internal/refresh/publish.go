package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// publish is steps 5 to 7: store the event if last is still the last, announce
// the need to authorize if it arose, settle.
func (c *cycle) publish(ctx context.Context, last *known, t events.Type, d *events.Data, uri mx.URI) (bool, error) {
	if !c.sameEpoch() {
		return false, nil
	}
	j, by := c.cause(last)
	ctx = c.inTraceOf(ctx, j)
	e := c.event(t, d, by)
	appending, sent := c.publishing(ctx, e)
	seq, err := c.States.Append(appending, e, last.sequence)
	sent.done(err)
	c.store.note(c.now(), err)
	switch {
	case errors.Is(err, ErrConflict):
		c.metrics.conflicts.WithLabelValues("write").Inc()
		c.memory.forget(c.key)
		return false, nil
	case errors.Is(err, ErrOutcomeUnknown):
		c.metrics.unknowns.Inc()
		c.memory.forget(c.key)
		c.tried = append(c.tried, attempt{e.ID, slices.Concat(c.serving, c.wishing)})
		return false, nil
	case err != nil:
		if errors.Is(err, ErrTooLarge) {
			c.Log.Warn("an event is too large for NATS; raise max_payload", "member", c.key.Member(), "type", string(t), "error", err)
		}
		c.memory.forget(c.key)
		return false, fmt.Errorf("publishing %s: %w", t, err)
	}
	c.metrics.published(e, c.serving, c.now())
	served := slices.Concat(c.serving, c.wishing)
	c.logPublished(j, e, seq)
	now := c.knownFrom(e, seq)
	c.revision = now.state.Revision
	c.memory.remember(c.key, c.epoch, &now)
	if now.unannounced != nil {
		if err := c.announce(ctx, &now, uri); err != nil {
			return false, err
		}
	}
	c.settleChanged(&now, served)
	return true, nil
}

// cause returns what the event of the read under way carries on (correlation id,
// reason, trace), and the job that this is from: the first command that the read
// serves; without one, the first job with an id. A follow-up hands on the cause of the
// event it follows.
func (c *cycle) cause(last *known) (first *Job, by Cause) {
	for _, jobs := range [...][]*Job{c.serving, c.wishing} {
		for _, j := range jobs {
			if j.commanded() {
				return j, j.cause()
			}
			own := j.cause()
			if j.FollowUpOf != 0 {
				own = last.cause
			}
			if first == nil || by.ID == "" && own.ID != "" {
				first, by = j, own
			}
		}
	}
	return first, by
}

// event makes the event and gives it its context.
func (c *cycle) event(t events.Type, d *events.Data, by Cause) *events.Event {
	e := events.New(c.Subjects, t, c.key, *d)
	e.Prefix = c.cfg.typeFront()
	e.CorrelationID, e.Reason = by.ID, fit(by.Reason)
	e.Traceparent, e.Tracestate = by.Traceparent, by.Tracestate
	return &e
}

// fit is a text without what CloudEvents allows in no attribute and a command's reason
// may have: control characters beyond ASCII, and noncharacters.
func fit(text string) string {
	unfit := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) }
	if !strings.ContainsFunc(text, unfit) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unfit(r) {
			return -1
		}
		return r
	}, text)
}

// settleChanged settles those of the cycle's jobs that were served by the read which
// made the event that is stored now. Those that still wish an aggregation have
// their news from it, and wait for another read.
func (c *cycle) settleChanged(last *known, served []*Job) {
	c.metrics.coalesced.Add(float64(max(0, len(served)-1)))
	for _, j := range served {
		if slices.Contains(c.wishing, j) {
			j.news = true
			continue
		}
		i := slices.Index(c.serving, j)
		if i < 0 {
			continue // settled before
		}
		c.serving = slices.Delete(c.serving, i, i+1)
		r := c.result(last, events.OutcomeChanged)
		r.EventID, r.EventType, r.Reason = last.eventID, last.eventType, cmp.Or(j.note, j.Command.Reason)
		c.settle(j, Verdict{Disposition: Done, Result: r})
	}
}

func (c *cycle) result(last *known, o events.Outcome) events.Result {
	return events.Result{
		Outcome: o, UserGUID: c.key.User(), MemberGUID: c.key.Member(), Revision: last.state.Revision,
	}
}
