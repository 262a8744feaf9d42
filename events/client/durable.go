package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Durables made by this kit bear this metadata, and only those are changed.
const (
	madeByKey   = "memberwatch.made_by"
	madeByValue = "events/client"
)

const (
	ackWait      = 30 * time.Second
	standbyGroup = "memberwatch"
	standbyTTL   = 30 * time.Second // without a pull for so long, the working process is taken for gone
)

// interests returns the filters that s needs on each stream.
func (s *Subscription) interests(subjects events.Subjects) map[string][]string {
	all := map[string][]string{}
	stream := subjects.EventStream()
	if s.Stream != "" {
		stream = s.Stream
	}
	if s.Otherwise != nil {
		all[stream] = []string{subjects.Events()}
	}
	for _, t := range slices.Sorted(maps.Keys(s.On)) {
		switch {
		case t == events.TypeOAuthRequired:
			all[subjects.OAuthStream()] = []string{subjects.OAuth()}
		case s.Otherwise == nil:
			all[stream] = append(all[stream], strings.TrimSuffix(subjects.Events(), "*.*.*")+t.Token()+".*.*")
		}
	}
	return all
}

// durable finds the durable consumer of s on a stream, or makes it.
func (c *Client) durable(ctx context.Context, stream string, filters []string, s *Subscription) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cons, err := c.js.Consumer(ctx, stream, s.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound) && s.BindOnly:
		return nil, fmt.Errorf("%w: %s on %s", ErrNoDurable, s.Durable, stream)
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		if stream == s.Stream {
			if err := c.reaches(ctx, stream); err != nil {
				return nil, err
			}
		}
		cons, err = c.js.CreateConsumer(ctx, stream, s.config(filters))
		if err != nil {
			return nil, fmt.Errorf("making durable consumer: %w", missing(err))
		}
		return cons, nil
	case err != nil:
		return nil, fmt.Errorf("looking up durable consumer: %w", missing(err))
	}
	have := cons.CachedInfo().Config
	if why := unfit(have); why != "" {
		return nil, fmt.Errorf("%w: %s on %s %s", ErrDurable, s.Durable, stream, why)
	}
	lacking := uncovered(have, filters)
	if len(lacking) == 0 {
		return cons, nil
	}
	if s.BindOnly || have.Metadata[madeByKey] != madeByValue {
		return nil, fmt.Errorf("%w: %s on %s does not deliver %s", ErrDurable, s.Durable, stream, strings.Join(lacking, ", "))
	}
	// Only ever widened: while two versions of a consumer run side by side, the
	// older must not take from the newer what that one has asked for.
	cons, err = c.js.UpdateConsumer(ctx, stream, widened(have, filters))
	if err != nil {
		return nil, fmt.Errorf("adding types to durable consumer: %w", err)
	}
	return cons, nil
}

// unfit says why events would be lost on a durable, or unreadable; "": they are not.
func unfit(c jetstream.ConsumerConfig) string {
	switch {
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Sprintf("has ack policy %s, want explicit", c.AckPolicy)
	case c.MaxDeliver > 0: // Each restart of a consumer uses one up.
		return fmt.Sprintf("drops an event after %d deliveries, want max deliver -1; Attempts and GiveUp bound the tries", c.MaxDeliver)
	case c.HeadersOnly:
		return "delivers headers only, want bodies"
	}
	return ""
}

// reaches returns an error if no subject of a stream can match the filters of a
// durable: the server would take them and never send anything.
func (c *Client) reaches(ctx context.Context, name string) error {
	stream, err := c.stream(ctx, name)
	if err != nil {
		return err
	}
	want := c.subjects.Events()
	held := subjectsOf(stream.CachedInfo().Config)
	if slices.ContainsFunc(held, func(h string) bool { return overlap(h, want) }) {
		return nil
	}
	return fmt.Errorf("stream %s has no subject like %s, but %s: make the client with the prefix that subjects have there, "+
		"or bind to a durable without a filter", name, want, strings.Join(held, ", "))
}

// subjectsOf returns what the subjects in a stream match, as far as its
// configuration tells.
func subjectsOf(c jetstream.StreamConfig) []string {
	all := slices.Clone(c.Subjects)
	sources := slices.Clone(c.Sources)
	if c.Mirror != nil {
		sources = append(sources, c.Mirror)
	}
	for _, from := range sources {
		switch {
		case len(from.SubjectTransforms) > 0:
			for _, t := range from.SubjectTransforms {
				all = append(all, outcome(t))
			}
		case from.FilterSubject != "":
			all = append(all, from.FilterSubject)
		default:
			all = append(all, ">")
		}
	}
	if c.SubjectTransform != nil {
		all = append(all, outcome(*c.SubjectTransform))
	}
	return all
}

// outcome returns what the subjects match that a transform makes.
func outcome(t jetstream.SubjectTransformConfig) string {
	if t.Destination == "" { // It only filters.
		return t.Source
	}
	tokens := strings.Split(t.Destination, ".")
	for i, token := range tokens {
		switch {
		case strings.HasPrefix(token, "$"), strings.HasPrefix(token, "{{wildcard("):
			tokens[i] = "*"
		case strings.Contains(token, "{{"): // It may make several tokens.
			return strings.Join(append(tokens[:i], ">"), ".")
		}
	}
	return strings.Join(tokens, ".")
}

// overlap reports whether a subject can match both a and b.
func overlap(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		switch {
		case as[i] == ">", bs[i] == ">":
			return true
		case as[i] != bs[i] && as[i] != "*" && bs[i] != "*":
			return false
		}
	}
	return len(as) == len(bs)
}

// config is that of a durable made for s.
func (s *Subscription) config(filters []string) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable: s.Durable, FilterSubjects: filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
		MaxAckPending: max(1000, 4*s.Window), // room for the windows of several processes
		Metadata:      map[string]string{madeByKey: madeByValue},
	}
	switch {
	case s.Start.now:
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case s.Start.last:
		c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
	case s.Start.sequence > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.Start.sequence
	case !s.Start.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Start.since
	}
	if s.Standby {
		c.PriorityPolicy, c.PriorityGroups, c.PinnedTTL = jetstream.PriorityPolicyPinned, []string{standbyGroup}, standbyTTL
	}
	return c
}

// filtersOf returns a consumer's filters; none: it takes everything.
func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

// uncovered returns those of filters that a consumer does not deliver.
func uncovered(c jetstream.ConsumerConfig, filters []string) []string {
	have := filtersOf(c)
	if len(have) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(filters), func(f string) bool {
		return slices.ContainsFunc(have, func(h string) bool { return covers(h, f) })
	})
}

// covers reports whether every subject that matches b matches a.
func covers(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i, token := range as {
		switch {
		case i >= len(bs):
			return false
		case token == ">":
			return true
		case bs[i] == ">", token != "*" && token != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}

// widened adds filters to a consumer. The server refuses two that overlap, so
// those that a new one covers go.
func widened(c jetstream.ConsumerConfig, filters []string) jetstream.ConsumerConfig {
	all := slices.DeleteFunc(slices.Clone(filtersOf(c)), func(h string) bool {
		return slices.ContainsFunc(filters, func(f string) bool { return covers(f, h) })
	})
	for _, f := range filters {
		if !slices.ContainsFunc(all, func(h string) bool { return covers(h, f) }) {
			all = append(all, f)
		}
	}
	c.FilterSubject, c.FilterSubjects = "", all
	return c
}
