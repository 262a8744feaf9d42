package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// ErrDrift means that what is on NATS is not what this service needs.
var ErrDrift = errors.New("topology drift")

// Step is one difference between what is on NATS and what the service needs.
type Step struct {
	Object  string // "stream MX_EVENTS", "consumer memberwatch on MX_COMMANDS", "bucket MX_IDS"
	Missing bool   // it does not exist
	Field   string // what differs, if it exists
	Have    string
	Want    string
	// Fixed tells that the difference cannot be applied: it would make the events already there lie.
	Fixed bool
}

func (s Step) String() string {
	switch {
	case s.Missing:
		return s.Object + ": missing"
	case s.Fixed:
		return fmt.Sprintf("%s: %s is %s, this service has %s; cannot be changed: use another SUBJECT_PREFIX", s.Object, s.Field, s.Have, s.Want)
	}
	return fmt.Sprintf("%s: %s is %s, want %s", s.Object, s.Field, s.Have, s.Want)
}

// Topology compares what is on NATS with what the service needs, and changes it.
type Topology struct {
	js       jetstream.JetStream
	config   Config
	subjects events.Subjects
	identity Identity
}

// NewTopology returns the topology that c and id ask for.
func NewTopology(js jetstream.JetStream, c Config, s events.Subjects, id Identity) *Topology {
	return &Topology{js, c, s, id}
}

// Plan returns the differences; none when all is well. It changes nothing.
func (t *Topology) Plan(ctx context.Context) ([]Step, error) {
	var steps []Step
	for _, want := range streams(&t.config, t.subjects, t.identity) {
		s, err := t.stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			steps = append(steps, Step{Object: "stream " + want.Name, Missing: true})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at stream %s: %w", want.Name, err)
		}
		steps = append(steps, compareStream(s.CachedInfo().Config, want)...)
	}
	kv := bucket(&t.config, t.subjects)
	if s, err := t.stream(ctx, "KV_"+kv.Bucket); errors.Is(err, jetstream.ErrStreamNotFound) {
		steps = append(steps, Step{Object: "bucket " + kv.Bucket, Missing: true})
	} else if err != nil {
		return nil, fmt.Errorf("looking at bucket %s: %w", kv.Bucket, err)
	} else if have := s.CachedInfo().Config.Replicas; have != kv.Replicas {
		steps = append(steps, Step{Object: "bucket " + kv.Bucket, Field: "replicas", Have: strconv.Itoa(have), Want: strconv.Itoa(kv.Replicas)})
	}
	for _, want := range consumers(&t.config, t.subjects) {
		object := "consumer " + want.config.Durable + " on " + want.stream
		c, err := t.consumer(ctx, want.stream, want.config.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			steps = append(steps, Step{Object: object, Missing: true})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", object, err)
		}
		steps = append(steps, compareConsumer(object, c.CachedInfo().Config, want.config)...)
	}
	return steps, nil
}

func compareStream(have, want jetstream.StreamConfig) []Step {
	d := differ{object: "stream " + want.Name}
	d.fixed("retention", have.Retention, want.Retention)
	d.note("subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "))
	d.note("storage", have.Storage, want.Storage)
	d.note("replicas", have.Replicas, want.Replicas)
	d.note("discard", have.Discard, want.Discard)
	d.note("max age", have.MaxAge, want.MaxAge)
	d.note("max messages", have.MaxMsgs, want.MaxMsgs)
	d.note("max bytes", have.MaxBytes, want.MaxBytes)
	d.note("max messages per subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	d.note("duplicate window", have.Duplicates, want.Duplicates)
	d.note("compression", have.Compression, want.Compression)
	d.note("direct reads", have.AllowDirect, want.AllowDirect)
	d.note("roll-up", have.AllowRollup, want.AllowRollup)
	d.note("message schedules", have.AllowMsgSchedules, want.AllowMsgSchedules)
	for _, k := range []string{metaHost, metaClient, metaTypePrefix, metaInitial, metaAggregated} {
		w, ours := want.Metadata[k]
		h, there := have.Metadata[k]
		switch {
		case !ours || h == w && there:
		case there && (k == metaHost || k == metaClient):
			d.fixed(k, h, w)
		default:
			d.note(k, fmt.Sprintf("%q", h), fmt.Sprintf("%q", w))
		}
	}
	return d.steps
}

func compareConsumer(object string, have, want jetstream.ConsumerConfig) []Step {
	d := differ{object: object}
	d.note("filter", have.FilterSubject, want.FilterSubject)
	d.note("ack policy", have.AckPolicy, want.AckPolicy)
	d.note("ack wait", have.AckWait, want.AckWait)
	d.note("max deliver", have.MaxDeliver, want.MaxDeliver)
	d.note("max ack pending", have.MaxAckPending, want.MaxAckPending)
	if len(have.BackOff) > 0 {
		d.note("back-off", have.BackOff, "none (it would replace the ack wait)")
	}
	return d.steps
}

type differ struct {
	object string
	steps  []Step
}

func (d *differ) note(field string, have, want any) {
	if h, w := fmt.Sprint(have), fmt.Sprint(want); h != w {
		d.steps = append(d.steps, Step{Object: d.object, Field: field, Have: h, Want: w})
	}
}

func (d *differ) fixed(field string, have, want any) {
	n := len(d.steps)
	d.note(field, have, want)
	if len(d.steps) > n {
		d.steps[n].Fixed = true
	}
}

// setupTimeout bounds one request while the topology is made. On a cluster that
// is still forming a longer one only waits in vain; asking again is quick.
const setupTimeout = 2 * time.Second

// Ready makes the topology right, or waits until it is: missing objects are
// created unless TOPOLOGY is verify. What differs is an ErrDrift that names it.
// While NATS cannot answer it tells health why and goes on until ctx ends.
func (t *Topology) Ready(ctx context.Context, health Health) error {
	for {
		err := t.try(ctx)
		if err == nil || errors.Is(err, ErrDrift) || permanent(err) {
			health.Set(CheckTopology, err)
			return err
		}
		health.Set(CheckTopology, err)
		wait := 100*time.Millisecond + rand.N(400*time.Millisecond) //nolint:gosec // Spreads retries of several workers; nothing depends on it.
		select {
		case <-ctx.Done():
			return fmt.Errorf("preparing streams: %w", err)
		case <-time.After(wait):
		}
	}
}

// permanent reports whether asking again cannot help.
func permanent(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
}

func (t *Topology) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*setupTimeout)
	defer cancel()
	steps, err := t.Plan(ctx)
	if err != nil {
		return err
	}
	if t.config.Topology == TopologyEnsure && slices.ContainsFunc(steps, func(s Step) bool { return s.Missing }) {
		if err := t.create(ctx); err != nil {
			return err
		}
		if steps, err = t.Plan(ctx); err != nil {
			return err
		}
	}
	if len(steps) == 0 {
		return nil
	}
	lines := make([]string, len(steps))
	for i, s := range steps {
		lines[i] = s.String()
	}
	return fmt.Errorf("%w (see `memberwatch topology plan`):\n  %s", ErrDrift, strings.Join(lines, "\n  "))
}

// create makes what does not exist. What exists is left as it is.
func (t *Topology) create(ctx context.Context) error {
	for _, want := range streams(&t.config, t.subjects, t.identity) {
		if _, err := t.stream(ctx, want.Name); err == nil {
			continue
		}
		if err := t.ask(ctx, func(ctx context.Context) error {
			_, err := t.js.CreateStream(ctx, want)
			return err //nolint:wrapcheck // Wrapped below.
		}); err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("creating stream %s: %w", want.Name, err)
		}
	}
	kv := bucket(&t.config, t.subjects)
	if _, err := t.stream(ctx, "KV_"+kv.Bucket); err != nil {
		if err := t.ask(ctx, func(ctx context.Context) error {
			_, err := t.js.CreateKeyValue(ctx, kv)
			return err //nolint:wrapcheck // Wrapped below.
		}); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return fmt.Errorf("creating bucket %s: %w", kv.Bucket, err)
		}
	}
	for _, want := range consumers(&t.config, t.subjects) {
		if _, err := t.consumer(ctx, want.stream, want.config.Durable); err == nil {
			continue
		}
		if err := t.ask(ctx, func(ctx context.Context) error {
			_, err := t.js.CreateConsumer(ctx, want.stream, want.config)
			return err //nolint:wrapcheck // Wrapped below.
		}); err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
			return fmt.Errorf("creating consumer %s: %w", want.config.Durable, err)
		}
	}
	return nil
}

// stream looks a stream up. While its leader is elected nobody answers, so each
// look has a limit of its own.
func (t *Topology) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	return t.js.Stream(ctx, name) //nolint:wrapcheck // The caller does.
}

// consumer looks a consumer up, as stream does.
func (t *Topology) consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	return t.js.Consumer(ctx, stream, name) //nolint:wrapcheck // The caller does.
}

func (t *Topology) ask(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	return do(ctx)
}

// Apply creates what is missing and changes what differs. Differences that
// cannot be applied are an ErrDrift, and nothing is changed then.
func (t *Topology) Apply(ctx context.Context) error {
	steps, err := t.Plan(ctx)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.Fixed {
			return fmt.Errorf("%w: %s", ErrDrift, s)
		}
	}
	if err := t.create(ctx); err != nil {
		return err
	}
	for _, want := range streams(&t.config, t.subjects, t.identity) {
		if !concerns(steps, "stream "+want.Name) {
			continue
		}
		s, err := t.stream(ctx, want.Name)
		if err != nil {
			return fmt.Errorf("looking at stream %s: %w", want.Name, err)
		}
		want.Metadata = withMetadata(s.CachedInfo().Config.Metadata, want.Metadata)
		if _, err := t.js.UpdateStream(ctx, want); err != nil {
			return fmt.Errorf("changing stream %s: %w", want.Name, err)
		}
	}
	if kv := bucket(&t.config, t.subjects); concerns(steps, "bucket "+kv.Bucket) {
		if _, err := t.js.UpdateKeyValue(ctx, kv); err != nil {
			return fmt.Errorf("changing bucket %s: %w", kv.Bucket, err)
		}
	}
	for _, want := range consumers(&t.config, t.subjects) {
		if !concerns(steps, "consumer "+want.config.Durable+" on "+want.stream) {
			continue
		}
		if _, err := t.js.UpdateConsumer(ctx, want.stream, want.config); err != nil {
			return fmt.Errorf("changing consumer %s: %w", want.config.Durable, err)
		}
	}
	return nil
}

func concerns(steps []Step, object string) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Object == object && !s.Missing })
}
