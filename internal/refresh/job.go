package refresh

import (
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/events"
)

// Lane tells how urgent a job is.
type Lane uint8

// The lanes. Interactive jobs overtake background jobs, which still get one
// start in every backgroundShare.
const (
	Interactive Lane = iota
	Background
	lanes
)

// Source tells what made a job. It is a metric label.
type Source string

// The sources.
const (
	SourceCommand   Source = "command"
	SourceWebhook   Source = "webhook" // a command that MX's webhook made
	SourceRequest   Source = "request" // request/reply: no message, so nothing that could come again
	SourceFollowUp  Source = "follow_up"
	SourceDeletion  Source = "deletion"
	SourceFollowing Source = "settle" // the next read of a member that is on its way to another state
	SourceSweep     Source = "sweep"
	SourcePeriodic  Source = "periodic"
)

// sources are all of them.
func sources() []Source {
	return []Source{
		SourceCommand, SourceWebhook, SourceRequest, SourceFollowUp, SourceDeletion, SourceFollowing, SourceSweep, SourcePeriodic,
	}
}

// Job is one thing in hand: a message of a lane, or a request, decoded and validated.
type Job struct {
	// Ref names the message for good: stream and sequence. Of a request, its id.
	Ref string
	// Command says which member, and whether to aggregate. It is valid.
	Command events.Command
	// Key is set where the member is named by its guids from the start: background jobs.
	Key events.Key
	// ID is the command's id. It becomes the event's correlationid, if no command came
	// before it that shared the read. The confirming read of a deletion carries on the
	// id that caused it; a follow-up takes it from the event that it follows.
	ID string
	// At is when the message was stored, by the clock of NATS, or a request came. An
	// aggregation that began later fulfills its wish for one.
	At     time.Time
	Source Source
	Lane   Lane
	// Deliveries counts how often the message was handed out, this time included.
	Deliveries uint64
	// Traceparent and Tracestate are the W3C trace context that came with it.
	Traceparent, Tracestate string
	// FollowUpOf is the stream sequence of the event that the job follows; 0: none.
	FollowUpOf uint64
	// Confirms is set on the confirming read of a deletion.
	Confirms *Confirmation
	// Following is set on the next read of a member that is followed.
	Following *Following
	// Joined, if set, is called when the job joins a turn that others have begun: their
	// read serves it, or the next one does with all that wait by then, so that it will
	// cost nobody a call to MX. That shows with Submit or, where a partner's ids have to
	// be resolved first, later; it may show more than once, but never after Settle. It is
	// called with a lock held: it returns at once, and asks nothing of the Service.
	Joined func()
	// Settle is called exactly once, from any goroutine, when the job is finished.
	Settle func(Verdict)

	aggregated bool       // the aggregation it asked for has been started, or never will be
	news       bool       // the read before the aggregation found something new
	span       trace.Span // from Submit to Settle; nil: not traced
	note       string     // for the result, when there is more to say than the outcome
}

// commanded reports whether somebody asked for the job: a publisher, MX by its
// webhook, or a request. All others the service has made by itself.
func (j *Job) commanded() bool {
	switch j.Source {
	case SourceCommand, SourceWebhook, SourceRequest:
		return true
	case SourceFollowUp, SourceDeletion, SourceFollowing, SourceSweep, SourcePeriodic:
	}
	return false
}

// turn is where the job begins: at its member's turn if that is known by guids.
func (j *Job) turn() turnKey {
	if !j.Key.IsZero() {
		return keyOf(j.Key)
	}
	partner := !events.IsUserGUID(j.Command.User) || !events.IsMemberGUID(j.Command.Member)
	return turnKey{j.Command.User, j.Command.Member, partner}
}

// Confirmation is a scheduled second look at a member for which MX said 404.
type Confirmation struct {
	// Sequence is that of the message on the background stream.
	Sequence uint64
	// FirstAt is when MX said 404 first.
	FirstAt time.Time
}

// Following is how far a member has been followed that is on its way to another
// state: one read after the other until it has settled.
type Following struct {
	// Tries counts the reads scheduled for it, from 1.
	Tries uint64
	// Since is when the first of them was scheduled.
	Since time.Time
	// Cause is what an event that the read makes carries on. On a job it is the job's own.
	Cause Cause
}

// Cause is the context of the job that made an event, and what the event carries
// of it: correlation id, reason and W3C trace context.
type Cause struct{ ID, Reason, Traceparent, Tracestate string }

func (j *Job) cause() Cause { return Cause{j.ID, j.Command.Reason, j.Traceparent, j.Tracestate} }

// Disposition is what has to become of a job's message.
type Disposition uint8

// The dispositions.
const (
	Done   Disposition = iota // acknowledge it, then send the result
	Retry                     // hand it back, to come again after Verdict.Delay
	Return                    // hand it back at once: we are stopping
	Dead                      // keep it as a dead letter, send the result, then terminate it
)

// Verdict is how a job ended.
type Verdict struct {
	Disposition Disposition
	Delay       time.Duration   // of a Retry
	Category    events.Category // of a dead letter
	Reason      string          // why it was retried or is dead
	Result      events.Result   // of a command that is done or dead
	TraceID     string          // of the job, for logs; "": none
}
