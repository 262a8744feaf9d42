package bus

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// later is a clock that is ahead of everybody's, by what a test says.
type later struct{ by time.Duration }

func (l *later) now() time.Time { return time.Now().Add(l.by) }

// scrape returns what a collector tells, as name{labels} → value.
func scrape(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, p := range m.GetLabel() {
				labels = append(labels, p.GetValue())
			}
			got[strings.TrimPrefix(f.GetName(), "memberwatch_")+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue()
		}
	}
	return got
}

// about cuts ages to minutes, and leaves out how many bytes there are.
func about(got map[string]float64) map[string]float64 {
	out := maps.Clone(got)
	for name, value := range got {
		if strings.HasPrefix(name, "backlog_oldest_seconds") {
			out[name] = float64(int(value) / 60)
		}
		if strings.HasPrefix(name, "stream_bytes") {
			delete(out, name)
		}
	}
	return out
}

func TestBacklogIsToldWhileNobodyWorks(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	clock := &later{}
	l := newLag(h.js, h.config, h.subjects, clock.now, slog.New(slog.DiscardHandler))
	idle := map[string]float64{
		"backlog_messages{commands,in_hand}": 0, "backlog_messages{commands,waiting}": 0, "backlog_oldest_seconds{commands}": 0,
		"backlog_messages{background,in_hand}": 0, "backlog_messages{background,waiting}": 0, "backlog_oldest_seconds{background}": 0,
		"backlog_messages{follow_up,in_hand}": 0, "backlog_messages{follow_up,waiting}": 0, "backlog_oldest_seconds{follow_up}": 0,
		"stream_messages{MX_COMMANDS}": 0, "stream_messages{MX_BACKGROUND}": 0, "stream_messages{MX_EVENTS}": 0,
		"stream_messages{MX_OAUTH}": 0, "stream_messages{MX_DEADLETTERS}": 0, "stream_messages{KV_MX_IDS}": 0,
		"scheduled_reads{}": 0, "members_at_most{}": 0,
	}
	if diff := cmp.Diff(idle, about(scrape(t, l))); diff != "" {
		t.Errorf("at rest (-want +got):\n%s", diff)
	}

	// Two commands, one of them in hand; three events of two members, one of them
	// followed up; a confirmation that waits, and one that is due.
	for range 2 {
		h.publish(h.subjects.Refresh(), `{}`, nil)
	}
	h.take(h.subjects.CommandStream(), consumerCommands, 1)
	for _, subject := range []string{"connected.USR-1.MBR-1", "closed.USR-1.MBR-1", "connected.USR-1.MBR-2"} {
		h.publish("mx.events.member."+subject, `{}`, nil)
	}
	for _, m := range h.take(h.subjects.EventStream(), consumerFollow, 1) {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	k, err := events.NewKey("USR-1", "MBR-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.confirmations.Schedule(t.Context(), k, time.Now(), refresh.Cause{}); err != nil {
		t.Fatal(err)
	}
	h.publish(h.subjects.BackgroundDueOf(k), `{}`, nil)
	// A consumer hears of a message a moment after its publisher has the acknowledgement.
	h.until("the consumers know of all messages", func() bool {
		_, commands := h.pending(h.subjects.CommandStream(), consumerCommands)
		_, followUps := h.pending(h.subjects.EventStream(), consumerFollow)
		_, background := h.pending(h.subjects.BackgroundStream(), consumerBackground)
		return commands == 1 && followUps == 2 && background == 1
	})

	clock.by = 4 * time.Second
	if diff := cmp.Diff(idle, about(scrape(t, l))); diff != "" {
		t.Errorf("asked again at once (-want +got):\n%s", diff)
	}
	clock.by = 10*time.Minute + time.Second
	want := map[string]float64{
		"backlog_messages{commands,in_hand}": 1, "backlog_messages{commands,waiting}": 1, "backlog_oldest_seconds{commands}": 10,
		"backlog_messages{background,in_hand}": 0, "backlog_messages{background,waiting}": 1, "backlog_oldest_seconds{background}": 10,
		"backlog_messages{follow_up,in_hand}": 0, "backlog_messages{follow_up,waiting}": 2, "backlog_oldest_seconds{follow_up}": 10,
		"stream_messages{MX_COMMANDS}": 2, "stream_messages{MX_BACKGROUND}": 2, "stream_messages{MX_EVENTS}": 3,
		"stream_messages{MX_OAUTH}": 0, "stream_messages{MX_DEADLETTERS}": 0, "stream_messages{KV_MX_IDS}": 0,
		"scheduled_reads{}": 1, "members_at_most{}": 3,
	}
	got := scrape(t, l)
	if diff := cmp.Diff(want, about(got)); diff != "" {
		t.Errorf("with work to do (-want +got):\n%s", diff)
	}
	if got["stream_bytes{MX_EVENTS}"] == 0 || got["stream_bytes{MX_OAUTH}"] != 0 {
		t.Errorf("bytes of streams: %v", got)
	}
}

// take fetches messages and does not settle them.
func (h *house) take(stream, durable string, n int) []jetstream.Msg {
	h.t.Helper()
	c, err := h.peer.Consumer(h.t.Context(), stream, durable)
	if err != nil {
		h.t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		h.t.Fatal(err)
	}
	var all []jetstream.Msg
	for m := range batch.Messages() {
		all = append(all, m)
	}
	if err := batch.Error(); err != nil || len(all) != n {
		h.t.Fatalf("fetched %d messages of %s, %v, want %d", len(all), stream, err, n)
	}
	return all
}

func TestTheOldestMessageIsTheFirstThatIsNotDone(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	clock := &later{by: time.Hour}
	l := newLag(h.js, h.config, h.subjects, clock.now, slog.New(slog.DiscardHandler))
	first := time.Now()
	for i := range 3 {
		h.publish("mx.events.member.connected.USR-1.MBR-"+string(rune('1'+i)), `{}`, nil)
	}
	all := h.take(h.subjects.EventStream(), consumerFollow, 3)
	for _, i := range []int{0, 2} { // the last one is done, too, out of order
		if err := all[i].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	meta, err := all[1].Metadata()
	if err != nil {
		t.Fatal(err)
	}
	got := scrape(t, l)
	if got["backlog_messages{follow_up,in_hand}"] != 1 || got["backlog_messages{follow_up,waiting}"] != 0 {
		t.Errorf("backlog %v", got)
	}
	most, least := time.Hour+time.Since(meta.Timestamp), time.Hour
	if age := got["backlog_oldest_seconds{follow_up}"]; age > most.Seconds() || age < least.Seconds() || meta.Timestamp.Before(first.Add(-time.Minute)) {
		t.Errorf("the oldest is %v s old, want %v to %v", age, least.Seconds(), most.Seconds())
	}
}

func TestWithoutFollowUpsThereIsNoSuchLane(t *testing.T) {
	t.Parallel()
	c := good()
	c.FollowUpAfter = 0
	h := newHouse(t, c)
	for name := range scrape(t, h.lag) {
		if strings.Contains(name, "follow_up") {
			t.Errorf("there is %s", name)
		}
	}
	if n := unanswered(t, h.lag); n != 0 {
		t.Errorf("%v questions were not answered", n)
	}
}

func TestWhatNATSDoesNotAnswerIsAbsentAndCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	clock := &later{}
	l := newLag(h.js, h.config, h.subjects, clock.now, slog.New(slog.DiscardHandler))
	if len(scrape(t, l)) == 0 {
		t.Fatal("nothing is told")
	}
	if err := h.peer.DeleteStream(t.Context(), h.subjects.OAuthStream()); err != nil {
		t.Fatal(err)
	}
	clock.by = time.Minute
	got := scrape(t, l)
	if _, ok := got["stream_messages{MX_OAUTH}"]; ok || len(got) < 10 {
		t.Errorf("with one stream gone: %q", slices.Sorted(maps.Keys(got)))
	}
	if n := unanswered(t, l); n != 1 {
		t.Errorf("%v questions were not answered, want 1", n)
	}
	h.nc.Close()
	clock.by = 2 * time.Minute
	if got := scrape(t, l); len(got) != 0 {
		t.Errorf("without NATS: %v", got)
	}
	if n := unanswered(t, l); n != 7 { // the streams; without them nobody asks for lanes
		t.Errorf("%v questions were not answered, want 7", n)
	}
}

// unanswered is how many questions were not answered.
func unanswered(t *testing.T, l *lag) float64 {
	t.Helper()
	return testutil.ToFloat64(l.errors)
}
