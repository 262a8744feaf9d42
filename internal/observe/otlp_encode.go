package observe

import (
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of the fields written here, from opentelemetry/proto/trace/v1/trace.proto,
// common/v1/common.proto and resource/v1/resource.proto.
const (
	requestResourceSpans = 1

	resourceSpansResource = 1
	resourceSpansScope    = 2
	resourceAttributes    = 1
	scopeSpansScope       = 1
	scopeSpansSpans       = 2
	scopeName             = 1
	scopeVersion          = 2

	spanTraceID      = 1
	spanID           = 2
	spanTraceState   = 3
	spanParentID     = 4
	spanName         = 5
	spanKind         = 6
	spanStart        = 7
	spanEnd          = 8
	spanAttributes   = 9
	spanDroppedAttrs = 10
	spanEvents       = 11
	spanLinks        = 13
	spanStatus       = 15
	spanFlags        = 16

	eventTime       = 1
	eventName       = 2
	eventAttributes = 3

	linkTraceID    = 1
	linkSpanID     = 2
	linkTraceState = 3
	linkAttributes = 4
	linkFlags      = 6

	statusMessage = 2
	statusCode    = 3

	keyValueKey   = 1
	keyValueValue = 2
	valueString   = 1
	valueBool     = 2
	valueInt      = 3
	valueDouble   = 4
	valueArray    = 5
	arrayValues   = 1
)

// Bits of the flags field beside the W3C trace flags.
const (
	flagHasIsRemote = 0x100
	flagIsRemote    = 0x200
)

// encodeSpans writes an ExportTraceServiceRequest. All spans are of one provider,
// so they share one resource and one scope.
func encodeSpans(spans []sdktrace.ReadOnlySpan) []byte {
	var scoped []byte
	scoped = message(scoped, scopeSpansScope, scopeOf(spans[0].InstrumentationScope()))
	for _, s := range spans {
		scoped = message(scoped, scopeSpansSpans, spanOf(s))
	}
	var of []byte
	of = message(of, resourceSpansResource, keyValues(nil, resourceAttributes, spans[0].Resource().Attributes()))
	of = message(of, resourceSpansScope, scoped)
	return message(nil, requestResourceSpans, of)
}

func scopeOf(s instrumentation.Scope) []byte {
	b := text(nil, scopeName, s.Name)
	return text(b, scopeVersion, s.Version)
}

func spanOf(s sdktrace.ReadOnlySpan) []byte {
	c := s.SpanContext()
	traceID, id := c.TraceID(), c.SpanID()
	b := message(nil, spanTraceID, traceID[:])
	b = message(b, spanID, id[:])
	b = text(b, spanTraceState, c.TraceState().String())
	if p := s.Parent(); p.SpanID().IsValid() {
		parent := p.SpanID()
		b = message(b, spanParentID, parent[:])
	}
	b = text(b, spanName, s.Name())
	b = number(b, spanKind, kindOf(s.SpanKind()))
	b = fixed(b, spanStart, s.StartTime())
	b = fixed(b, spanEnd, s.EndTime())
	b = keyValues(b, spanAttributes, s.Attributes())
	b = number(b, spanDroppedAttrs, uint64(max(0, s.DroppedAttributes())))
	for _, e := range s.Events() {
		m := fixed(nil, eventTime, e.Time)
		m = text(m, eventName, e.Name)
		b = message(b, spanEvents, keyValues(m, eventAttributes, e.Attributes))
	}
	for _, l := range s.Links() {
		b = message(b, spanLinks, linkOf(l))
	}
	b = message(b, spanStatus, statusOf(s.Status()))
	return flags(b, spanFlags, c.TraceFlags(), s.Parent().IsRemote())
}

func linkOf(l sdktrace.Link) []byte {
	traceID, id := l.SpanContext.TraceID(), l.SpanContext.SpanID()
	b := message(nil, linkTraceID, traceID[:])
	b = message(b, linkSpanID, id[:])
	b = text(b, linkTraceState, l.SpanContext.TraceState().String())
	b = keyValues(b, linkAttributes, l.Attributes)
	return flags(b, linkFlags, l.SpanContext.TraceFlags(), l.SpanContext.IsRemote())
}

// statusOf writes a Status. The protocol numbers ok 1 and error 2, the SDK error 1 and ok 2.
func statusOf(s sdktrace.Status) []byte {
	b := text(nil, statusMessage, s.Description)
	switch s.Code {
	case codes.Ok:
		b = number(b, statusCode, 1)
	case codes.Error:
		b = number(b, statusCode, 2)
	case codes.Unset:
	}
	return b
}

// kindOf is a kind's number in the protocol.
func kindOf(k trace.SpanKind) uint64 {
	switch k {
	case trace.SpanKindInternal:
		return 1
	case trace.SpanKindServer:
		return 2
	case trace.SpanKindClient:
		return 3
	case trace.SpanKindProducer:
		return 4
	case trace.SpanKindConsumer:
		return 5
	case trace.SpanKindUnspecified:
	}
	return 0
}

func keyValues(b []byte, field protowire.Number, all []attribute.KeyValue) []byte {
	for _, a := range all {
		kv := text(nil, keyValueKey, string(a.Key))
		b = message(b, field, message(kv, keyValueValue, valueOf(a.Value)))
	}
	return b
}

// valueOf writes an AnyValue. Of lists only texts are in use; any other is written
// as its text.
func valueOf(v attribute.Value) []byte {
	switch v.Type() {
	case attribute.BOOL:
		return protowire.AppendVarint(protowire.AppendTag(nil, valueBool, protowire.VarintType), protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		return protowire.AppendVarint(protowire.AppendTag(nil, valueInt, protowire.VarintType), uint64(v.AsInt64())) //nolint:gosec // Protobuf's int64 is this varint.
	case attribute.FLOAT64:
		return protowire.AppendFixed64(protowire.AppendTag(nil, valueDouble, protowire.Fixed64Type), math.Float64bits(v.AsFloat64()))
	case attribute.STRINGSLICE:
		var list []byte
		for _, s := range v.AsStringSlice() {
			list = message(list, arrayValues, stringValue(s))
		}
		return message(nil, valueArray, list)
	default:
		return stringValue(v.String())
	}
}

// stringValue writes an AnyValue that holds s, even the empty one: without a field it would be no value.
func stringValue(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, valueString, protowire.BytesType), s)
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func text(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func number(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func fixed(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(max(0, t.UnixNano())))
}

// flags writes the W3C flags and whether the span that they speak of is another process'.
func flags(b []byte, field protowire.Number, f trace.TraceFlags, remote bool) []byte {
	n := uint32(f) | flagHasIsRemote
	if remote {
		n |= flagIsRemote
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, field, protowire.Fixed32Type), n)
}
