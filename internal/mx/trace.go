package mx

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// templateOf is the path of a call with the ids left open.
func templateOf(op string) string {
	const member = "/users/{user_guid}/members/{member_guid}"
	switch op {
	case OpReadMember:
		return member
	case OpOAuthWindowURI:
		return member + "/oauth_window_uri"
	case OpAggregate:
		return member + "/aggregate"
	case OpListMembers:
		return "/users/{user_guid}/members"
	}
	return "/users"
}

// startSpan begins the span of a call, by OpenTelemetry's semantic conventions for HTTP clients (1.43). url.full, which they
// ask for, is left out: it would hold ids.
func (c *Client) startSpan(ctx context.Context, r *request) (context.Context, trace.Span) {
	template := templateOf(r.op)
	return c.tracer.Start(ctx, r.method+" "+template, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.method), attribute.String("url.template", template),
		attribute.String("server.address", c.base.Hostname()), attribute.String("memberwatch.mx_op", r.op),
	))
}

// endSpan ends it with what came of the call. failure is nil for a good answer.
func endSpan(span trace.Span, status int, failure *CallError) {
	if status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if failure != nil {
		span.SetAttributes(attribute.String("error.type", failure.Kind.String()))
		span.SetStatus(codes.Error, failure.Error())
	}
	span.End()
}
