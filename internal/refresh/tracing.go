package refresh

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// Names of attributes: OpenTelemetry's semantic conventions for messaging (1.43),
// and our own under memberwatch. Guids of MX may stand in a span, a partner's own
// ids may not: one may be an e-mail address.
const (
	attrSystem       = "messaging.system"
	attrOperation    = "messaging.operation.name"
	attrOperationIs  = "messaging.operation.type"
	attrDestination  = "messaging.destination.name"
	attrTemplate     = "messaging.destination.template"
	attrMessageID    = "messaging.message.id"
	attrConversation = "messaging.message.conversation_id"
	attrErrorType    = "error.type"

	attrSource     = "memberwatch.source"
	attrDeliveries = "memberwatch.deliveries"
	attrMember     = "memberwatch.member"
	attrRevision   = "memberwatch.revision"
	attrOutcome    = "memberwatch.outcome"
)

// tracing makes the spans of a Service. The zero value makes none: every method
// looks for the tracer first, and nothing else happens then.
//
// A trace goes from the command's traceparent through "process", which is as long
// as the job is in hand, and "refresh member", which is a cycle, to the calls of MX
// and to "publish", whose span is what the event's traceparent names. A cycle is
// the child of the job that it was begun for; with the others that it serves it
// is linked, both ways. If it is one of those that the event is for, "publish" is a
// child of that one.
type tracing struct {
	tracer   trace.Tracer
	subjects events.Subjects
}

// traceparent and tracestate as W3C's propagator reads and writes them.
type traceCarrier = propagation.MapCarrier

// take begins the span of a job in hand.
func (t *tracing) take(j *Job) {
	if t.tracer == nil {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), traceCarrier{"traceparent": j.Traceparent, "tracestate": j.Tracestate})
	template := t.destination(j.Source)
	attributes := []attribute.KeyValue{
		attribute.String(attrSystem, "nats"), attribute.String(attrOperation, "process"), attribute.String(attrOperationIs, "process"),
		attribute.String(attrTemplate, template), attribute.String(attrMessageID, j.Ref),
		attribute.String(attrSource, string(j.Source)), attribute.Int64(attrDeliveries, int64(min(j.Deliveries, 1<<62))),
	}
	if j.ID != "" {
		attributes = append(attributes, attribute.String(attrConversation, j.ID))
	}
	ctx, j.span = t.tracer.Start(ctx, "process "+template, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
	j.Traceparent, j.Tracestate = inject(ctx) // for what the job makes come later: it goes on from here
}

// destination is what messages of a source are published to, with the tokens that
// differ left open.
func (t *tracing) destination(s Source) string {
	p := t.subjects.Prefix()
	switch s {
	case SourceCommand, SourceWebhook:
		return t.subjects.Refresh()
	case SourceRequest:
		return t.subjects.API(events.APIRefresh)
	case SourceFollowUp:
		return p + ".events.member.{type}.{user_guid}.{member_guid}"
	case SourceDeletion, SourceFollowing, SourceSweep, SourcePeriodic:
	}
	return p + ".background.due.{user_guid}.{member_guid}"
}

// settled ends the span of a job.
func (t *tracing) settled(j *Job, v Verdict, outcome string) {
	if j.span == nil {
		return
	}
	j.span.SetAttributes(attribute.String(attrOutcome, outcome))
	if v.Result.MemberGUID != "" {
		j.span.SetAttributes(attribute.String(attrMember, v.Result.MemberGUID))
	}
	switch v.Disposition {
	case Retry:
		j.span.SetAttributes(attribute.String(attrErrorType, "retry"))
		j.span.SetStatus(codes.Error, v.Reason)
	case Dead:
		j.span.SetAttributes(attribute.String(attrErrorType, string(v.Category)))
		j.span.SetStatus(codes.Error, v.Reason)
	case Done, Return:
	}
	j.span.End()
}

// cycle begins the span of a cycle, for the job that has waited longest. The span
// is nil while tracing is off.
func (t *tracing) cycle(ctx context.Context, d *desk, turn *turn) (context.Context, trace.Span, *Job) {
	if t.tracer == nil {
		return ctx, nil, nil
	}
	first := d.peek(turn)
	if first == nil || first.span == nil {
		return ctx, nil, nil
	}
	var attributes []attribute.KeyValue
	if !turn.key.partner {
		attributes = append(attributes, attribute.String(attrMember, turn.key.member))
	}
	ctx, span := t.tracer.Start(trace.ContextWithSpan(ctx, first.span), "refresh member", trace.WithAttributes(attributes...))
	return ctx, span, first
}

// linkJobs links a cycle with the jobs that its next read serves, beside the one
// that it was begun for.
func (c *cycle) linkJobs(jobs []*Job) {
	if c.span == nil {
		return
	}
	for _, j := range jobs {
		if j == c.first || j.span == nil {
			continue
		}
		c.span.AddLink(trace.Link{SpanContext: j.span.SpanContext()})
		j.span.AddLink(trace.Link{SpanContext: c.span.SpanContext()})
	}
}

// inTraceOf has what follows go on from j, for which it is, rather than from the job
// that the cycle was begun for. With the cycle j is linked.
func (c *cycle) inTraceOf(ctx context.Context, j *Job) context.Context {
	if c.span == nil || j == c.first || j.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, j.span)
}

// step begins the span of a question to NATS; done ends it.
func (c *cycle) step(ctx context.Context, name string) (context.Context, step) {
	if c.span == nil {
		return ctx, step{}
	}
	ctx, span := c.tracing.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String(attrSystem, "nats")))
	return ctx, step{span}
}

// publishing begins the span of a publication and gives the event its context:
// who acts on the event goes on from there.
func (c *cycle) publishing(ctx context.Context, e *events.Event) (context.Context, step) {
	if c.span == nil {
		return ctx, step{}
	}
	const member = ".{user_guid}.{member_guid}"
	subject, template := c.Subjects.Event(e.Type, c.key), c.Subjects.Prefix()+".events.member."+e.Type.Token()+member
	if e.Type == events.TypeOAuthRequired {
		subject, template = c.Subjects.OAuthOf(c.key), c.Subjects.Prefix()+".oauth.member.oauth_required"+member
	}
	ctx, span := c.tracing.tracer.Start(ctx, "publish "+template, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String(attrSystem, "nats"), attribute.String(attrOperation, "publish"), attribute.String(attrOperationIs, "send"),
		attribute.String(attrDestination, subject), attribute.String(attrTemplate, template),
		attribute.String(attrMessageID, e.ID), attribute.String(attrConversation, e.CorrelationID),
		attribute.Int64(attrRevision, int64(min(e.Data.Revision, 1<<62))),
	))
	e.Traceparent, e.Tracestate = inject(ctx)
	return ctx, step{span}
}

// inject writes the context of the span in ctx as W3C does.
func inject(ctx context.Context) (traceparent, tracestate string) {
	to := traceCarrier{}
	propagation.TraceContext{}.Inject(ctx, to)
	return to["traceparent"], to["tracestate"]
}

// step is a span that may not be there.
type step struct{ span trace.Span }

// done ends the span with what came of it.
func (s step) done(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		fail(s.span, err)
	}
	s.span.End()
}

// fail marks a span as failed. The texts of errors hold no secrets: see package mx.
func fail(span trace.Span, err error) {
	kind := "nats"
	switch {
	case mx.KindOf(err) != mx.None:
		kind = mx.KindOf(err).String()
	case errors.Is(err, errSuspended):
		kind = "suspended"
	case errors.Is(err, ErrConflict), errors.Is(err, errContended):
		kind = "conflict"
	case errors.Is(err, ErrOutcomeUnknown):
		kind = "outcome_unknown"
	case errors.Is(err, errHeld):
		kind = "held"
	case errors.Is(err, errPanicked):
		kind = "panicked"
	}
	span.SetAttributes(attribute.String(attrErrorType, kind))
	span.SetStatus(codes.Error, err.Error())
}

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
