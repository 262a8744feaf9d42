package refresh

import "github.com/memberwatch/memberwatch/events"

// about are the attributes by which lines about a job are found: those of one
// command by its id, those of other services by the trace.
func about(j *Job, more ...any) []any {
	attrs := append(make([]any, 0, 16), "source", string(j.Source))
	if j.ID != "" {
		attrs = append(attrs, "command", j.ID)
	}
	if id := j.TraceID(); id != "" {
		attrs = append(attrs, "trace_id", id)
	}
	return append(attrs, more...)
}

// logSettled tells the end of a job, to whoever wants to know that much.
func (s *Service) logSettled(j *Job, v *Verdict, outcome string) {
	if s.talks {
		s.Log.Debug("settled", about(j, "outcome", outcome, "member", v.Result.MemberGUID, "deliveries", j.Deliveries, "reason", v.Reason)...)
	}
}

// logPublished tells of an event.
func (s *Service) logPublished(j *Job, e *events.Event, sequence uint64) {
	if s.talks {
		s.Log.Debug("published", about(j, "type", string(e.Type), "member", e.Key.Member(), "revision", e.Data.Revision, "sequence", sequence)...)
	}
}
