package refresh

import "github.com/memberwatch/memberwatch/events"

// TraceID is the trace that the job belongs to, as 32 hexadecimal digits; "" when
// it belongs to none.
func (j *Job) TraceID() string {
	if j.span != nil {
		return j.span.SpanContext().TraceID().String()
	}
	return TraceIDOf(j.Traceparent)
}

// TraceIDOf is the trace id in a W3C traceparent of valid form, "" without one.
func TraceIDOf(traceparent string) string {
	const first, length = len("00-"), 32
	if len(traceparent) < first+length {
		return ""
	}
	return traceparent[first : first+length]
}

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
