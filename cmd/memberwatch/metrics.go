package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// mxMetrics measures calls to MX.
type mxMetrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	unread  *prometheus.CounterVec
	log     *slog.Logger
	told    sync.Map // of unread fields
}

func newMXMetrics(log *slog.Logger) *mxMetrics {
	return &mxMetrics{
		log: log,
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_mx_calls_total", Help: "Calls to MX, by HTTP status (0: none came) and kind of outcome.",
		}, []string{"op", "status", "kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "memberwatch_mx_call_seconds", Help: "Time from a call to MX to its whole answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"op"}),
		unread: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_mx_unread_fields_total", Help: "Optional fields of members that MX sent in a type or form that is not theirs. They are taken for absent: what is known stays, and an error has no such text.",
		}, []string{"field"}),
	}
}

// passedOver counts a field that could not be read, and tells of it once.
func (m *mxMetrics) passedOver(field string) {
	m.unread.WithLabelValues(field).Inc()
	if _, told := m.told.LoadOrStore(field, true); !told {
		m.log.Warn("MX sends a field in another form than it documents; it is passed over as if it were absent; this is said once", "field", field)
	}
}

func (m *mxMetrics) observe(op string, status int, kind mx.Kind, d time.Duration) {
	m.calls.WithLabelValues(op, strconv.Itoa(status), kind.String()).Inc()
	m.seconds.WithLabelValues(op).Observe(d.Seconds())
}

func (m *mxMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.seconds, m.unread}
}

// buildInfo is a metric that says which build this is.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "memberwatch_build_info", Help: "1; the labels say which build this is.",
	}, []string{"version", "revision", "go_version"})
	revision := ""
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	info.WithLabelValues(version, cmp.Or(revision, "unknown"), runtime.Version()).Set(1)
	return info
}

// allMetrics describes what a worker measures, by its own collectors.
func allMetrics() []observe.Metric {
	all := append(refresh.Catalog(), bus.Catalog()...)
	all = append(all, newMXMetrics(slog.New(slog.DiscardHandler)).collectors()...)
	all = append(all, webhook.NewHandler(&webhook.Config{}, nil, slog.New(slog.DiscardHandler)).Metrics()...)
	all = append(all, observe.NewHealth().Collectors()...)
	return observe.Describe(append(append(all, observe.TraceCatalog()...), buildInfo()))
}

// printMetrics writes the table that deploy/METRICS.md shows.
func (p *program) printMetrics(all []observe.Metric) {
	fmt.Fprint(p.stdout, "| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
	for _, m := range all {
		fmt.Fprintf(p.stdout, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, strings.Join(m.Labels, ", "), strings.ReplaceAll(m.Help, "|", `\|`))
	}
}
