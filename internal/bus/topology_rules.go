package bus

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// rule is one setting of a stream or a consumer on which a promise rests.
// Settings without a rule are the operator's: placement, descriptions, how many
// consumers there may be, a pause.
type rule[C any] struct {
	name string
	at   func(*C) any // points to the setting
	// fixed tells that NATS refuses to change it from what it is; nil: it never does.
	fixed func(have, want *C) bool
}

func streamRules() []rule[jetstream.StreamConfig] {
	type config = jetstream.StreamConfig
	always := func(_, _ *config) bool { return true }
	return []rule[config]{
		{"retention", func(c *config) any { return &c.Retention }, func(have, want *config) bool {
			return have.Retention == jetstream.WorkQueuePolicy || want.Retention == jetstream.WorkQueuePolicy
		}},
		{ruleSubjects, func(c *config) any { return &c.Subjects }, nil},
		{"subject transform", func(c *config) any { return &c.SubjectTransform }, nil}, // what is stored would be on other subjects
		{"mirror", func(c *config) any { return &c.Mirror }, nil},                      // it takes no message but the other's
		{ruleSources, func(c *config) any { return &c.Sources }, nil},
		{ruleRepublish, func(c *config) any { return &c.RePublish }, nil},
		{"storage", func(c *config) any { return &c.Storage }, always},
		{"persist mode", func(c *config) any { return &c.PersistMode }, always}, // async may lose what was acknowledged
		{"replicas", func(c *config) any { return &c.Replicas }, nil},
		{"acknowledgements off", func(c *config) any { return &c.NoAck }, nil},
		{"sealed", func(c *config) any { return &c.Sealed }, func(have, _ *config) bool { return have.Sealed }},
		{ruleNoDelete, func(c *config) any { return &c.DenyDelete }, func(have, _ *config) bool { return have.DenyDelete }},
		{ruleNoPurge, func(c *config) any { return &c.DenyPurge }, func(have, _ *config) bool { return have.DenyPurge }},
		{ruleDiscard, func(c *config) any { return &c.Discard }, nil},
		{"discard per subject", func(c *config) any { return &c.DiscardNewPerSubject }, nil},
		{ruleMaxAge, func(c *config) any { return &c.MaxAge }, nil},
		{ruleMaxMsgs, func(c *config) any { return &c.MaxMsgs }, nil},
		{ruleMaxBytes, func(c *config) any { return &c.MaxBytes }, nil},
		{ruleMaxPerSubject, func(c *config) any { return &c.MaxMsgsPerSubject }, nil},
		{"max message size", func(c *config) any { return &c.MaxMsgSize }, nil},
		{"duplicate window", func(c *config) any { return &c.Duplicates }, nil},
		{ruleCompression, func(c *config) any { return &c.Compression }, nil},
		{"direct reads", func(c *config) any { return &c.AllowDirect }, nil},
		{"roll-up", func(c *config) any { return &c.AllowRollup }, nil},
		{"message schedules", func(c *config) any { return &c.AllowMsgSchedules }, func(have, _ *config) bool { return have.AllowMsgSchedules }},
		{ruleMsgTTL, func(c *config) any { return &c.AllowMsgTTL }, func(have, _ *config) bool { return have.AllowMsgTTL }},
		{"delete markers", func(c *config) any { return &c.SubjectDeleteMarkerTTL }, nil}, // they would be read as messages
		{"counters", func(c *config) any { return &c.AllowMsgCounter }, always},
		{ruleConsumers, func(c *config) any { return &c.ConsumerLimits }, nil},
	}
}

// Names of the settings of a consumer that the service may work without.
const (
	ruleHeadersOnly = "headers only"
	ruleAckPending  = "max ack pending"
)

func consumerRules() []rule[jetstream.ConsumerConfig] {
	type config = jetstream.ConsumerConfig
	always := func(_, _ *config) bool { return true }
	return []rule[config]{
		{"deliver policy", func(c *config) any { return &c.DeliverPolicy }, always},
		{"ack policy", func(c *config) any { return &c.AckPolicy }, always},
		{"replay policy", func(c *config) any { return &c.ReplayPolicy }, always},
		{"memory storage", func(c *config) any { return &c.MemoryStorage }, always},
		{"filter", func(c *config) any { return &c.FilterSubject }, nil},
		{"filters", func(c *config) any { return &c.FilterSubjects }, nil},
		{ruleHeadersOnly, func(c *config) any { return &c.HeadersOnly }, nil}, // every body would be missing
		{"ack wait", func(c *config) any { return &c.AckWait }, nil},
		{"back-off", func(c *config) any { return &c.BackOff }, nil}, // it would replace the ack wait
		{"max deliver", func(c *config) any { return &c.MaxDeliver }, nil},
		{ruleAckPending, func(c *config) any { return &c.MaxAckPending }, nil},
		{"max request batch", func(c *config) any { return &c.MaxRequestBatch }, nil},
		{"max request expires", func(c *config) any { return &c.MaxRequestExpires }, nil},
		{"max request bytes", func(c *config) any { return &c.MaxRequestMaxBytes }, nil},
		{"inactive threshold", func(c *config) any { return &c.InactiveThreshold }, nil}, // it would go while no worker runs
		{"priority policy", func(c *config) any { return &c.PriorityPolicy }, nil},
		{"priority groups", func(c *config) any { return &c.PriorityGroups }, nil},
		{"replicas", func(c *config) any { return &c.Replicas }, nil},
	}
}

// without returns rules save those that are left to the operator.
func without[C any](rules []rule[C], theirs []string) []rule[C] {
	return slices.DeleteFunc(rules, func(r rule[C]) bool { return slices.Contains(theirs, r.name) })
}

// compare returns where have is not as rules and want ask for.
func compare[C any](object string, have, want *C, rules []rule[C]) []Difference {
	var steps []Difference
	for _, r := range rules {
		if h, w := show(r.at(have)), show(r.at(want)); h != w {
			steps = append(steps, Difference{Object: object, Field: r.name, Have: h, Want: w, Fixed: r.fixed != nil && r.fixed(have, want)})
		}
	}
	return steps
}

// bearable reports whether the service works with a difference of a consumer. One of
// before bodies were left out sends them, and nobody reads them; one of before the bound
// was raised stops for fewer delayed messages, and the operator's own bound may be any
// that is not lower.
func (s *Difference) bearable(have *jetstream.ConsumerConfig) bool {
	switch s.Field {
	case ruleHeadersOnly:
		return !have.HeadersOnly
	case ruleAckPending:
		return have.MaxAckPending < 0 || have.MaxAckPending >= leastAckPending
	}
	return false
}

// mended returns have with what rules are about taken from want. All else stays
// as it is: it is the operator's.
func mended[C any](have, want C, rules []rule[C]) C {
	for _, r := range rules {
		reflect.ValueOf(r.at(&have)).Elem().Set(reflect.ValueOf(r.at(&want)).Elem())
	}
	return have
}

// show writes what field points to for people.
func show(field any) string {
	v := reflect.ValueOf(field).Elem()
	switch s := v.Interface().(type) {
	case []string:
		return orNone(strings.Join(s, " "))
	case *jetstream.StreamSource:
		return sources(s)
	case []*jetstream.StreamSource:
		return sources(s...)
	case *jetstream.SubjectTransformConfig:
		if s != nil {
			return s.Source + " to " + s.Destination
		}
	case *jetstream.RePublish:
		if s != nil {
			return s.Source + " to " + s.Destination
		}
	case jetstream.StreamConsumerLimits:
		if s != (jetstream.StreamConsumerLimits{}) {
			return fmt.Sprintf("inactive threshold %s, max ack pending %d", s.InactiveThreshold, s.MaxAckPending)
		}
	case jetstream.PriorityPolicy:
		name, err := s.MarshalJSON()
		if err != nil { // A newer server's.
			return strconv.Itoa(int(s))
		}
		return orNone(strings.Trim(string(name), `"`))
	default:
		if v.Kind() != reflect.Slice || v.Len() > 0 {
			return orNone(fmt.Sprint(s))
		}
	}
	return orNone("")
}

func sources(all ...*jetstream.StreamSource) string {
	var names []string
	for _, s := range all {
		if s != nil {
			names = append(names, s.Name)
		}
	}
	return orNone(strings.Join(names, " "))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
