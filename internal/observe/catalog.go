package observe

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric describes a metric for those who write queries.
type Metric struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"` // counter, gauge or histogram
	Labels []string `json:"labels"`
	Help   string   `json:"help"`
}

// described is the text of a prometheus.Desc, which has no other way to what it holds.
var described = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"),.* variableLabels: \{([^}]*)\}\}$`)

// Describe returns the metrics of collectors, by name. It is the collectors' own
// description, so that it cannot say what they do not do. A collector of none of
// the library's types is a counter if its name ends in _total, else a gauge.
func Describe(all []prometheus.Collector) []Metric {
	metrics := []Metric{}
	for _, c := range all {
		ch := make(chan *prometheus.Desc)
		go func() {
			defer close(ch)
			c.Describe(ch)
		}()
		for d := range ch {
			if m, ok := metricOf(c, d); ok {
				metrics = append(metrics, m)
			}
		}
	}
	slices.SortFunc(metrics, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	return metrics
}

func metricOf(c prometheus.Collector, d *prometheus.Desc) (Metric, bool) {
	parts := described.FindStringSubmatch(d.String())
	if parts == nil {
		return Metric{}, false // The test compares with what is scraped.
	}
	name, nameErr := strconv.Unquote(parts[1])
	help, helpErr := strconv.Unquote(parts[2])
	m := Metric{Name: name, Help: help, Type: "gauge", Labels: []string{}}
	if parts[3] != "" {
		m.Labels = strings.Split(parts[3], ",")
	}
	switch c.(type) {
	case *prometheus.HistogramVec, prometheus.Histogram:
		m.Type = "histogram"
	default:
		if strings.HasSuffix(name, "_total") {
			m.Type = "counter"
		}
	}
	return m, nameErr == nil && helpErr == nil
}

// TraceCatalog returns what [Tracing.Collectors] returns while tracing is on, to
// be described.
func TraceCatalog() []prometheus.Collector { return []prometheus.Collector{newSpanCounter()} }
