package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

// names lists the streams that exist.
func names(t *testing.T, peer jetstream.JetStream) []string {
	t.Helper()
	all := peer.StreamNames(t.Context())
	var got []string
	for n := range all.Name() {
		got = append(got, n)
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

func stream(t *testing.T, peer jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := peer.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo()
}

func plan(t *testing.T, top *Topology) []Difference {
	t.Helper()
	steps, err := top.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestTopologyIsThatOfTheContract(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	want := []string{"KV_MX_IDS", "MX_BACKGROUND", "MX_COMMANDS", "MX_DEADLETTERS", "MX_EVENTS", "MX_OAUTH"}
	if diff := cmp.Diff(want, names(t, h.peer)); diff != "" {
		t.Errorf("streams (-want +got):\n%s", diff)
	}
	for _, tc := range []struct {
		name, subjects string
		holds          func(c jetstream.StreamConfig) bool
	}{
		{"MX_COMMANDS", "mx.commands.>", func(c jetstream.StreamConfig) bool {
			return c.Retention == jetstream.WorkQueuePolicy && c.Discard == jetstream.DiscardNew && !c.AllowRollup && !c.AllowMsgSchedules
		}},
		{"MX_BACKGROUND", "mx.background.>", func(c jetstream.StreamConfig) bool {
			return c.Retention == jetstream.WorkQueuePolicy && c.AllowMsgSchedules
		}},
		{"MX_EVENTS", "mx.events.member.*.*.*", func(c jetstream.StreamConfig) bool {
			return c.Retention == jetstream.LimitsPolicy && c.Compression == jetstream.NoCompression && !c.AllowDirect && !c.AllowRollup &&
				c.MaxMsgsPerSubject == 64 && c.MaxAge == 0 && c.MaxBytes == -1 && c.MaxMsgs == -1 && c.SubjectDeleteMarkerTTL == 0
		}},
		{"MX_OAUTH", "mx.oauth.member.oauth_required.*.*", func(c jetstream.StreamConfig) bool {
			return c.Retention == jetstream.LimitsPolicy && c.MaxAge == 30*time.Minute && c.Duplicates == 30*time.Minute && c.MaxMsgsPerSubject == 1
		}},
		{"MX_DEADLETTERS", "mx.deadletters.*", func(c jetstream.StreamConfig) bool {
			return c.Retention == jetstream.LimitsPolicy && c.MaxAge == 0 && c.MaxMsgs == -1
		}},
	} {
		c := stream(t, h.peer, tc.name).Config
		if strings.Join(c.Subjects, " ") != tc.subjects || c.Storage != jetstream.FileStorage || !tc.holds(c) {
			t.Errorf("%s is %+v", tc.name, c)
		}
	}
	meta := stream(t, h.peer, "MX_EVENTS").Config.Metadata
	if meta[metaHost] != "int-api.mx.com" || meta[metaClient] == "" || strings.Contains(meta[metaClient], "client") {
		t.Errorf("metadata %v, want the host, and the client id only as a hash", meta)
	}
	for _, want := range []struct {
		stream, durable, filter string
	}{
		{"MX_COMMANDS", consumerCommands, ""}, {"MX_BACKGROUND", consumerBackground, "mx.background.due.*.*"}, {"MX_EVENTS", consumerFollow, ""},
	} {
		cons, err := h.peer.Consumer(t.Context(), want.stream, want.durable)
		if err != nil {
			t.Fatal(err)
		}
		c := cons.CachedInfo().Config
		// BackOff would replace the ack wait; a bounded MaxDeliver would leave messages behind.
		if c.FilterSubject != want.filter || c.MaxDeliver != -1 || len(c.BackOff) > 0 || c.AckWait != ackWait || c.MaxAckPending < 4*64 {
			t.Errorf("consumer %s: %+v", want.durable, c)
		}
	}
}

func TestTopologyASecondStartChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	before := make(map[string]jetstream.StreamConfig)
	for _, n := range names(t, h.peer) {
		before[n] = stream(t, h.peer, n).Config
	}
	top := NewTopology(h.peer, good(), h.subjects, identity())
	if steps := plan(t, top); len(steps) != 0 {
		t.Errorf("differences right after creation: %v", steps)
	}
	if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	for _, n := range names(t, h.peer) {
		if diff := cmp.Diff(before[n], stream(t, h.peer, n).Config); diff != "" {
			t.Errorf("%s (-before +after):\n%s", n, diff)
		}
	}
}

func TestTopologyWithoutFollowUpsHasNoConsumerForThem(t *testing.T) {
	t.Parallel()
	c := good()
	c.FollowUpAfter = 0
	h := newHouse(t, c)
	if n := stream(t, h.peer, "MX_EVENTS").State.Consumers; n != 0 {
		t.Errorf("%d consumers of events", n)
	}
}

func TestTopologyDriftIsNamedRefusedAndApplied(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stream string
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"subjects":    {"MX_COMMANDS", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "x.>") }, "stream MX_COMMANDS: subjects is mx.commands.> x.>, want mx.commands.>"},
		"discard":     {"MX_COMMANDS", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "stream MX_COMMANDS: discard"},
		"roll-up":     {"MX_COMMANDS", func(c *jetstream.StreamConfig) { c.AllowRollup = true }, "stream MX_COMMANDS: roll-up is true, want false"},
		"max age":     {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "stream MX_EVENTS: max age is 1h0m0s, want 0s"},
		"messages":    {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 }, "stream MX_EVENTS: max messages is 10, want -1"},
		"bytes":       {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "stream MX_EVENTS: max bytes"},
		"history":     {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 3 }, "stream MX_EVENTS: max messages per subject is 3, want 64"},
		"compression": {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression }, "stream MX_EVENTS: compression"},
		"direct":      {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.AllowDirect = true }, "stream MX_EVENTS: direct reads is true, want false"},
		"duplicates":  {"MX_OAUTH", func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute }, "stream MX_OAUTH: duplicate window is 1m0s, want 30m0s"},
		"type prefix": {"MX_EVENTS", func(c *jetstream.StreamConfig) { c.Metadata[metaTypePrefix] = "com.example" }, `metaTypePrefix is "com.example", want ""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			c := stream(t, h.peer, tc.stream).Config
			tc.change(&c)
			c.Metadata = withMetadata(c.Metadata, map[string]string{"theirs": "stays"})
			if _, err := h.peer.UpdateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			top := NewTopology(h.peer, good(), h.subjects, identity())
			want := strings.ReplaceAll(tc.want, "metaTypePrefix", metaTypePrefix)
			if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want drift that says %q", err, want)
			}
			if steps := plan(t, top); len(steps) != 1 {
				t.Errorf("plan %v, want one step", steps)
			}
			if err := top.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if steps := plan(t, top); len(steps) != 0 {
				t.Errorf("still to do once applied: %v", steps)
			}
			if stream(t, h.peer, tc.stream).Config.Metadata["theirs"] != "stays" {
				t.Error("applying took away metadata that is not ours")
			}
		})
	}
}

func TestTopologyDriftOfAConsumerIsNamedAndApplied(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	cons, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
	if err != nil {
		t.Fatal(err)
	}
	c := cons.CachedInfo().Config
	c.MaxDeliver, c.MaxAckPending, c.AckWait, c.BackOff = 5, 1, 0, []time.Duration{time.Second, 2 * time.Second}
	if _, err := h.peer.UpdateConsumer(t.Context(), "MX_COMMANDS", c); err != nil {
		t.Fatal(err)
	}
	top := NewTopology(h.peer, good(), h.subjects, identity())
	err = top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler))
	for _, field := range []string{"max deliver is 5, want -1", "max ack pending is 1", "back-off", "ack wait"} {
		if !errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), "consumer memberwatch on MX_COMMANDS: "+field) {
			t.Errorf("error %v does not name %q", err, field)
		}
	}
	if err := top.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if steps := plan(t, top); len(steps) != 0 {
		t.Errorf("still to do once applied: %v", steps)
	}
}

func TestTopologyVerifyCreatesNothing(t *testing.T) {
	t.Parallel()
	peer := js(t, embeddedtest.Connect(t, embeddedtest.Start(t)))
	c := good()
	c.Topology = TopologyVerify
	err := NewTopology(peer, c, subjects(t), identity()).Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler))
	for _, object := range []string{
		"stream MX_COMMANDS", "stream MX_BACKGROUND", "stream MX_EVENTS", "stream MX_OAUTH", "stream MX_DEADLETTERS", "bucket MX_IDS",
		"consumer memberwatch on MX_COMMANDS", "consumer memberwatch-background on MX_BACKGROUND", "consumer memberwatch-follow on MX_EVENTS",
	} {
		if !errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), object+": missing") {
			t.Errorf("error %v does not say that %s is missing", err, object)
		}
	}
	if got := names(t, peer); len(got) != 0 {
		t.Errorf("streams %v were made", got)
	}
}

func TestTopologyOfAnotherMXIsRefusedForGood(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Identity){
		"host":   func(i *Identity) { i.MXHost = "api.mx.com" },
		"client": func(i *Identity) { i.ClientID = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			id := identity()
			change(&id)
			id.TypePrefix = "com.example" // could be applied, but must not be, beside what cannot
			top := NewTopology(h.peer, good(), h.subjects, id)
			if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), "SUBJECT_PREFIX") {
				t.Errorf("error %v, want drift that says what to do", err)
			}
			if err := top.Apply(t.Context()); !errors.Is(err, ErrDrift) {
				t.Errorf("applying: %v, want drift", err)
			}
			if got := stream(t, h.peer, "MX_EVENTS").Config.Metadata; got[metaTypePrefix] != "" || got[metaHost] != "int-api.mx.com" {
				t.Errorf("metadata was changed: %v", got)
			}
		})
	}
}

func TestTopologyOfAPrefixInOtherLettersIsRefusedForGood(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	s, err := events.NewSubjects("Mx")
	if err != nil {
		t.Fatal(err)
	}
	top := NewTopology(h.peer, good(), s, identity())
	if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDrift) || !strings.Contains(err.Error(), "use another SUBJECT_PREFIX") {
		t.Errorf("error %v, want drift that says what to do", err)
	}
	if err := top.Apply(t.Context()); !errors.Is(err, ErrDrift) {
		t.Errorf("applying: %v, want drift", err)
	}
	if got := stream(t, h.peer, "MX_EVENTS").Config.Subjects; !slices.Equal(got, []string{"mx.events.member.*.*.*"}) {
		t.Errorf("the subjects are %v now", got)
	}
}

func TestTopologyOfMoreCopiesThanThereAreServersSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	peer := js(t, embeddedtest.Connect(t, embeddedtest.Start(t)))
	c := good()
	c.StreamReplicas = 3
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := NewTopology(peer, c, subjects(t), identity()).Ready(ctx, noHealth{}, slog.New(slog.DiscardHandler))
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "STREAM_REPLICAS") {
		t.Errorf("error %v, want one that names the setting, at once", err)
	}
}

func TestTopologySettingsThatShapeEventsAreDriftThatCanBeApplied(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Identity){
		"EVENT_TYPE_PREFIX": func(i *Identity) { i.TypePrefix = "com.example" },
		"INITIAL_EVENTS":    func(i *Identity) { i.Initial = false },
		"AGGREGATED_EVENTS": func(i *Identity) { i.Aggregated = true },
		"OAUTH_URI_TTL":     func(i *Identity) { i.OAuthTTL = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			id := identity()
			change(&id)
			top := NewTopology(h.peer, good(), h.subjects, id)
			if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDrift) {
				t.Errorf("error %v, want drift", err)
			}
			if err := top.Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); err != nil {
				t.Errorf("once applied: %v", err)
			}
		})
	}
}

func TestTopologyIsMadeOnceByWorkersThatStartTogetherOnACluster(t *testing.T) {
	t.Parallel()
	servers := embeddedtest.StartCluster(t, 3)
	c := good()
	c.StreamReplicas = 3
	var wg sync.WaitGroup
	errs := make([]error, 5)
	peers := make([]jetstream.JetStream, len(errs))
	for i := range errs {
		peers[i] = js(t, embeddedtest.ConnectAll(t, servers))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := range errs {
		wg.Go(func() {
			errs[i] = NewTopology(peers[i], c, subjects(t), identity()).Ready(ctx, noHealth{}, slog.New(slog.DiscardHandler))
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, n := range names(t, peers[0]) {
		if r := stream(t, peers[0], n).Config.Replicas; r != 3 {
			t.Errorf("%s has %d copies", n, r)
		}
	}
}

func TestTopologyWaitsForNATSUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	srv := embeddedtest.Start(t)
	peer := js(t, embeddedtest.Connect(t, srv))
	srv.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := NewTopology(peer, good(), subjects(t), identity()).Ready(ctx, noHealth{}, slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, ErrDrift) {
		t.Errorf("error %v, want one that says that NATS does not answer", err)
	}
}

func TestServersThatAreTooOldAreRefused(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "2.12.0-RC.1": true, "3.0.0": true, "10.1": true,
		"2.11.9": false, "2.9.0": false, "1.4.1": false, "": false, "newest": false, "2": false,
	} {
		t.Run(fmt.Sprintf("%q", version), func(t *testing.T) {
			t.Parallel()
			err := checkServer(version)
			if (err == nil) != ok {
				t.Errorf("%v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "2.12") {
				t.Errorf("error %q does not say what is needed", err)
			}
		})
	}
}
