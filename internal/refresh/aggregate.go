package refresh

import (
	"context"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// Aggregation on demand. A command that asks for one is read first; that read
// decides whether MX is asked to aggregate, and another read, after the request,
// serves the command. What that one shows running is followed to its end.
//
// # What a death can repeat
//
// MX takes no key that would tell a repeated request from a second one. A worker
// that dies between the request and the acknowledgement leaves the command to be
// delivered again, and the read then decides anew: an aggregation that runs, or
// that began in the second of the command or later, is not started again. So the
// request is repeated only when MX shows neither: because it accepted it without
// beginning one (it does so for a member that it aggregated a short while ago), or
// because its clock is behind that of NATS by more than the aggregation took.

// grant takes from those who wish an aggregation the jobs for which the read m
// shows that none has to be started: that read serves them.
func (c *cycle) grant(m *mx.Member) {
	var wishing []*Job
	for _, j := range c.wishing {
		if j.note = fulfilled(j, m); j.note == "" {
			wishing = append(wishing, j)
			continue
		}
		j.aggregated = true
		c.metrics.aggregates.WithLabelValues(aggregationSkipped).Inc()
		c.serving = append(c.serving, j)
	}
	c.wishing = wishing
}

// fulfilled says why MX does not have to be asked to aggregate for j; "" when it has.
func fulfilled(j *Job, m *mx.Member) string {
	switch {
	case m.IsBeingAggregated != nil && *m.IsBeingAggregated:
		return "not aggregated again: MX is at it"
	// MX tells whole seconds, so one that began in the command's own counts as later.
	case m.AggregatedAt != nil && !j.At.IsZero() && !m.AggregatedAt.Before(j.At.Truncate(time.Second)):
		return "not aggregated again: MX has since the command"
	}
	return ""
}

// aggregate has MX begin the aggregation that jobs wish for: one for all of them.
func (c *cycle) aggregate(ctx context.Context) error {
	if err := c.call.beginBeside(ctx); err != nil {
		return err
	}
	started, err := c.MX.Aggregate(ctx, c.key.User(), c.key.Member())
	outcome, note := aggregationRunning, ""
	if started {
		outcome = aggregationStarted
	}
	switch mx.KindOf(err) {
	case mx.None:
	case mx.NotFound:
		outcome, err = aggregationRefused, nil // the read that follows says what that means
	case mx.Unauthorized, mx.Forbidden, mx.NotAcceptable: // of our credentials reads tell
		c.Log.Warn("MX does not let this client aggregate", "member", c.key.Member(), "error", err)
		outcome, note, err = aggregationRefused, "not aggregated: MX does not let this client", nil
	case mx.RateLimited, mx.Unavailable:
		c.note(c.call.answered(err), err)
	case mx.BadRequest, mx.Conflict, mx.Unprocessable, mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection, mx.Canceled:
	}
	c.call.done()
	if err != nil {
		return err //nolint:wrapcheck // It says which call failed.
	}
	c.metrics.aggregates.WithLabelValues(outcome).Inc()
	for _, j := range c.wishing {
		j.aggregated, j.note = true, note
	}
	c.serving, c.wishing = append(c.serving, c.wishing...), nil
	return nil
}

// Outcomes of a wish to aggregate. They are metric labels.
const (
	aggregationStarted = "started"
	aggregationRunning = "running" // a job of another kind: MX does not start one beside it
	aggregationSkipped = "skipped" // the read showed that there is none to start
	aggregationRefused = "refused"
)
