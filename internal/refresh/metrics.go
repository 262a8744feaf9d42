package refresh

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
)

// metrics counts what the service does. No label holds an id. Counters that
// every job touches are looked up once, not per job.
type metrics struct {
	taken      map[Source]prometheus.Counter
	ended      map[ending]prometheus.Counter
	fromMemory prometheus.Counter
	fromStream prometheus.Counter

	jobs        *prometheus.CounterVec
	outcomes    *prometheus.CounterVec
	recalls     *prometheus.CounterVec
	conflicts   *prometheus.CounterVec
	events      *prometheus.CounterVec
	announces   *prometheus.CounterVec
	unknowns    prometheus.Counter
	resolutions prometheus.Counter
	panics      prometheus.Counter
	held        prometheus.Counter
	breaker     prometheus.Gauge
}

// ending is how a job from a source can end.
type ending struct {
	source  Source
	outcome string
}

func newMetrics() *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "memberwatch_" + name, Help: help}, labels)
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "memberwatch_" + name, Help: help})
	}
	m := &metrics{
		jobs:        vec("jobs_total", "Jobs taken in hand.", "source"),
		outcomes:    vec("outcomes_total", "Jobs settled, by how they ended.", "source", "outcome"),
		recalls:     vec("recalls_total", "Last states recalled, by where from.", "from"),
		conflicts:   vec("conflicts_total", "Cycles begun again because another write came between, by the step that noticed.", "step"),
		events:      vec("events_total", "Events published.", "type"),
		announces:   vec("announcements_total", "Needs to authorize announced, by whether MX gave a URI.", "uri"),
		unknowns:    one("unknown_outcomes_total", "Publications that got no answer."),
		resolutions: one("resolutions_total", "Reads made to learn what partner ids mean."),
		panics:      one("panics_total", "Cycles that panicked."),
		held:        one("deletions_held_total", "Confirmed deletions held back for lack of evidence or for the limit."),
		breaker:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "memberwatch_breaker_open", Help: "1 while MX is not asked but probed."}),
		taken:       make(map[Source]prometheus.Counter),
		ended:       make(map[ending]prometheus.Counter),
	}
	outcomes := []string{
		string(events.OutcomeChanged), string(events.OutcomeUnchanged), string(events.OutcomeNotFound), string(events.OutcomeFailed),
		outcomeRetried, outcomeReturned,
	}
	for _, s := range []Source{SourceCommand, SourceWebhook, SourceRequest, SourceFollowUp, SourceDeletion} {
		m.taken[s] = m.jobs.WithLabelValues(string(s))
		for _, o := range outcomes {
			m.ended[ending{s, o}] = m.outcomes.WithLabelValues(string(s), o)
		}
	}
	m.fromMemory, m.fromStream = m.recalls.WithLabelValues("memory"), m.recalls.WithLabelValues("stream")
	return m
}

// Outcomes of a job that are not those of a command.
const (
	outcomeRetried  = "retried"
	outcomeReturned = "returned"
)

// Metrics returns the service's collectors, to be registered by the caller.
func (s *Service) Metrics() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{
		m.jobs, m.outcomes, m.recalls, m.conflicts, m.events, m.announces,
		m.unknowns, m.resolutions, m.panics, m.held, m.breaker,
	}
}

func (m *metrics) settled(j *Job, v Verdict) {
	outcome := string(v.Result.Outcome)
	switch v.Disposition {
	case Retry:
		outcome = outcomeRetried
	case Return:
		outcome = outcomeReturned
	case Done, Dead:
	}
	m.ended[ending{j.Source, outcome}].Inc()
}

func (m *metrics) published(e events.Event) {
	t := string(e.Type)
	if !e.Type.Known() {
		t = "unknown_status" // bounded cardinality: MX may invent statuses at any time
	}
	m.events.WithLabelValues(t).Inc()
}

func (m *metrics) announced(withURI bool) {
	uri := "given"
	if !withURI {
		uri = "missing"
	}
	m.announces.WithLabelValues(uri).Inc()
}
