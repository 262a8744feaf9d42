package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Names of the service's durable consumers, one for each lane.
const (
	consumerCommands   = "memberwatch"
	consumerBackground = "memberwatch-background"
	consumerFollow     = "memberwatch-follow"
)

// maxAckPending bounds the messages of one consumer that are in hand or wait
// for their delay to pass, over all workers. A delayed message keeps its place,
// so this is far above what may be in flight: neither an outage nor a bank whose
// members all fail must stop the lane. The server looks through all of them, and
// writes them down up to ten times a second, whenever one is delayed anew. With so
// many, each tried again every five minutes, that is 0.4 cores, 8 MB/s to disk and
// 27 MB of memory for a consumer, and other commands are as quick as before; with
// 500,000 it is 0.7 cores, 38 MB/s and 108 MB, and each of the others costs a third
// more (BenchmarkACommandWhileOthersWait).
const maxAckPending = 100_000

// leastAckPending is what an installation may have without being told to change it:
// as many as the first versions asked for.
const leastAckPending = 20_000

// Identity is what makes two services write the same event stream in the same
// way. It is recorded with the stream; a start that disagrees is refused.
type Identity struct {
	MXHost     string // events of another MX are about other members
	ClientID   string // only its hash is recorded
	OAuthTTL   time.Duration
	TypePrefix string
	Initial    bool
	Aggregated bool
}

// Keys of the event stream's metadata.
const (
	metaHost       = "memberwatch.mx_host"
	metaClient     = "memberwatch.client"
	metaTypePrefix = "memberwatch.event_type_prefix"
	metaInitial    = "memberwatch.initial_events"
	metaAggregated = "memberwatch.aggregated_events"
)

func (i Identity) metadata() map[string]string {
	sum := sha256.Sum256([]byte("memberwatch client " + i.ClientID))
	return map[string]string{
		metaHost:       hostName(i.MXHost),
		metaClient:     hex.EncodeToString(sum[:8]),
		metaTypePrefix: i.TypePrefix,
		metaInitial:    strconv.FormatBool(i.Initial),
		metaAggregated: strconv.FormatBool(i.Aggregated),
	}
}

// hostName is the one way to write a host: names of hosts have no case, and the
// dot of the root at their end says nothing.
func hostName(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }

// Names of the settings that are the operator's on some of the streams.
const (
	ruleSubjects      = "subjects"
	ruleSources       = "sources"
	ruleRepublish     = "republishing"
	ruleNoDelete      = "deletes denied"
	ruleNoPurge       = "purges denied"
	ruleDiscard       = "discard"
	ruleMaxAge        = "max age"
	ruleMaxMsgs       = "max messages"
	ruleMaxBytes      = "max bytes"
	ruleMaxPerSubject = "max messages per subject"
	ruleCompression   = "compression"
	ruleMsgTTL        = "message TTLs"
	ruleConsumers     = "consumer limits"
)

// theirs are the settings that no promise rests on, by stream: an operator may
// have reasons for them. Deletes and purges are part of the protocol on the
// background stream alone; elsewhere only commands of people ask for them, and
// say so when they are refused.
func theirs(s events.Subjects) map[string][]string {
	deletions := []string{ruleNoDelete, ruleNoPurge}
	return map[string][]string{
		// A full queue refuses, and its publisher hears of it. Commands may come from another
		// stream, and may end when their publisher says.
		s.CommandStream():    append([]string{ruleMaxMsgs, ruleMaxBytes, ruleCompression, ruleSources, ruleRepublish, ruleMsgTTL}, deletions...),
		s.BackgroundStream(): {ruleRepublish, ruleMsgTTL},
		// Copies of events may go anywhere; a copy of a URI may not.
		s.EventStream(): append([]string{ruleRepublish}, deletions...),
		s.OAuthStream(): append([]string{ruleConsumers, ruleMsgTTL}, deletions...),
		// How many letters are kept, and for how long, is for those to say who read them.
		s.DeadLetterStream(): append([]string{
			ruleMaxAge, ruleMaxMsgs, ruleMaxBytes, ruleMaxPerSubject, ruleDiscard,
			ruleCompression, ruleRepublish, ruleMsgTTL, ruleConsumers,
		}, deletions...),
		"KV_" + s.IDBucket(): append([]string{ruleCompression, ruleRepublish, ruleMsgTTL, ruleConsumers}, deletions...),
	}
}

// streams returns the streams of the contract. What the server would default is
// written out where the protocol depends on it.
func streams(c *Config, s events.Subjects, id Identity) []jetstream.StreamConfig {
	base := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Replicas: c.StreamReplicas,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Duplicates: 2 * time.Minute,
	}
	commands := base
	commands.Name, commands.Subjects = s.CommandStream(), []string{s.Commands()}
	commands.Description = "Refresh commands. Publish here."
	commands.Retention = jetstream.WorkQueuePolicy
	commands.Discard = jetstream.DiscardNew // a full queue is told to the publisher, not made room in

	background := base
	background.Name, background.Subjects = s.BackgroundStream(), []string{s.Background()}
	background.Description = "Scheduled reads. Only workers publish here."
	background.Retention = jetstream.WorkQueuePolicy
	background.AllowMsgSchedules = true // the server turns roll-up on with it, which is why commands are elsewhere
	background.AllowRollup = true

	history := base
	history.Name, history.Subjects = s.EventStream(), []string{s.Events()}
	history.Description = "What happened to members; the last event of each is its state."
	history.MaxMsgsPerSubject = c.HistoryPerType
	history.Compression = jetstream.NoCompression // a compressed block is unpacked for every read of one message
	history.AllowDirect = false                   // direct reads may come from a replica that lags
	history.Metadata = id.metadata()

	oauth := base
	oauth.Name, oauth.Subjects = s.OAuthStream(), []string{s.OAuth()}
	oauth.Description = "Announcements with OAuth URIs. Who may read this may read URIs."
	oauth.MaxMsgsPerSubject = 1
	oauth.MaxAge, oauth.Duplicates = id.OAuthTTL, id.OAuthTTL

	dead := base
	dead.Name, dead.Subjects = s.DeadLetterStream(), []string{s.DeadLetters()}
	dead.Description = "What could not be carried out, and why."
	dead.Duplicates = time.Hour

	return []jetstream.StreamConfig{commands, background, history, oauth, dead}
}

// consumer is a durable of ours on one of the streams.
type consumer struct {
	stream string
	config jetstream.ConsumerConfig
}

// object is what it is called in a [Difference].
func (c *consumer) object() string { return "consumer " + c.config.Durable + " on " + c.stream }

func consumers(c *Config, s events.Subjects) []consumer {
	base := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1,
		MaxAckPending: maxAckPending, DeliverPolicy: jetstream.DeliverAllPolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
	commands, background, follow := base, base, base
	commands.Durable = consumerCommands
	background.Durable, background.FilterSubject = consumerBackground, s.BackgroundDue()
	follow.Durable = consumerFollow
	follow.HeadersOnly = true // which event it is says all; what it says is known, or recalled
	out := []consumer{{s.CommandStream(), commands}, {s.BackgroundStream(), background}}
	if c.FollowUpAfter > 0 {
		out = append(out, consumer{s.EventStream(), follow})
	}
	return out
}

// bucket is the key-value bucket of partners' own ids.
func bucket(c *Config, s events.Subjects) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: s.IDBucket(), Description: "Which guids partners' own ids meant; losing it costs reads.",
		History: 1, Replicas: c.StreamReplicas, Storage: jetstream.FileStorage,
	}
}

// bucketStream is the stream that the client makes for the bucket.
func bucketStream(c *Config, s events.Subjects) jetstream.StreamConfig {
	kv := bucket(c, s)
	return jetstream.StreamConfig{
		Name: "KV_" + kv.Bucket, Subjects: []string{"$KV." + kv.Bucket + ".>"},
		Storage: kv.Storage, Replicas: kv.Replicas, MaxMsgsPerSubject: int64(kv.History),
		MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, Discard: jetstream.DiscardNew, Duplicates: 2 * time.Minute,
		AllowDirect: true, AllowRollup: true,
	}
}

// withMetadata returns have with our keys replaced by want's; others' keys stay.
func withMetadata(have, want map[string]string) map[string]string {
	out := maps.Clone(have)
	if out == nil {
		out = make(map[string]string)
	}
	maps.Copy(out, want)
	return out
}
