package main

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// mxMetrics measures calls to MX.
type mxMetrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMXMetrics() *mxMetrics {
	return &mxMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_mx_calls_total", Help: "Calls to MX, by HTTP status (0: none came) and kind of outcome.",
		}, []string{"op", "status", "kind"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "memberwatch_mx_call_seconds", Help: "Time from a call to MX to its whole answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"op"}),
	}
}

func (m *mxMetrics) observe(op string, status int, kind mx.Kind, d time.Duration) {
	m.calls.WithLabelValues(op, strconv.Itoa(status), kind.String()).Inc()
	m.seconds.WithLabelValues(op).Observe(d.Seconds())
}

func (m *mxMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.seconds}
}
