package refresh

import (
	"time"

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
	SourceCommand  Source = "command"
	SourceWebhook  Source = "webhook" // a command that MX's webhook made
	SourceRequest  Source = "request" // request/reply: no message, so nothing that could come again
	SourceFollowUp Source = "follow_up"
	SourceDeletion Source = "deletion"
)

// Job is one thing in hand: a message of a lane, or a request, decoded and validated.
type Job struct {
	// Ref names the message for good: stream and sequence. Of a request, its id.
	Ref string
	// Command says which member, and whether to aggregate. It is valid.
	Command events.Command
	// Key is set where the member is named by its guids from the start: background jobs.
	Key events.Key
	// ID is the command's id. It becomes the event's correlationid. The confirming
	// read of a deletion carries on the id that caused it; a follow-up takes it from
	// the event that it follows.
	ID     string
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
	// Settle is called exactly once, from any goroutine, when the job is finished.
	Settle func(Verdict)

	aggregated bool   // the aggregation it asked for has been started, or never will be
	note       string // for the result, when there is more to say than the outcome
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
}
