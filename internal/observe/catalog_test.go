package observe_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/internal/observe"
)

// custom is a collector of none of the library's types.
type custom struct{ *prometheus.Desc }

func (c custom) Describe(ch chan<- *prometheus.Desc) { ch <- c.Desc }
func (custom) Collect(chan<- prometheus.Metric)      {}

func TestMetricsAreDescribedByTheirCollectors(t *testing.T) {
	t.Parallel()
	got := observe.Describe([]prometheus.Collector{
		prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "d_seconds", Help: `It "takes", {so} long\.`}, []string{"op", "le2"}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "c", Help: "A gauge."}),
		prometheus.NewCounterVec(prometheus.CounterOpts{Name: "b_total", Help: "A counter."}, []string{"kind"}),
		custom{prometheus.NewDesc("a", "Anything.", []string{"x"}, prometheus.Labels{"const": "1"})},
		prometheus.NewHistogram(prometheus.HistogramOpts{Name: "e_bytes", Help: "So large."}),
	})
	want := []observe.Metric{
		{Name: "a", Type: "gauge", Labels: []string{"x"}, Help: "Anything."},
		{Name: "b_total", Type: "counter", Labels: []string{"kind"}, Help: "A counter."},
		{Name: "c", Type: "gauge", Labels: []string{}, Help: "A gauge."},
		{Name: "d_seconds", Type: "histogram", Labels: []string{"op", "le2"}, Help: `It "takes", {so} long\.`},
		{Name: "e_bytes", Type: "histogram", Labels: []string{}, Help: "So large."},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
