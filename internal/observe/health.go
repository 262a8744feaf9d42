package observe

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// errStarting is the state of a check that nobody has set yet.
var errStarting = errors.New("not checked yet")

// Health is whether the service can do its work, as a set of named checks. All
// methods may be called concurrently.
type Health struct {
	mu       sync.Mutex
	checks   map[string]error // guarded by mu; nil: good
	draining bool             // guarded by mu
}

// NewHealth returns a Health in which each of the named checks is bad until
// [Health.Set] says otherwise, so that a service is not ready before it knows.
func NewHealth(names ...string) *Health {
	h := &Health{checks: make(map[string]error, len(names))}
	for _, name := range names {
		h.checks[name] = errStarting
	}
	return h
}

// Set says how the thing called name is: err is why it is bad, nil means good.
// A name that [NewHealth] was not given is added. The text of err is served, so
// it must hold no secret.
func (h *Health) Set(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = err
}

// Drain makes the service unready for good: it finishes what it has and wants
// nothing new.
func (h *Health) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining = true
}

// Check is the state of one check, as /readyz serves it.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why it is bad
}

// Report is the state of the whole, as /readyz serves it.
type Report struct {
	Ready    bool    `json:"ready"`
	Draining bool    `json:"draining"`
	Checks   []Check `json:"checks"` // by name
}

// Report returns the state now.
func (h *Health) Report() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := Report{Ready: !h.draining, Draining: h.draining, Checks: []Check{}}
	for _, name := range slices.Sorted(maps.Keys(h.checks)) {
		c := Check{Name: name, OK: true}
		if err := h.checks[name]; err != nil {
			c.OK, c.Reason, r.Ready = false, err.Error(), false
		}
		r.Checks = append(r.Checks, c)
	}
	return r
}

// Err says why the service is not ready, naming every bad check; nil when it is.
func (h *Health) Err() error {
	r := h.Report()
	var bad []error
	if r.Draining {
		bad = append(bad, errors.New("shutting down"))
	}
	for _, c := range r.Checks {
		if !c.OK {
			bad = append(bad, fmt.Errorf("%s: %s", c.Name, c.Reason))
		}
	}
	return errors.Join(bad...)
}

// Collectors returns the metrics memberwatch_ready and memberwatch_check_ok.
func (h *Health) Collectors() []prometheus.Collector {
	return []prometheus.Collector{healthCollector{
		health: h,
		ready:  prometheus.NewDesc("memberwatch_ready", "Whether the service is ready (1) or not (0).", nil, nil),
		check:  prometheus.NewDesc("memberwatch_check_ok", "Whether a readiness check is good (1) or bad (0).", []string{"check"}, nil),
	}}
}

// healthCollector reads the checks when it is scraped.
type healthCollector struct {
	health       *Health
	ready, check *prometheus.Desc
}

// Describe sends the two descriptions.
func (c healthCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.ready
	ch <- c.check
}

// Collect sends the state of the whole and of each check.
func (c healthCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.health.Report()
	ch <- prometheus.MustNewConstMetric(c.ready, prometheus.GaugeValue, asFloat(r.Ready))
	for _, check := range r.Checks {
		ch <- prometheus.MustNewConstMetric(c.check, prometheus.GaugeValue, asFloat(check.OK), check.Name)
	}
}

func asFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
