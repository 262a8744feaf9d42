package bus

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
)

// Bounds of a look at the streams. A scrape waits no longer than lagTimeout, and
// however many scrape, NATS is asked once in lagAge.
const (
	lagTimeout = 2 * time.Second
	lagAge     = 5 * time.Second
)

// lag tells what is stored and what waits, when it is scraped. It asks NATS a
// dozen questions, none of which grows with the number of members or messages;
// what is not answered is absent from the scrape, and counted.
//
// Every worker tells the same, since all share the streams: take the maximum over
// workers, not the sum.
type lag struct {
	js       jetstream.JetStream
	config   Config
	subjects events.Subjects
	now      func() time.Time
	log      *slog.Logger
	errors   prometheus.Counter

	messages, bytes, backlog, oldest, scheduled, members *prometheus.Desc

	mu     sync.Mutex
	failed bool                // the last look had a question without an answer
	at     time.Time           // of the last look
	cached []prometheus.Metric // what it found
}

func newLag(js jetstream.JetStream, c Config, s events.Subjects, now func() time.Time, log *slog.Logger) *lag {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("memberwatch_"+name, help, labels, nil)
	}
	return &lag{
		js: js, config: c, subjects: s, now: now, log: log,
		errors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "memberwatch_lag_errors_total", Help: "Questions about streams and consumers that NATS did not answer; what they ask for is absent then.",
		}),
		messages:  desc("stream_messages", "Messages on a stream.", "stream"),
		bytes:     desc("stream_bytes", "Bytes that a stream holds on one server.", "stream"),
		backlog:   desc("backlog_messages", "Messages of a lane that are not done: waiting to be handed out, or in_hand of a worker or of a delay. Those of follow_up are the follow-ups pending.", "lane", "state"),
		oldest:    desc("backlog_oldest_seconds", "Age of a lane's oldest message that is not done; 0 when all are.", "lane"),
		scheduled: desc("scheduled_reads", "Messages of the background stream whose time has not come: confirmations, next reads, periodic reads."),
		members:   desc("members_at_most", "Subjects of the event stream: one for each member and each type of event it has had. No more members are known; fewer by those types."),
	}
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.messages, l.bytes, l.backlog, l.oldest, l.scheduled, l.members} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *lag) Collect(ch chan<- prometheus.Metric) {
	for _, m := range l.look() {
		ch <- m
	}
}

// look returns what NATS said last, after asking again if that was too long ago.
func (l *lag) look() []prometheus.Metric {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); l.at.IsZero() || now.Sub(l.at) >= lagAge || now.Before(l.at) {
		ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
		defer cancel()
		g := gathering{lag: l, ctx: ctx}
		g.all()
		if failed := g.problem != nil; failed != l.failed {
			if l.failed = failed; failed {
				l.log.Warn("metrics of streams are incomplete; this is said once until they are whole", "error", g.problem)
			}
		}
		l.at, l.cached = l.now(), g.found
	}
	return l.cached
}

// lanes are the durable consumers by what their lane is called for people.
func lanes() map[string]string {
	return map[string]string{consumerCommands: "commands", consumerBackground: "background", consumerFollow: "follow_up"}
}

// gathering is one look.
type gathering struct {
	*lag
	ctx     context.Context //nolint:containedctx // It lives as long as one look.
	found   []prometheus.Metric
	problem error // the first one
}

func (g *gathering) add(d *prometheus.Desc, value float64, labels ...string) {
	g.found = append(g.found, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...))
}

// missing counts a question without an answer.
func (g *gathering) missing(what string, err error) {
	g.errors.Inc()
	g.problem = cmp.Or(g.problem, fmt.Errorf("asking for %s: %w", what, err))
}

func (g *gathering) all() {
	s := g.subjects
	streams := make(map[string]jetstream.Stream)
	for _, name := range []string{
		s.CommandStream(), s.BackgroundStream(), s.EventStream(), s.OAuthStream(), s.DeadLetterStream(), "KV_" + s.IDBucket(),
	} {
		st, err := g.js.Stream(g.ctx, name)
		if err != nil {
			g.missing(name, err)
			continue
		}
		streams[name] = st
		state := st.CachedInfo().State
		g.add(g.messages, float64(state.Msgs), name)
		g.add(g.bytes, float64(state.Bytes), name)
		if name == s.EventStream() {
			g.add(g.members, float64(state.NumSubjects))
		}
	}
	for _, c := range consumers(&g.config, s) {
		if st := streams[c.stream]; st != nil { // else it was counted already
			g.lane(st, c)
		}
	}
}

// lane looks at one lane.
func (g *gathering) lane(st jetstream.Stream, c consumer) {
	cons, err := st.Consumer(g.ctx, c.config.Durable)
	if err != nil {
		g.missing(c.config.Durable, err)
		return
	}
	info, state, name := cons.CachedInfo(), st.CachedInfo().State, lanes()[c.config.Durable]
	waiting, inHand := info.NumPending, uint64(max(0, info.NumAckPending))
	g.add(g.backlog, float64(waiting), name, "waiting")
	g.add(g.backlog, float64(inHand), name, "in_hand")
	if c.config.Durable == consumerBackground {
		// Asked for one after the other, so the difference may be off by what came between.
		g.add(g.scheduled, max(0, float64(state.Msgs)-float64(waiting+inHand)))
	}
	if waiting+inHand == 0 {
		g.add(g.oldest, 0, name)
		return
	}
	oldest, err := g.oldestOf(st, c, info.AckFloor.Stream)
	if err != nil {
		g.missing("oldest message of "+c.config.Durable, err)
		return
	}
	g.add(g.oldest, max(0, g.now().Sub(oldest).Seconds()), name)
}

// oldestOf is when the oldest message was stored that its lane is not done with.
func (g *gathering) oldestOf(st jetstream.Stream, c consumer, floor uint64) (time.Time, error) {
	filter := c.config.FilterSubject
	switch c.config.Durable {
	case consumerCommands:
		// What is done leaves a work queue, so its first message is the one. To read it a
		// worker would need one more right.
		return st.CachedInfo().State.FirstTime, nil
	case consumerFollow:
		filter = g.subjects.Events()
	}
	// All up to the floor are done, and the next one is not, or the floor would be higher.
	m, err := st.GetMsg(g.ctx, floor+1, jetstream.WithGetMsgSubject(filter))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading message after %d: %w", floor, err)
	}
	return m.Time, nil
}
