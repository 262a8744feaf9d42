package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// maxRounds bounds how often one cycle begins again because others wrote the
// same member's events meanwhile, or no answer came. Then the jobs are handed
// back with a delay, so that rivals stop meeting.
const maxRounds = 8

// cycle is the service of one member's turn: steps 2 to 7 of the protocol.
type cycle struct {
	*Service
	call     *call
	turn     *turn
	key      events.Key
	epoch    uint64    // of the stream, in which the member's last event was recalled
	revision uint64    // of the member's last event as it was recalled, or stored, last; 0: none
	serving  []*Job    // jobs that the read under way, or the last one, serves
	wishing  []*Job    // jobs that wait for MX to aggregate first, if the read under way shows that it has to
	tried    []attempt // publications that got no answer
	span     trace.Span
	first    *Job // whose trace the span is in; both nil while tracing is off
}

// attempt is a publication without an answer, and the jobs that its read served.
// Jobs that came later are not answered by it, should it turn out to be stored.
type attempt struct {
	eventID string
	served  []*Job
}

// serve takes one turn: it is what the desk runs.
func (s *Service) serve(ctx context.Context, t *turn, c *call) {
	if t.errand != nil {
		defer close(t.errand.ended)
		t.errand.do(ctx, c)
		return
	}
	cy := &cycle{Service: s, call: c, turn: t}
	ctx, cy.span, cy.first = s.tracing.cycle(ctx, s.desk, t)
	err := cy.guarded(ctx)
	step{cy.span}.done(err)
	if err == nil {
		return
	}
	jobs := slices.Concat(cy.serving, cy.wishing)
	cy.serving, cy.wishing = nil, nil
	if len(jobs) == 0 || classify(err) == blameMember && asCallError(err) != nil {
		// Nothing can go on for those who wait either: it failed before any read, or
		// the member has to be left alone for a while.
		jobs = append(jobs, s.desk.claim(t)...)
	}
	cy.fail(jobs, err)
}

// fail ends jobs of the cycle that ended with err.
func (c *cycle) fail(jobs []*Job, err error) {
	for _, j := range jobs {
		v := c.dispose(j, err)
		if c.desk.ctx.Err() != nil && v.Disposition == Retry {
			v = Verdict{Disposition: Return, Reason: err.Error()}
		}
		v.Result = events.Result{
			UserGUID: c.key.User(), MemberGUID: c.key.Member(), Revision: c.revision, Outcome: v.Result.Outcome, Reason: v.Result.Reason,
		}
		if v.Disposition == Dead {
			c.gaveUp.Write("member", c.key.Member(), "command", j.ID, "trace_id", j.TraceID(), "category", string(v.Category), "reason", v.Reason)
		}
		c.settle(j, v)
	}
}

// guarded runs the cycle and turns a panic into an error with its stack logged.
func (c *cycle) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.metrics.panics.Inc()
			c.Log.Error("handling panicked", "member", c.turn.key.member, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanicked, p)
		}
	}()
	if c.turn.key.partner {
		return c.resolve(ctx)
	}
	if c.key, err = events.NewKey(c.turn.key.user, c.turn.key.member); err != nil {
		return fmt.Errorf("taking turn: %w", err)
	}
	for range maxRounds {
		if finished, err := c.round(ctx); finished || err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return &mx.CallError{Kind: mx.Canceled, Op: "refresh", Err: err}
		}
	}
	return errContended
}

// round goes once through steps 2 to 7. It reports false when it has to begin
// again because what it stood on was overtaken.
func (c *cycle) round(ctx context.Context) (finished bool, err error) {
	last := new(known)
	if err := c.recall(ctx, last); err != nil {
		return false, err
	}
	c.revision = last.state.Revision
	if last.unannounced != nil {
		if err := c.announceOverdue(ctx, last); err != nil {
			return false, err
		}
	}
	for _, a := range c.tried {
		if a.eventID == last.eventID {
			c.settleChanged(last, a.served) // published after all
		}
	}

	c.gather()
	if stale := c.dropOvertakenFollowUps(last); stale {
		c.memory.forget(c.key)
		return false, nil
	}
	if len(c.serving)+len(c.wishing) == 0 {
		return true, nil
	}

	evidence := c.desk.lastOK()
	m, at, err := c.read(ctx)
	switch {
	case mx.KindOf(err) == mx.NotFound:
		c.serving, c.wishing = append(c.serving, c.wishing...), nil // there is nothing to aggregate
		return c.notFound(ctx, last, at, evidence)
	case err != nil:
		return false, err
	}
	if err := c.renamed(ctx, &m); err != nil {
		return false, err
	}
	if len(c.serving)+len(c.wishing) == 0 {
		return true, nil
	}
	if c.Confirmations.Pending(c.key) {
		if err := c.cancelDeletion(ctx); err != nil {
			return false, err
		}
	}

	c.grant(&m)
	reading := member.Reading{Member: snapshotOf(&m), HasURI: !m.OAuthWindowURI.Blank(), At: at}
	if typ, data, news := last.state.Observe(reading, c.rules); news {
		finished, err = c.publish(ctx, last, typ, &data, m.OAuthWindowURI)
	} else {
		finished, err = c.concludeUnchanged(ctx, last, last.state.Transience(reading))
	}
	if err != nil || !finished || len(c.wishing) == 0 {
		return finished, err
	}
	return false, c.aggregate(ctx) // another read serves those who wished it
}

// read is step 3. at is when the answer was there.
func (c *cycle) read(ctx context.Context) (m mx.Member, at time.Time, err error) {
	if err := c.call.begin(ctx); err != nil {
		return m, at, err
	}
	m, err = c.MX.ReadMember(ctx, c.key.User(), c.key.Member())
	if err == nil && (m.GUID != c.key.Member() || m.UserGUID != c.key.User()) {
		err = errOther()
	}
	at = c.now()
	c.note(c.call.answered(err), err)
	return m, at, err //nolint:wrapcheck // The client says which call it was.
}

func errOther() error {
	return &mx.CallError{Kind: mx.BadAnswer, Op: mx.OpReadMember, Err: errors.New("the answer is about another member")}
}

// gather takes the jobs that wait for the turn to those in hand, and parts those
// that wish an aggregation from those that a read alone serves.
func (c *cycle) gather() {
	claimed := c.desk.claim(c.turn)
	c.linkJobs(claimed)
	if len(c.serving) == 0 {
		c.serving = claimed
	} else {
		c.serving = append(c.serving, claimed...)
	}
	c.serving = slices.DeleteFunc(c.serving, func(j *Job) bool {
		wishes := j.Command.Aggregate && !j.aggregated
		if wishes {
			c.wishing = append(c.wishing, j)
		}
		return wishes
	})
}

// recall is step 2: the member's last event, from memory or the stream's leader.
func (c *cycle) recall(ctx context.Context, last *known) error {
	c.epoch = c.States.Epoch()
	if c.memory.recall(c.key, c.epoch, last) {
		c.metrics.fromMemory.Inc()
		return nil
	}
	c.metrics.fromStream.Inc()
	var err error
	if *last, err = c.load(ctx); err != nil {
		return err
	}
	c.memory.remember(c.key, c.epoch, last)
	return nil
}

// load asks the stream's leader for the member's last event.
func (c *cycle) load(ctx context.Context) (known, error) {
	ctx, asked := c.step(ctx, "recall state")
	e, seq, err := c.States.Last(ctx, c.key)
	asked.done(err)
	if err != nil {
		return known{}, fmt.Errorf("recalling last event: %w", err)
	}
	if seq == 0 {
		return known{}, nil
	}
	return c.knownFrom(&e, seq), nil
}

// knownFrom is what a cycle needs of a stored event.
func (c *cycle) knownFrom(e *events.Event, seq uint64) known {
	k := known{member.StateOf(&e.Data), lastEvent{
		sequence: seq, eventID: e.ID, eventType: e.Type, observedAt: e.Data.ObservedAt.UnixNano(),
		cause: Cause{e.CorrelationID, e.Reason, e.Traceparent, e.Tracestate},
	}}
	if c.mustAnnounce(e) {
		k.unannounced = e
	}
	return k
}

// dropOvertakenFollowUps settles follow-ups of events that are not the member's
// last any more: the later event has a follow-up of its own. It reports true
// when a follow-up knows of a later event than last.
func (c *cycle) dropOvertakenFollowUps(last *known) (stale bool) {
	c.serving = slices.DeleteFunc(c.serving, func(j *Job) bool {
		if j.FollowUpOf > last.sequence {
			stale = true
		}
		if j.FollowUpOf == 0 || j.FollowUpOf >= last.sequence {
			return false
		}
		c.settle(j, Verdict{Disposition: Done, Result: c.result(last, events.OutcomeUnchanged)})
		return true
	})
	return stale
}

// concludeGone ends a read that MX answered with 404, if the state it was held
// against is still the last.
func (c *cycle) concludeGone(ctx context.Context, last *known, o events.Outcome, reason string) (bool, error) {
	if stands, err := c.stillLast(ctx, last); !stands {
		return false, err
	}
	c.settleConcluded(last, o, reason)
	return true, nil
}

// concludeUnchanged is step 4 for a read that found nothing new: that stands only if
// the state it was held against is still the last. A member that is on its way to
// another state is followed.
func (c *cycle) concludeUnchanged(ctx context.Context, last *known, why member.Transience) (bool, error) {
	if stands, err := c.stillLast(ctx, last); !stands {
		return false, err
	}
	if err := c.follow(ctx, last, why); err != nil {
		return false, err
	}
	c.settleConcluded(last, events.OutcomeUnchanged, "")
	return true, nil
}

// stillLast asks the leader whether last is still the last event.
//
// A follow-up alone needs no such confirmation. It asks whether MX still says
// what one certain event says, and that event is the state at hand; should it
// have been overtaken, the later event has a follow-up of its own.
func (c *cycle) stillLast(ctx context.Context, last *known) (bool, error) {
	if !c.sameEpoch() {
		return false, nil
	}
	if !slices.ContainsFunc(c.serving, func(j *Job) bool { return j.FollowUpOf == 0 }) {
		return true, nil
	}
	ctx, asked := c.step(ctx, "confirm state")
	id, seq, err := c.States.LastID(ctx, c.key)
	asked.done(err)
	if err != nil {
		return false, fmt.Errorf("confirming last event: %w", err)
	}
	if id == last.eventID && seq == last.sequence {
		return true, nil
	}
	c.metrics.conflicts.WithLabelValues("read").Inc()
	c.memory.forget(c.key)
	if seq <= last.sequence {
		c.memory.forgetAll() // the stream has lost events, perhaps of others too
	}
	return false, nil
}

// sameEpoch reports whether the member's last event, as it was recalled, is one that
// the stream still has unless it was overtaken.
func (c *cycle) sameEpoch() bool {
	if c.States.Epoch() == c.epoch {
		return true
	}
	c.metrics.conflicts.WithLabelValues("epoch").Inc()
	return false
}

// settleConcluded settles the cycle's jobs after a conclusion.
func (c *cycle) settleConcluded(last *known, o events.Outcome, reason string) {
	c.metrics.coalesced.Add(float64(max(0, len(c.serving)-1)))
	for len(c.serving) > 0 {
		j := c.serving[0]
		c.serving = c.serving[1:]
		r := c.result(last, o)
		if o == events.OutcomeUnchanged && (last.madeBefore(j) || j.news) {
			// An earlier delivery of this very command published the event and died before
			// it could say so; or the read before the aggregation did.
			r.Outcome, r.EventID, r.EventType = events.OutcomeChanged, last.eventID, last.eventType
		}
		r.Reason = cmp.Or(reason, j.note, j.Command.Reason)
		c.settle(j, Verdict{Disposition: Done, Result: r})
	}
}

// clockSlack is how far our clock may be behind that of NATS, which says when a
// command was stored, for an event to be known as the command's own.
const clockSlack = time.Second

// madeBefore reports whether the last event was made by an earlier delivery of a
// command. Its id alone does not tell: publishers use ids again.
func (l *lastEvent) madeBefore(j *Job) bool {
	return j.Deliveries > 1 && j.commanded() && l.cause.ID == j.ID &&
		!time.Unix(0, l.observedAt).Before(j.At.Add(-clockSlack))
}
