package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Difference is one difference between what is on NATS and what the service needs.
type Difference struct {
	Object  string // "stream MX_EVENTS", "consumer memberwatch on MX_COMMANDS", "bucket MX_IDS"
	Missing bool   // it does not exist
	Field   string // what differs, if it exists
	Have    string
	Want    string
	// Fixed tells that the difference cannot be applied.
	Fixed bool
	// Works tells that the service works as it is, if not as well. No drift.
	Works bool
	// Foreign tells why: the stream is another installation's, and its events would lie.
	Foreign bool
}

func (s Difference) String() string {
	switch {
	case s.Missing:
		return s.Object + ": missing"
	case s.Foreign:
		return fmt.Sprintf("%s: %s is %s, this service has %s; cannot be changed: use another SUBJECT_PREFIX", s.Object, s.Field, s.Have, s.Want)
	}
	text := fmt.Sprintf("%s: %s is %s, want %s", s.Object, s.Field, s.Have, s.Want)
	kind, _, _ := strings.Cut(s.Object, " ")
	switch {
	case s.Works:
		return text + "; it works as it is, if not as well"
	case !s.Fixed:
		return text
	case kind == "stream":
		return text + "; NATS cannot change it: use another SUBJECT_PREFIX, or delete the stream with all that it holds and apply again"
	}
	return text + "; NATS cannot change it: delete the " + kind + " and apply again, which costs reads and no event"
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
func (t *Topology) Plan(ctx context.Context) ([]Difference, error) {
	var steps []Difference
	for _, want := range t.streams() {
		s, err := t.stream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			steps = append(steps, Difference{Object: want.object, Missing: true})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", want.object, err)
		}
		have := s.CachedInfo().Config
		for _, s := range compare(want.object, &have, &want.StreamConfig, want.rules()) {
			if s.Field == ruleSubjects && spelledOtherwise(t.subjects.Prefix(), have.Subjects) {
				s.Fixed, s.Foreign = true, true
			}
			steps = append(steps, s)
		}
		steps = append(steps, compareMetadata(want.object, have.Metadata, want.Metadata)...)
	}
	for _, want := range consumers(&t.config, t.subjects) {
		c, err := t.consumer(ctx, want.stream, want.config.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			steps = append(steps, Difference{Object: want.object(), Missing: true})
			continue
		}
		if errors.Is(err, jetstream.ErrNotPullConsumer) {
			steps = append(steps, Difference{Object: want.object(), Field: "kind", Have: "push", Want: "pull", Fixed: true})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", want.object(), err)
		}
		have := c.CachedInfo().Config
		if have.Replicas == t.config.StreamReplicas {
			have.Replicas = 0 // as many as its stream has, said another way
		}
		for _, s := range compare(want.object(), &have, &want.config, consumerRules()) {
			s.Works = s.bearable(&have)
			steps = append(steps, s)
		}
	}
	return steps, nil
}

// spelledOtherwise reports whether a stream is of an installation whose prefix differs
// from prefix in its case alone: their subjects are two, the names of their streams one.
func spelledOtherwise(prefix string, have []string) bool {
	return slices.ContainsFunc(have, func(subject string) bool {
		first, _, _ := strings.Cut(subject, ".")
		return first != prefix && strings.EqualFold(first, prefix)
	})
}

// kept is a stream as the service needs it.
type kept struct {
	jetstream.StreamConfig
	object string   // what it is called in a [Step]
	theirs []string // settings that are the operator's
}

func (k *kept) rules() []rule[jetstream.StreamConfig] { return without(streamRules(), k.theirs) }

// streams are all streams, that of the bucket included.
func (t *Topology) streams() []kept {
	left := theirs(t.subjects)
	var all []kept
	for _, c := range streams(&t.config, t.subjects, t.identity) {
		all = append(all, kept{c, "stream " + c.Name, left[c.Name]})
	}
	c := bucketStream(&t.config, t.subjects)
	return append(all, kept{c, "bucket " + t.subjects.IDBucket(), left[c.Name]})
}

// compareMetadata compares what the event stream says of whose events it holds.
func compareMetadata(object string, have, want map[string]string) []Difference {
	var steps []Difference
	for _, k := range []string{metaHost, metaClient, metaTypePrefix, metaInitial, metaAggregated} {
		w, ours := want[k]
		h, there := have[k]
		if !ours || there && (h == w || k == metaHost && hostName(h) == w) {
			continue
		}
		step := Difference{Object: object, Field: k, Have: strconv.Quote(h), Want: strconv.Quote(w)}
		if there && (k == metaHost || k == metaClient) {
			step.Have, step.Want, step.Fixed, step.Foreign = h, w, true, true
		}
		steps = append(steps, step)
	}
	return steps
}

// setupTimeout bounds one request while the topology is made. On a cluster that
// is still forming a longer one only waits in vain; asking again is quick.
const setupTimeout = 2 * time.Second

// Ready makes the topology right, or waits until it is: missing objects are
// created unless TOPOLOGY is verify. What differs is an ErrDrift that names it.
// While NATS cannot answer it tells health why, and log once for each reason that lasts,
// and goes on until ctx ends.
func (t *Topology) Ready(ctx context.Context, health Health, log *slog.Logger) error {
	said, last := "", ""
	for {
		err := t.try(ctx)
		health.Set(CheckTopology, err)
		if err == nil || errors.Is(err, ErrDrift) || permanent(err) {
			return err
		}
		if text := err.Error(); text == last && text != said && ctx.Err() == nil { // a server that starts has many for a moment
			said = text
			log.Warn("streams cannot be prepared yet; waiting", "error", err)
		} else {
			last = text
		}
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
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) ||
		errors.Is(err, errNotClustered)
}

// errNotClustered: the server stands alone and cannot keep copies.
var errNotClustered = errors.New("STREAM_REPLICAS is more than 1, and the server is in no cluster; set it to 1, or give NATS_URL the cluster")

func (t *Topology) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*setupTimeout)
	defer cancel()
	steps, err := t.Plan(ctx)
	if err != nil {
		return err
	}
	if t.config.Topology == TopologyEnsure && slices.ContainsFunc(steps, func(s Difference) bool { return s.Missing }) {
		if err := t.create(ctx); err != nil {
			return err
		}
		if steps, err = t.Plan(ctx); err != nil {
			return err
		}
	}
	return drift(steps)
}

// drift is the ErrDrift that names all steps without which the service does not
// work, nil when there are none.
func drift(steps []Difference) error {
	var lines []string
	for _, s := range steps {
		if !s.Works {
			lines = append(lines, s.String())
		}
	}
	if len(lines) == 0 {
		return nil
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
			if apiCode(err) == codeReplicasNotSupported {
				err = fmt.Errorf("%w: %w", errNotClustered, err)
			}
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

// Apply creates what is missing and changes what differs; what is the operator's
// stays. Differences that cannot be applied are an ErrDrift, and nothing is changed then.
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
	for _, want := range t.streams() {
		if !concerns(steps, want.object) {
			continue
		}
		s, err := t.stream(ctx, want.Name)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", want.object, err)
		}
		c := mended(s.CachedInfo().Config, want.StreamConfig, want.rules())
		c.Metadata = withMetadata(c.Metadata, want.Metadata)
		if _, err := t.js.UpdateStream(ctx, c); err != nil {
			return fmt.Errorf("changing %s: %w", want.object, err)
		}
	}
	for _, want := range consumers(&t.config, t.subjects) {
		if !concerns(steps, want.object()) {
			continue
		}
		have, err := t.consumer(ctx, want.stream, want.config.Durable)
		if err != nil {
			return fmt.Errorf("looking at %s: %w", want.object(), err)
		}
		c := mended(have.CachedInfo().Config, want.config, consumerRules())
		if _, err := t.js.UpdateConsumer(ctx, want.stream, c); err != nil {
			return fmt.Errorf("changing %s: %w", want.object(), err)
		}
	}
	return nil
}

func concerns(steps []Difference, object string) bool {
	return slices.ContainsFunc(steps, func(s Difference) bool { return s.Object == object && !s.Missing })
}
