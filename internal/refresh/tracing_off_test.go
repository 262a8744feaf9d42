package refresh

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// offTheTrace does everything that a cycle does for tracing and for the logs of
// one job, with both off.
func offTheTrace(ctx context.Context, s *Service, served []*Job, e *events.Event) {
	j := served[0]
	s.tracing.take(j) //nolint:contextcheck // A job comes without one.
	ctx, span, first := s.tracing.cycle(ctx, s.desk, nil)
	c := cycle{Service: s, span: span, first: first}
	c.linkJobs(served)
	asked, ask := c.step(ctx, "recall state")
	ask.done(asked.Err())
	sending, sent := c.publishing(ctx, e)
	sent.done(sending.Err())
	s.logPublished(j, e, 1)
	v := Verdict{TraceID: j.TraceID()}
	s.logSettled(j, &v, "changed")
	s.tracing.settled(j, v, "changed")
	step{c.span}.done(nil)
}

func newUntraced(tb testing.TB) *Service {
	tb.Helper()
	s := New(Config{MaxInFlight: 1, DeleteLimit: 1}, Deps{
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	tb.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func TestTracingThatIsOffCostsNoAllocation(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts those of the whole process.
	s := newUntraced(t)
	j := &Job{ID: "1", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	e := &events.Event{Type: events.TypeConnected}
	before, served := *j, []*Job{j}
	if n := testing.AllocsPerRun(100, func() { offTheTrace(t.Context(), s, served, e) }); n > 0 {
		t.Errorf("%v allocations a cycle", n)
	}
	if j.Traceparent != before.Traceparent || j.span != nil || e.Traceparent != "" {
		t.Errorf("traceparent of the job is %q, of the event %q: both were left to others", j.Traceparent, e.Traceparent)
	}
}

// BenchmarkTracingOff is what tracing and debug lines cost a cycle while they are off.
func BenchmarkTracingOff(b *testing.B) {
	s := newUntraced(b)
	served := []*Job{{ID: "1"}}
	e := &events.Event{Type: events.TypeConnected}
	for b.Loop() {
		offTheTrace(b.Context(), s, served, e)
	}
}
