package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// scope names this program as the maker of its spans.
const scope = "github.com/memberwatch/memberwatch"

// Tracing sends what happens to one command, as spans, to an OpenTelemetry
// collector. While it is off there is nothing of it but a nil tracer, for which
// everybody who would make a span looks.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil: off
	exporter *otlpExporter
	tracer   trace.Tracer
}

// NewTracing returns a Tracing as c asks for. It talks to nobody yet; a collector
// that cannot be reached is complained of in log, and spans are dropped then, never
// kept for long. Errors are those of [TraceConfig.Problems].
func NewTracing(c TraceConfig, version string, log *slog.Logger) (*Tracing, error) {
	if err := errors.Join(c.Problems()...); err != nil {
		return nil, err
	}
	if !c.Enabled() {
		return &Tracing{}, nil
	}
	exporter, err := newOTLPExporter(&c, log)
	if err != nil {
		return nil, err
	}
	// Exactly what the settings say: the SDK's own detection reads the machine, too.
	attributes := []attribute.KeyValue{}
	given, err := pairs(c.Resource)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	for _, p := range given {
		attributes = append(attributes, attribute.String(p[0], p[1]))
	}
	attributes = append(attributes, // the last one of a name counts
		attribute.String("service.version", version), attribute.String("service.name", c.ServiceName),
		attribute.String("telemetry.sdk.name", "opentelemetry"), attribute.String("telemetry.sdk.language", "go"),
	)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
		sdktrace.WithSampler(c.sampler()),
	)
	return &Tracing{provider, exporter, provider.Tracer(scope, trace.WithInstrumentationVersion(version))}, nil
}

// sampler is the one that OTEL_TRACES_SAMPLER names.
func (c *TraceConfig) sampler() sdktrace.Sampler {
	ratio, err := c.ratio()
	if err != nil {
		ratio = 1 // Unreachable where it counts: Problems has refused it.
	}
	switch c.Sampler {
	case samplerOn:
		return sdktrace.AlwaysSample()
	case samplerOff:
		return sdktrace.NeverSample()
	case samplerRatio:
		return sdktrace.TraceIDRatioBased(ratio)
	case samplerParentOff:
		return sdktrace.ParentBased(sdktrace.NeverSample())
	case samplerParentRatio:
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))
	}
	return sdktrace.ParentBased(sdktrace.AlwaysSample())
}

// Tracer makes spans; nil while tracing is off.
func (t *Tracing) Tracer() trace.Tracer { return t.tracer }

// Collectors returns the metric memberwatch_spans_total; none while tracing is off.
func (t *Tracing) Collectors() []prometheus.Collector {
	if t.exporter == nil {
		return nil
	}
	return []prometheus.Collector{t.exporter.spans}
}

// farewellTraces bounds how long the last spans may take to be sent: the process
// is on its way out, and who ends it may not wait.
const farewellTraces = 3 * time.Second

// Shutdown sends the spans that are left.
func (t *Tracing) Shutdown(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	late, cancel := context.WithTimeout(ctx, farewellTraces)
	defer cancel()
	defer context.AfterFunc(late, t.exporter.giveUp)()
	// Not with a limit of its own: it would return and leave its goroutine behind.
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last spans: %w", err)
	}
	return nil
}
