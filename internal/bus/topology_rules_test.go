package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// changeStream changes a stream as an operator would: on the spot, or else by
// making it anew.
func (h *house) changeStream(top *Topology, name string, change func(*jetstream.StreamConfig)) {
	h.t.Helper()
	c := stream(h.t, h.peer, name).Config
	change(&c)
	if _, err := h.peer.UpdateStream(h.t.Context(), c); err == nil {
		return
	}
	if err := h.peer.DeleteStream(h.t.Context(), name); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.peer.CreateStream(h.t.Context(), c); err != nil {
		h.t.Fatal(err)
	}
	if err := top.create(h.t.Context()); err != nil { // its consumer, which went with it
		h.t.Fatal(err)
	}
}

func (h *house) changeConsumer(name, durable string, change func(*jetstream.ConsumerConfig)) {
	h.t.Helper()
	cons, err := h.peer.Consumer(h.t.Context(), name, durable)
	if err != nil {
		h.t.Fatal(err)
	}
	c := cons.CachedInfo().Config
	change(&c)
	if _, err = h.peer.UpdateConsumer(h.t.Context(), name, c); err == nil {
		return
	}
	if err = h.peer.DeleteConsumer(h.t.Context(), name, durable); err != nil {
		h.t.Fatal(err)
	}
	if c.DeliverSubject != "" {
		_, err = h.peer.CreatePushConsumer(h.t.Context(), name, c)
	} else {
		_, err = h.peer.CreateConsumer(h.t.Context(), name, c)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// wantSteps compares the plan with want, each line up to what is to be done about
// it, and applies it; fixed tells that this must be refused.
func wantSteps(t *testing.T, top *Topology, fixed bool, want ...string) {
	t.Helper()
	var got []string
	for _, s := range plan(t, top) {
		line, advice, _ := strings.Cut(s.String(), ";")
		got = append(got, line)
		if s.Fixed && !strings.Contains(advice, "delete the ") {
			t.Errorf("%q does not say what to do", s)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("plan (-want +got):\n%s", diff)
	}
	if err := top.Apply(t.Context()); fixed != errors.Is(err, ErrDrift) || !fixed && err != nil {
		t.Fatalf("applying: %v", err)
	}
	if !fixed {
		if steps := plan(t, top); len(steps) != 0 {
			t.Errorf("still to do once applied: %v", steps)
		}
	}
}

func TestEverySettingOfAStreamThatAPromiseRestsOnIsCompared(t *testing.T) {
	t.Parallel()
	type config = jetstream.StreamConfig
	elsewhere := &jetstream.StreamSource{Name: "OTHER"}
	for name, tc := range map[string]struct {
		stream string
		change func(*config)
		want   string
		fixed  bool
	}{
		"retention":     {"MX_EVENTS", func(c *config) { c.Retention = jetstream.InterestPolicy }, "stream MX_EVENTS: retention is Interest, want Limits", false},
		"no work queue": {"MX_COMMANDS", func(c *config) { c.Retention = jetstream.LimitsPolicy }, "stream MX_COMMANDS: retention is Limits, want WorkQueue", true},
		"transform": {"MX_EVENTS", func(c *config) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		}, "stream MX_EVENTS: subject transform is > to x.>, want none", false},
		"sources":         {"MX_EVENTS", func(c *config) { c.Sources = []*jetstream.StreamSource{elsewhere} }, "stream MX_EVENTS: sources is OTHER, want none", false},
		"copies of URIs":  {"MX_OAUTH", func(c *config) { c.RePublish = &jetstream.RePublish{Source: ">", Destination: "y.>"} }, "stream MX_OAUTH: republishing is > to y.>, want none", false},
		"storage":         {"MX_EVENTS", func(c *config) { c.Storage = jetstream.MemoryStorage }, "stream MX_EVENTS: storage is Memory, want File", true},
		"persist mode":    {"MX_EVENTS", func(c *config) { c.PersistMode = jetstream.AsyncPersistMode }, "stream MX_EVENTS: persist mode is Async, want Default", true},
		"no answers":      {"MX_COMMANDS", func(c *config) { c.NoAck = true }, "stream MX_COMMANDS: acknowledgements off is true, want false", false},
		"deletes denied":  {"MX_BACKGROUND", func(c *config) { c.DenyDelete = true }, "stream MX_BACKGROUND: deletes denied is true, want false", true},
		"per subject":     {"MX_COMMANDS", func(c *config) { c.MaxMsgsPerSubject = 1 }, "stream MX_COMMANDS: max messages per subject is 1, want -1", false},
		"small messages":  {"MX_COMMANDS", func(c *config) { c.MaxMsgSize = 100 }, "stream MX_COMMANDS: max message size is 100, want -1", false},
		"old commands":    {"MX_COMMANDS", func(c *config) { c.MaxAge = time.Hour }, "stream MX_COMMANDS: max age is 1h0m0s, want 0s", false},
		"few schedules":   {"MX_BACKGROUND", func(c *config) { c.MaxMsgs = 5 }, "stream MX_BACKGROUND: max messages is 5, want -1", false},
		"schedules":       {"MX_EVENTS", func(c *config) { c.AllowMsgSchedules, c.AllowRollup = true, false }, "", true},
		"times to live":   {"MX_EVENTS", func(c *config) { c.AllowMsgTTL = true }, "stream MX_EVENTS: message TTLs is true, want false", true},
		"counters":        {"MX_DEADLETTERS", func(c *config) { c.AllowMsgCounter = true }, "stream MX_DEADLETTERS: counters is true, want false", true},
		"bucket history":  {"KV_MX_IDS", func(c *config) { c.MaxMsgsPerSubject = 5 }, "bucket MX_IDS: max messages per subject is 5, want 1", false},
		"bucket age":      {"KV_MX_IDS", func(c *config) { c.MaxAge = time.Hour }, "bucket MX_IDS: max age is 1h0m0s, want 0s", false},
		"bucket bytes":    {"KV_MX_IDS", func(c *config) { c.MaxBytes = 1 << 20 }, "bucket MX_IDS: max bytes is 1048576, want -1", false},
		"bucket values":   {"KV_MX_IDS", func(c *config) { c.MaxMsgSize = 10 }, "bucket MX_IDS: max message size is 10, want -1", false},
		"bucket storage":  {"KV_MX_IDS", func(c *config) { c.Storage = jetstream.MemoryStorage }, "bucket MX_IDS: storage is Memory, want File", true},
		"bucket roll-up":  {"KV_MX_IDS", func(c *config) { c.AllowRollup = false }, "bucket MX_IDS: roll-up is false, want true", false},
		"consumer limits": {"MX_COMMANDS", func(c *config) { c.ConsumerLimits.MaxAckPending = 200_000 }, "stream MX_COMMANDS: consumer limits is inactive threshold 0s, max ack pending 200000, want none", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			top := NewTopology(h.peer, good(), h.subjects, identity())
			if _, err := h.peer.CreateStream(t.Context(), config{Name: "OTHER", Subjects: []string{"other.>"}}); err != nil {
				t.Fatal(err)
			}
			h.changeStream(top, tc.stream, tc.change)
			if tc.want == "" { // the server turns roll-up on with it
				wantSteps(t, top, tc.fixed, "stream MX_EVENTS: roll-up is true, want false", "stream MX_EVENTS: message schedules is true, want false")
				return
			}
			wantSteps(t, top, tc.fixed, tc.want)
		})
	}
}

func TestAStreamMadeAnotherKindIsNamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   []string
		fixed  bool
	}{
		"sealed": {func(c *jetstream.StreamConfig) { c.Sealed = true }, []string{
			"stream MX_BACKGROUND: sealed is true, want false", "stream MX_BACKGROUND: deletes denied is true, want false",
			"stream MX_BACKGROUND: purges denied is true, want false", "stream MX_BACKGROUND: discard is DiscardNew, want DiscardOld",
			"stream MX_BACKGROUND: roll-up is false, want true",
		}, true},
		"purges denied": {func(c *jetstream.StreamConfig) { c.DenyPurge, c.AllowRollup, c.AllowMsgSchedules = true, false, false }, []string{
			"stream MX_BACKGROUND: purges denied is true, want false", "stream MX_BACKGROUND: roll-up is false, want true",
			"stream MX_BACKGROUND: message schedules is false, want true",
		}, true},
		"delete markers": {func(c *jetstream.StreamConfig) {
			c.AllowMsgTTL, c.MaxAge, c.SubjectDeleteMarkerTTL, c.AllowMsgSchedules = true, time.Hour, time.Minute, false
		}, []string{
			"stream MX_BACKGROUND: max age is 1h0m0s, want 0s", "stream MX_BACKGROUND: message schedules is false, want true",
			"stream MX_BACKGROUND: delete markers is 1m0s, want 0s",
		}, false},
		"discard per subject": {func(c *jetstream.StreamConfig) {
			c.Discard, c.DiscardNewPerSubject, c.MaxMsgsPerSubject, c.AllowMsgSchedules = jetstream.DiscardNew, true, 1, false
		}, []string{
			"stream MX_BACKGROUND: discard is DiscardNew, want DiscardOld", "stream MX_BACKGROUND: discard per subject is true, want false",
			"stream MX_BACKGROUND: max messages per subject is 1, want -1", "stream MX_BACKGROUND: message schedules is false, want true",
		}, false},
		"mirror": {func(c *jetstream.StreamConfig) {
			*c = jetstream.StreamConfig{Name: c.Name, Mirror: &jetstream.StreamSource{Name: "OTHER"}, Retention: c.Retention, MaxMsgsPerSubject: -1, Duplicates: c.Duplicates}
		}, []string{
			"stream MX_BACKGROUND: subjects is none, want mx.background.>", "stream MX_BACKGROUND: mirror is OTHER, want none",
			"stream MX_BACKGROUND: roll-up is false, want true", "stream MX_BACKGROUND: message schedules is false, want true",
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			top := NewTopology(h.peer, good(), h.subjects, identity())
			if _, err := h.peer.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.>"}}); err != nil {
				t.Fatal(err)
			}
			h.changeStream(top, "MX_BACKGROUND", tc.change)
			wantSteps(t, top, tc.fixed, tc.want...)
		})
	}
}

func TestEverySettingOfAConsumerThatAPromiseRestsOnIsCompared(t *testing.T) {
	t.Parallel()
	type config = jetstream.ConsumerConfig
	for name, tc := range map[string]struct {
		change func(*config)
		want   string
		fixed  bool
	}{
		"push":            {func(c *config) { c.DeliverSubject, c.MaxWaiting = "x", 0 }, "kind is push, want pull", true},
		"deliver policy":  {func(c *config) { c.DeliverPolicy = jetstream.DeliverNewPolicy }, "deliver policy is new, want all", true},
		"ack policy":      {func(c *config) { c.AckPolicy = jetstream.AckAllPolicy }, "ack policy is AckAll, want AckExplicit", true},
		"replay policy":   {func(c *config) { c.ReplayPolicy = jetstream.ReplayOriginalPolicy }, "replay policy is original, want instant", true},
		"memory":          {func(c *config) { c.MemoryStorage = true }, "memory storage is true, want false", true},
		"filter":          {func(c *config) { c.FilterSubject = "mx.events.member.connected.*.*" }, "filter is mx.events.member.connected.*.*, want none", false},
		"filters":         {func(c *config) { c.FilterSubjects = []string{"mx.events.member.a.*.*", "mx.events.member.b.*.*"} }, "filters is mx.events.member.a.*.* mx.events.member.b.*.*, want none", false},
		"headers only":    {func(c *config) { c.HeadersOnly = false }, "headers only is false, want true", false},
		"ack wait":        {func(c *config) { c.AckWait = time.Second }, "ack wait is 1s, want 15s", false},
		"max deliver":     {func(c *config) { c.MaxDeliver = 3 }, "max deliver is 3, want -1", false},
		"max ack pending": {func(c *config) { c.MaxAckPending = 1 }, "max ack pending is 1, want 100000", false},
		"request batch":   {func(c *config) { c.MaxRequestBatch = 1 }, "max request batch is 1, want 0", false},
		"request expires": {func(c *config) { c.MaxRequestExpires = time.Second }, "max request expires is 1s, want 0s", false},
		"request bytes":   {func(c *config) { c.MaxRequestMaxBytes = 100 }, "max request bytes is 100, want 0", false},
		"inactivity":      {func(c *config) { c.InactiveThreshold = time.Hour }, "inactive threshold is 1h0m0s, want 0s", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, good())
			h.changeConsumer("MX_EVENTS", consumerFollow, tc.change)
			wantSteps(t, NewTopology(h.peer, good(), h.subjects, identity()), tc.fixed, "consumer memberwatch-follow on MX_EVENTS: "+tc.want)
		})
	}
}

// An installation of before bodies were left out works as it is, until somebody applies.
func TestBodiesThatNobodyReadsAreNoDrift(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	h.changeConsumer("MX_EVENTS", consumerFollow, func(c *jetstream.ConsumerConfig) { c.HeadersOnly = false })
	top := NewTopology(h.peer, good(), h.subjects, identity())
	if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("not ready: %v", err)
	}
	if steps := plan(t, top); len(steps) != 1 || !steps[0].Works || !strings.Contains(steps[0].String(), "it works as it is") {
		t.Errorf("plan: %v", steps)
	}
	wantSteps(t, top, false, "consumer memberwatch-follow on MX_EVENTS: headers only is false, want true")

	// The other way round every body would be missing.
	h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true })
	if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDrift) {
		t.Errorf("commands without bodies: %v, want drift", err)
	}
}

// An installation of before the bound was raised works as it is, until somebody applies.
func TestABoundThatIsNoLowerThanTheFirstOneIsNoDrift(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	top := NewTopology(h.peer, good(), h.subjects, identity())
	for pending, works := range map[int]bool{leastAckPending: true, 2 * maxAckPending: true, -1: true, leastAckPending - 1: false} {
		h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) { c.MaxAckPending = pending })
		if err := top.Ready(t.Context(), noHealth{}, slog.New(slog.DiscardHandler)); works != (err == nil) || !works && !errors.Is(err, ErrDrift) {
			t.Errorf("with %d: %v", pending, err)
		}
		wantSteps(t, top, false, fmt.Sprintf("consumer memberwatch on MX_COMMANDS: max ack pending is %d, want %d", pending, maxAckPending))
	}
}

func TestManyDelayedCommandsKeepNoOtherFromBeingHandedOut(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	cons, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
	if err != nil {
		t.Fatal(err)
	}
	const many = leastAckPending + 1000 // as when a bank's members fail one by one
	for range many / 1000 {
		h.fill(1000)
		batch, err := cons.Fetch(1000)
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if err := m.NakWithDelay(time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.until("all are delayed", func() bool {
		i, err := cons.Info(t.Context())
		return err == nil && i.NumAckPending == many
	})
	h.start(h.Bus, in)
	h.publish(h.subjects.Refresh()+".USR-9.MBR-9", "", nil)
	if j := in.next(t); j.Command.Member != "MBR-9" {
		t.Errorf("job %+v", j)
	} else {
		done(j)
	}
}

func TestAConsumerThatWantsPriorityGroupsIsNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	h.changeConsumer("MX_EVENTS", consumerFollow, func(c *jetstream.ConsumerConfig) {
		c.PriorityPolicy, c.PriorityGroups, c.BackOff = jetstream.PriorityPolicyOverflow, []string{"a"}, []time.Duration{ackWait}
	})
	const object = "consumer memberwatch-follow on MX_EVENTS: "
	wantSteps(t, NewTopology(h.peer, good(), h.subjects, identity()), false,
		object+"back-off is [15s], want none", object+"priority policy is overflow, want none", object+"priority groups is a, want none")
}

func TestWhatIsTheOperatorsIsNoDriftAndIsKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	top := NewTopology(h.peer, good(), h.subjects, identity())
	if _, err := h.peer.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	changes := map[string]func(*jetstream.StreamConfig){
		"MX_COMMANDS": func(c *jetstream.StreamConfig) {
			c.MaxMsgs, c.MaxBytes, c.Compression, c.AllowMsgTTL, c.DenyDelete, c.DenyPurge = 1000, 1<<20, jetstream.S2Compression, true, true, true
			c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}}
		},
		"MX_BACKGROUND": func(c *jetstream.StreamConfig) { c.MaxConsumers, c.AllowMsgTTL = 9, true },
		"MX_EVENTS": func(c *jetstream.StreamConfig) {
			c.RePublish = &jetstream.RePublish{Source: ">", Destination: "copies.>"}
			c.DenyDelete, c.DenyPurge, c.AllowAtomicPublish = true, true, true
		},
		"MX_OAUTH": func(c *jetstream.StreamConfig) { c.ConsumerLimits.MaxAckPending = 10 },
		"MX_DEADLETTERS": func(c *jetstream.StreamConfig) {
			c.MaxBytes, c.MaxAge, c.MaxMsgs, c.MaxMsgsPerSubject, c.Compression = 1<<20, time.Hour, 100, 10, jetstream.S2Compression
		},
		"KV_MX_IDS": func(c *jetstream.StreamConfig) { c.Compression, c.AllowMsgTTL = jetstream.S2Compression, true },
	}
	before := make(map[string]jetstream.StreamConfig)
	for name, change := range changes {
		h.changeStream(top, name, func(c *jetstream.StreamConfig) {
			c.Description = "Theirs."
			change(c)
		})
		before[name] = stream(t, h.peer, name).Config
	}
	h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) {
		c.Description, c.SampleFrequency, c.Metadata = "Theirs.", "50", map[string]string{"theirs": "stays"}
	})
	if _, err := h.peer.PauseConsumer(t.Context(), "MX_COMMANDS", consumerCommands, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, top, false)

	for name := range changes {
		h.changeStream(top, name, func(c *jetstream.StreamConfig) { c.NoAck = true })
	}
	h.changeConsumer("MX_COMMANDS", consumerCommands, func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true })
	if err := top.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name := range changes {
		if diff := cmp.Diff(before[name], stream(t, h.peer, name).Config); diff != "" {
			t.Errorf("%s once applied (-before +after):\n%s", name, diff)
		}
	}
	cons, err := h.peer.Consumer(t.Context(), "MX_COMMANDS", consumerCommands)
	if err != nil {
		t.Fatal(err)
	}
	if c := cons.CachedInfo().Config; c.HeadersOnly || c.Description != "Theirs." || c.PauseUntil == nil || c.SampleFrequency != "50" || c.Metadata["theirs"] != "stays" {
		t.Errorf("consumer once applied: %+v", c)
	}
}

func TestAHostIsTheSameHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	id := identity()
	id.MXHost = "INT-API.mx.com."
	top := NewTopology(h.peer, good(), h.subjects, id)
	wantSteps(t, top, false)
	h.changeStream(top, "MX_EVENTS", func(c *jetstream.StreamConfig) { c.Metadata[metaHost] = "Int-API.mx.com." })
	wantSteps(t, top, false)
}

func TestCopiesAreCompared(t *testing.T) {
	t.Parallel()
	c := good()
	c.StreamReplicas = 3
	h := newHouse(t, c)
	top := NewTopology(h.peer, c, h.subjects, identity())
	h.changeConsumer("MX_EVENTS", consumerFollow, func(c *jetstream.ConsumerConfig) { c.Replicas = 3 })
	wantSteps(t, top, false) // said another way
	h.changeConsumer("MX_EVENTS", consumerFollow, func(c *jetstream.ConsumerConfig) { c.Replicas = 1 })
	h.changeStream(top, "MX_DEADLETTERS", func(c *jetstream.StreamConfig) { c.Replicas = 1 })
	wantSteps(t, top, false, "stream MX_DEADLETTERS: replicas is 1, want 3", "consumer memberwatch-follow on MX_EVENTS: replicas is 1, want 0")
}
