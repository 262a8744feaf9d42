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
		cons, err = c.js.CreateConsumer(ctx, stream, s.config(filters))
		if err != nil {
			return nil, fmt.Errorf("making durable consumer: %w", missing(err))
		}
		return cons, nil
	case err != nil:
		return nil, fmt.Errorf("looking up durable consumer: %w", missing(err))
	}
	have := cons.CachedInfo().Config
	if have.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, fmt.Errorf("%w: %s on %s has ack policy %s, want explicit", ErrDurable, s.Durable, stream, have.AckPolicy)
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
