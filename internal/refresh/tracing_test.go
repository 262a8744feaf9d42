package refresh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/observe/observetest"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// traced is a rig whose spans go to a collector.
type traced struct {
	*refreshtest.Rig
	t         *testing.T
	tracing   *observe.Tracing
	collector *observetest.Collector
}

func newTraced(t *testing.T, o refreshtest.Options) *traced {
	t.Helper()
	c := observetest.NewCollector(t)
	tracing, err := observe.NewTracing(observe.TraceConfig{
		Exporter: "otlp", Endpoint: c.URL, Protocol: "http/protobuf", ServiceName: "memberwatch", Sampler: "parentbased_always_on",
	}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.Tracer = tracing.Tracer()
	return &traced{refreshtest.New(t, o), t, tracing, c}
}

// spans stops the workers and returns all their spans.
func (r *traced) spans() []observetest.Span {
	r.t.Helper()
	for _, w := range r.Workers {
		if err := w.Stop(); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.tracing.Shutdown(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	return r.collector.Spans()
}

// one returns the only span of a name under a parent.
func (r *traced) one(all []observetest.Span, name, parent string) observetest.Span {
	r.t.Helper()
	var found []observetest.Span
	for _, s := range all {
		if s.Name == name && s.Parent == parent {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		var names []string
		for _, s := range all {
			names = append(names, s.Parent+" → "+s.ID+" "+s.Name)
		}
		r.t.Fatalf("%d spans %q below %q, want 1; there are\n%s", len(found), name, parent, strings.Join(names, "\n"))
	}
	return found[0]
}

const (
	commandTrace = "0af7651916cd43dd8448eb211c80319c"
	commandSpan  = "b7ad6b7169203331"
	member       = "/users/{user_guid}/members/{member_guid}"
)

func TestOneTraceGoesFromTheCommandThroughMXToTheEventAndItsFollowUp(t *testing.T) {
	t.Parallel()
	r := newTraced(t, refreshtest.Options{Bus: followSoon})
	k := r.AddMember(mxsim.Patch{"connection_status": "PENDING", "is_oauth": true})
	r.PublishMsg(&nats.Msg{
		Subject: r.Subjects.Refresh(), Header: nats.Header{"traceparent": {"00-" + commandTrace + "-" + commandSpan + "-01"}, "tracestate": {"vendor=1"}},
		Data: []byte(`{"user":"` + k.User() + `","member":"` + k.Member() + `","command_id":"the-command"}`),
	})
	r.Result("the-command")
	r.WaitIdle()
	event, announcement := r.Events(k)[0], r.Announcements(k)[0]
	all := r.spans()

	process := r.one(all, "process mx.commands.member.refresh", commandSpan)
	cycle := r.one(all, "refresh member", process.ID)
	r.one(all, "recall state", cycle.ID)
	read := r.one(all, "GET "+member, cycle.ID)
	published := r.one(all, "publish mx.events.member.pending.{user_guid}.{member_guid}", cycle.ID)
	announced := r.one(all, "publish mx.oauth.member.oauth_required.{user_guid}.{member_guid}", cycle.ID)
	followed := r.one(all, "process mx.events.member.{type}.{user_guid}.{member_guid}", published.ID)
	r.one(all, "GET "+member, r.one(all, "refresh member", followed.ID).ID)

	for _, s := range all {
		if s.Trace != commandTrace {
			t.Errorf("%s is in trace %s", s.Name, s.Trace)
		}
		for name, value := range s.Attrs {
			if strings.Contains(value, "oauth.mxsim.example") || strings.Contains(value, mxsim.DefaultAPIKey) {
				t.Errorf("%s: %s holds a secret: %s", s.Name, name, value)
			}
		}
	}
	for what, got := range map[string][2]string{
		"the event's context":        {event.Traceparent, published.Traceparent()},
		"the event's state":          {event.Tracestate, "vendor=1"},
		"the announcement's context": {announcement.Traceparent, announced.Traceparent()},
		"the header of the event":    {r.Stored(r.Subjects.EventStream(), r.Subjects.EventsOf(k))[0].Header.Get("traceparent"), published.Traceparent()},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %q, want %q", what, got[0], got[1])
		}
	}
	if !process.Remote || process.Kind != "consumer" || read.Kind != "client" || published.Kind != "producer" {
		t.Errorf("kinds are %s (remote parent: %v), %s, %s", process.Kind, process.Remote, read.Kind, published.Kind)
	}
	wantAttrs(t, process, map[string]string{
		"messaging.system": "nats", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.template": "mx.commands.member.refresh", "messaging.message.id": "MX_COMMANDS-1",
		"messaging.message.conversation_id": "the-command", "memberwatch.source": "command", "memberwatch.deliveries": "1",
		"memberwatch.outcome": "changed", "memberwatch.member": k.Member(),
	})
	wantAttrs(t, read, map[string]string{
		"http.request.method": "GET", "url.template": member, "http.response.status_code": "200",
		"server.address": "127.0.0.1", "memberwatch.mx_op": "read_member",
	})
	wantAttrs(t, published, map[string]string{
		"messaging.system": "nats", "messaging.operation.name": "publish", "messaging.operation.type": "send",
		"messaging.destination.name": r.Subjects.Event(event.Type, k), "messaging.message.id": event.ID,
		"messaging.destination.template":    "mx.events.member.pending.{user_guid}.{member_guid}",
		"messaging.message.conversation_id": "the-command", "memberwatch.revision": "1",
	})
}

func TestAnEventIsInTheTraceOfTheCommandThatSharedItsRead(t *testing.T) {
	t.Parallel()
	var r *traced
	c := newCrowd(t, nil, func(o refreshtest.Options) *refreshtest.Rig {
		r = newTraced(t, o)
		return r.Rig
	})
	k := c.AddMember(mxsim.Patch{"connection_status": "CONNECTED", "is_oauth": true})
	c.begin(k)
	c.together(k, pending(), byItself(refresh.SourcePeriodic, "walk"), asked(refresh.SourceCommand, "one"))
	event, announcement := c.Events(k)[1], c.Announcements(k)[0]
	all := r.spans()
	of := map[string]observetest.Span{} // process spans by id of the job
	for _, s := range all {
		if id := s.Attrs["messaging.message.conversation_id"]; strings.HasPrefix(s.Name, "process ") {
			of[id] = s
		}
	}
	published := r.one(all, "publish mx.events.member.pending.{user_guid}.{member_guid}", of["one"].ID)
	announced := r.one(all, "publish mx.oauth.member.oauth_required.{user_guid}.{member_guid}", of["one"].ID)
	cycle := r.one(all, "refresh member", of["walk"].ID)
	if event.Traceparent != published.Traceparent() || announcement.Traceparent != announced.Traceparent() || !slices.Contains(cycle.Links, of["one"].ID) {
		t.Errorf("event %s, announcement %s, links %v", event.Traceparent, announcement.Traceparent, cycle.Links)
	}
}

func TestCommandsThatShareAReadAreLinkedWithIt(t *testing.T) {
	t.Parallel()
	reading, answer := make(chan struct{}, 1), make(chan struct{})
	r := newTraced(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		through := d.MX
		d.MX = &readers{through, func(ctx context.Context, user, member string) (mx.Member, error) {
			select {
			case reading <- struct{}{}: // the first read waits until the others wait for it
				<-answer
			default:
			}
			return through.ReadMember(ctx, user, member)
		}}
	}})
	k := r.AddMember(status("CONNECTED"))
	r.Publish(events.Command{User: k.User(), Member: k.Member(), CommandID: "first"})
	r.Until("the first is reading", func() bool { return len(reading) == 1 })
	for _, id := range []string{"second", "third"} {
		r.Publish(events.Command{User: k.User(), Member: k.Member(), CommandID: id})
	}
	r.Until("all are in hand", func() bool { return r.Workers[0].Service.Flow().Hand == 3 })
	close(answer)
	for _, id := range []string{"first", "second", "third"} {
		r.Result(id)
	}
	spans := r.spans()

	of := map[string]observetest.Span{} // process spans by command
	for _, s := range spans {
		if strings.HasPrefix(s.Name, "process ") {
			of[s.Attrs["messaging.message.conversation_id"]] = s
		}
	}
	shared, alone := of["second"], of["third"]
	if ids := []string{of["first"].Trace, shared.Trace, alone.Trace}; ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2] {
		t.Errorf("commands without a trace of their own share one: %q", ids)
	}
	if shared.Links != nil {
		shared, alone = alone, shared
	}
	cycle := r.one(spans, "refresh member", shared.ID)
	if !slices.Equal(cycle.Links, []string{alone.ID}) || !slices.Equal(alone.Links, []string{cycle.ID}) || shared.Links != nil {
		t.Errorf("the cycle is linked with %q, the one it was begun for with %q, the other with %q", cycle.Links, shared.Links, alone.Links)
	}
	if links := r.one(spans, "refresh member", of["first"].ID).Links; links != nil {
		t.Errorf("a cycle of one job is linked with %q", links)
	}
	for name, want := range map[string]float64{
		"memberwatch_coalesced_jobs_total{}":          1, // the third, served by the second's read
		"memberwatch_command_seconds{changed}":        1,
		"memberwatch_command_seconds{unchanged}":      2,
		"memberwatch_event_seconds{command}":          1,
		"memberwatch_members_remembered{}":            1,
		"memberwatch_jobs_in_hand{}":                  0,
		"memberwatch_outcomes_total{changed,command}": 1,
	} {
		if got := measured(t, r.Workers[0])[name]; got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// measured is what a worker's service has counted; of a histogram, how often.
func measured(t *testing.T, w *refreshtest.Worker) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.Service.Metrics()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

func TestLinesAboutACommandNameItAndItsTrace(t *testing.T) {
	t.Parallel()
	var logs bytes.Buffer
	r := refreshtest.New(t, refreshtest.Options{Wrap: func(_ int, d *refresh.Deps) {
		d.Log = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})) // writes one line at a time
	}})
	k := r.AddMember(status("CONNECTED"))
	r.PublishMsg(&nats.Msg{
		Subject: r.Subjects.Refresh(), Header: nats.Header{"traceparent": {"00-" + commandTrace + "-" + commandSpan + "-01"}},
		Data: []byte(`{"user":"` + k.User() + `","member":"` + k.Member() + `","command_id":"the-command"}`),
	})
	r.Result("the-command")
	if err := r.Workers[0].Stop(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for line := range strings.Lines(logs.String()) {
		var record struct {
			Msg     string `json:"msg"`
			Command string `json:"command"`
			Member  string `json:"member"`
			TraceID string `json:"trace_id"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		said = append(said, record.Msg)
		if record.Command != "the-command" || record.TraceID != commandTrace || record.Member != k.Member() {
			t.Errorf("a line without command, trace or member: %s", line)
		}
	}
	if !slices.Equal(said, []string{"published", "settled"}) {
		t.Errorf("it said %q", said)
	}
}

func TestWhatMXFailsShowsInItsSpan(t *testing.T) {
	t.Parallel()
	r := newTraced(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 503, Count: 1})
	r.Refresh(k)
	all := r.spans()
	var failed []observetest.Span
	for _, s := range all {
		if s.Failed {
			failed = append(failed, s)
		}
	}
	if len(failed) != 3 { // the call, the cycle, the delivery
		t.Fatalf("%d spans failed, want 3: %v", len(failed), failed)
	}
	for _, s := range failed {
		want := "unavailable"
		if strings.HasPrefix(s.Name, "process ") {
			want = "retry"
		}
		if s.Attrs["error.type"] != want || !strings.Contains(s.Message, "503") {
			t.Errorf("%s: error.type %q, message %q", s.Name, s.Attrs["error.type"], s.Message)
		}
	}
}

func TestATraceThatIsNotSampledIsCarriedOnUnsampled(t *testing.T) {
	t.Parallel()
	r := newTraced(t, refreshtest.Options{})
	k := r.AddMember(status("CONNECTED"))
	r.PublishMsg(&nats.Msg{
		Subject: r.Subjects.Refresh(), Header: nats.Header{"traceparent": {"00-" + commandTrace + "-" + commandSpan + "-00"}},
		Data: []byte(`{"user":"` + k.User() + `","member":"` + k.Member() + `","command_id":"the-command"}`),
	})
	r.Result("the-command")
	if got := r.Events(k)[0].Traceparent; !strings.HasPrefix(got, "00-"+commandTrace+"-") || !strings.HasSuffix(got, "-00") {
		t.Errorf("the event's traceparent is %q", got)
	}
	if all := r.spans(); len(all) > 0 {
		t.Errorf("%d spans were sent", len(all))
	}
}

// wantAttrs compares a span's attributes.
func wantAttrs(t *testing.T, s observetest.Span, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, s.Attrs); diff != "" {
		t.Errorf("attributes of %s (-want +got):\n%s", s.Name, diff)
	}
}
