package bus

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
)

// codeOK is the code of an answer that is no error, in metrics.
const codeOK events.APICode = "200"

// codeNone is that of a request that could not be answered: it gave no place to, or a forbidden one.
const codeNone events.APICode = "none"

// apiMetrics counts requests. No label holds an id.
type apiMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	counts   *tally
}

func newAPIMetrics() *apiMetrics {
	return &apiMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "memberwatch_api_requests_total", Help: "Requests, by endpoint and the code of the answer (200: served; none: gave no place to answer at).",
		}, []string{"endpoint", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "memberwatch_api_seconds", Help: "Time from a request to its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}, []string{"endpoint"}),
		counts: newTally(),
	}
}

func (m *apiMetrics) answered(endpoint string, code events.APICode, d time.Duration) {
	m.requests.WithLabelValues(endpoint, string(code)).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(d.Seconds())
	m.counts.add(endpoint, code, d)
}

func (m *apiMetrics) refused(endpoint string) {
	m.requests.WithLabelValues(endpoint, string(codeNone)).Inc()
	m.counts.add(endpoint, codeNone, 0)
}

func (m *apiMetrics) stats(endpoint string) any { return m.counts.of(endpoint) }

// apiStats is what an endpoint tells of itself in $SRV.STATS, as its data.
type apiStats struct {
	Answers        map[events.APICode]uint64 `json:"answers"` // by code; 200: served
	AverageSeconds float64                   `json:"average_seconds"`
}

// tally counts answers since the start.
type tally struct {
	mu        sync.Mutex
	endpoints map[string]*counted
}

type counted struct {
	answers map[events.APICode]uint64
	total   uint64
	spent   time.Duration
}

func newTally() *tally { return &tally{endpoints: make(map[string]*counted)} }

func (t *tally) add(endpoint string, code events.APICode, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.endpoints[endpoint]
	if c == nil {
		c = &counted{answers: make(map[events.APICode]uint64)}
		t.endpoints[endpoint] = c
	}
	c.answers[code]++
	c.total++
	c.spent += d
}

func (t *tally) of(endpoint string) apiStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := apiStats{Answers: map[events.APICode]uint64{}}
	if c := t.endpoints[endpoint]; c != nil {
		maps.Copy(s.Answers, c.answers)
		s.AverageSeconds = c.spent.Seconds() / float64(c.total)
	}
	return s
}
