package refresh

import (
	"time"

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
	followings  *prometheus.CounterVec
	aggregates  *prometheus.CounterVec
	breaker     prometheus.Gauge
	coalesced   prometheus.Counter
	commandTime *prometheus.HistogramVec
	eventTime   *prometheus.HistogramVec
	gauges      []prometheus.Collector // read when they are scraped; see watch

	commandTook map[events.Outcome]prometheus.Observer
	eventTook   map[Source]prometheus.Observer
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
	times := func(name, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "memberwatch_" + name, Help: help,
			// From one quick read to an outage of an hour.
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600},
		}, []string{label})
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
		followings:  vec("followings_total", "Members on their way to another state: next reads scheduled, and followings given up for their length.", "transience", "step"),
		aggregates:  vec("aggregations_total", "Wishes to aggregate, by what came of them.", "outcome"),
		breaker:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "memberwatch_breaker_open", Help: "1 while MX is not asked but probed."}),
		coalesced:   one("coalesced_jobs_total", "Jobs served by the read of another one, beyond the one that each read is for."),
		commandTime: times("command_seconds", "Time from the arrival of a command or request until its end, waiting and retries included.", "outcome"),
		eventTime:   times("event_seconds", "Time from the arrival of what asked for the read until its event was stored.", "source"),
		commandTook: make(map[events.Outcome]prometheus.Observer),
		eventTook:   make(map[Source]prometheus.Observer),
		taken:       make(map[Source]prometheus.Counter),
		ended:       make(map[ending]prometheus.Counter),
	}
	outcomes := []string{
		string(events.OutcomeChanged), string(events.OutcomeUnchanged), string(events.OutcomeNotFound), string(events.OutcomeFailed),
		outcomeRetried, outcomeReturned,
	}
	for _, s := range sources() {
		m.taken[s] = m.jobs.WithLabelValues(string(s))
		m.eventTook[s] = m.eventTime.WithLabelValues(string(s))
		for _, o := range outcomes {
			m.ended[ending{s, o}] = m.outcomes.WithLabelValues(string(s), o)
		}
	}
	for _, o := range []events.Outcome{events.OutcomeChanged, events.OutcomeUnchanged, events.OutcomeNotFound, events.OutcomeFailed} {
		m.commandTook[o] = m.commandTime.WithLabelValues(string(o))
	}
	m.fromMemory, m.fromStream = m.recalls.WithLabelValues("memory"), m.recalls.WithLabelValues("stream")
	return m
}

// Outcomes of a job that are not those of a command.
const (
	outcomeRetried  = "retried"
	outcomeReturned = "returned"
)

// Steps of a following.
const (
	followingScheduled = "scheduled"
	followingGivenUp   = "given_up"
)

// Metrics returns the service's collectors, to be registered by the caller.
func (s *Service) Metrics() []prometheus.Collector { return s.metrics.collectors() }

// Catalog returns what [Service.Metrics] of a service returns, without one: to be
// described, not to be registered.
func Catalog() []prometheus.Collector {
	m := newMetrics()
	m.watch(nil, nil)
	return m.collectors()
}

func (m *metrics) collectors() []prometheus.Collector {
	return append([]prometheus.Collector{
		m.coalesced, m.commandTime, m.eventTime,
		m.jobs, m.outcomes, m.recalls, m.conflicts, m.events, m.announces,
		m.unknowns, m.resolutions, m.panics, m.held, m.followings, m.aggregates, m.breaker,
	}, m.gauges...)
}

// settled counts the end of a job and returns what it was.
func (m *metrics) settled(j *Job, v Verdict) string {
	outcome := string(v.Result.Outcome)
	switch v.Disposition {
	case Retry:
		outcome = outcomeRetried
	case Return:
		outcome = outcomeReturned
	case Done, Dead:
	}
	m.ended[ending{j.Source, outcome}].Inc()
	if took := m.commandTook[v.Result.Outcome]; took != nil && j.Lane == Interactive && !j.At.IsZero() && (v.Disposition == Done || v.Disposition == Dead) {
		took.Observe(max(0, v.Result.FinishedAt.Sub(j.At).Seconds()))
	}
	return outcome
}

// published counts an event, and how long those whose read it was had to wait for it.
func (m *metrics) published(e *events.Event, served []*Job, now time.Time) {
	for _, j := range served {
		if !j.At.IsZero() {
			m.eventTook[j.Source].Observe(max(0, now.Sub(j.At).Seconds())) // the server's clock may be ahead of ours
		}
	}
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

// watch adds what is read when it is scraped.
func (m *metrics) watch(d *desk, remembered *memory) {
	gauge := func(name, help string, read func() float64) {
		m.gauges = append(m.gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "memberwatch_" + name, Help: help}, read))
	}
	gauge("jobs_in_hand", "Jobs taken and not settled yet, waiting for their turn or for MX included.", func() float64 {
		d.mu.Lock()
		defer d.mu.Unlock()
		return float64(d.hand)
	})
	gauge("members_remembered", "Members whose last state this process has in memory, at most STATE_CACHE.", func() float64 {
		return float64(remembered.size())
	})
}
