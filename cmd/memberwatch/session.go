package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// session is what somebody has who uses the service from outside: a connection
// to NATS, and the public contract.
type session struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
}

// localNATS is where serve and dev put their own NATS server.
const localNATS = "nats://127.0.0.1:4222"

// reachTimeout bounds how long a command waits for NATS: somebody is watching.
const reachTimeout = 5 * time.Second

// unwatched is the health of a program that nobody asks for it.
type unwatched struct{}

// Set implements bus.Health.
func (unwatched) Set(string, error) {}

// busConfig reads the settings of NATS alone.
func (p *program) busConfig(ctx context.Context) (bus.Config, error) {
	var c bus.Config
	problems := settings.Read(ctx, p.env, &c)
	problems = append(problems, c.Problems()...)
	problems = append(problems, natsURLProblems(c.URL)...)
	if c.URL == "" {
		c.URL = localNATS
	}
	return c, wrongSettings(problems)
}

// session connects to the NATS that the environment names. It must be closed.
func (p *program) session(ctx context.Context) (*session, error) {
	c, err := p.busConfig(ctx)
	if err != nil {
		return nil, err
	}
	return connectSession(ctx, c, slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelError})))
}

func connectSession(ctx context.Context, c bus.Config, log *slog.Logger, more ...nats.Option) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	subjects, err := events.NewSubjects(c.SubjectPrefix)
	if err != nil {
		return nil, fmt.Errorf("SUBJECT_PREFIX: %w", err)
	}
	// A person's own permissions hardly name an inbox of their own.
	more = append([]nats.Option{nats.CustomInboxPrefix("_INBOX")}, more...)
	nc, err := bus.Connect(ctx, c, "memberwatch-cli", unwatched{}, log, more...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	return &session{nc, js, subjects}, nil
}

func (c *session) close() { c.nc.Close() }

// send publishes a command and returns its sequence in the command stream.
func (c *session) send(ctx context.Context, cmd events.Command) (uint64, error) {
	body, err := json.Marshal(cmd)
	if err != nil {
		return 0, fmt.Errorf("encoding command: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	ack, err := c.js.Publish(ctx, c.subjects.Refresh(), body)
	if err != nil {
		return 0, c.explain(c.subjects.CommandStream(), fmt.Errorf("publishing command: %w", err))
	}
	return ack.Sequence, nil
}

// explain adds what to look at when a stream that the service makes is not there.
func (c *session) explain(stream string, err error) error {
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: there is no stream %s; has the service run here, with this SUBJECT_PREFIX?", err, stream)
	}
	return err
}

// window says which messages of a stream to read.
type window struct {
	stream  string
	filters []string  // subjects; none: all
	since   time.Time // zero: from the beginning
	follow  bool      // go on when the present end is reached
}

// read yields the messages in w, in stream order. An error ends it. When the end
// is that of ctx it ends without one.
func (c *session) read(ctx context.Context, w window) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		if err := c.each(ctx, w, func(m jetstream.Msg) bool { return yield(m, nil) }); err != nil {
			yield(nil, fmt.Errorf("reading stream %s: %w", w.stream, c.explain(w.stream, err)))
		}
	}
}

// each calls f with the messages in w until it returns false.
func (c *session) each(ctx context.Context, w window, f func(jetstream.Msg) bool) error {
	asking, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	how := jetstream.OrderedConsumerConfig{FilterSubjects: w.filters}
	if !w.since.IsZero() {
		how.DeliverPolicy, how.OptStartTime = jetstream.DeliverByStartTimePolicy, &w.since
	}
	s, err := c.js.Stream(asking, w.stream)
	if err != nil {
		return err //nolint:wrapcheck // read does.
	}
	end := s.CachedInfo().State.LastSeq
	cons, err := s.OrderedConsumer(asking, how)
	if err != nil {
		return err //nolint:wrapcheck // read does.
	}
	defer dispose(ctx, s, cons)
	if !w.follow && cons.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := cons.Messages(jetstream.PullExpiry(10*signOfLife), jetstream.PullHeartbeat(signOfLife))
	if err != nil {
		return err //nolint:wrapcheck // read does.
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			if ctx.Err() != nil {
				return nil // the caller has seen enough
			}
			return err //nolint:wrapcheck // read does.
		}
		meta, err := m.Metadata()
		if err != nil {
			return err //nolint:wrapcheck // read does.
		}
		// A time to come makes the server begin at the beginning (nats-server 2.15).
		early := meta.Timestamp.Before(w.since)
		if !early && !f(m) || !w.follow && (meta.NumPending == 0 || meta.Sequence.Stream >= end) {
			return nil
		}
	}
}

// unreadable says of an event that cannot be read where it is, how it may have come
// there, and what to do.
func unreadable(m jetstream.Msg, err error) error {
	where := m.Subject()
	if meta, bad := m.Metadata(); bad == nil {
		where = fmt.Sprintf("%s, stream sequence %d: %s", meta.Stream, meta.Sequence.Stream, where)
	}
	return fmt.Errorf("%s: event is unreadable: %w; somebody else has written it, or a newer version: "+
		"memberwatch verify tells what is wrong in the stream; see who may publish on this subject", where, err)
}

// signOfLife is how often the server shows that it still has our request. On a
// cluster the first one to a consumer that was just made may get lost: without two
// signs the client makes the consumer anew, from where it was.
const signOfLife = time.Second

// disposeTimeout bounds how long a command stays for the answer that its consumer
// is deleted. NATS gives none to those who may not, and carries it out unwatched.
const disposeTimeout = time.Second

// dispose deletes the consumer that cons reads with at last, also when ctx has
// ended: the server would keep it for minutes, and a script soon has thousands.
func dispose(ctx context.Context, s jetstream.Stream, cons jetstream.Consumer) {
	info := cons.CachedInfo()
	if info == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), disposeTimeout)
	defer cancel()
	_ = s.DeleteConsumer(ctx, info.Name) // Otherwise the server does, when it has been idle.
}

// errUnknownIDs: nothing is known of a pair of ids that a partner gave.
var errUnknownIDs = errors.New("these ids are not known")

// key finds the guids of a member. Guids stand for themselves; for a partner's
// own ids the service keeps what they meant when it was first asked.
func (c *session) key(ctx context.Context, user, member string) (events.Key, error) {
	if events.IsUserGUID(user) && events.IsMemberGUID(member) {
		return events.NewKey(user, member)
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	kv, err := c.js.KeyValue(ctx, c.subjects.IDBucket())
	if err != nil {
		return events.Key{}, fmt.Errorf("opening bucket %s: has the service run here, with this SUBJECT_PREFIX? %w", c.subjects.IDBucket(), err)
	}
	sum := sha256.Sum256([]byte(user + "\x00" + member))
	e, err := kv.Get(ctx, hex.EncodeToString(sum[:]))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return events.Key{}, fmt.Errorf("%w: user %q, member %q; refresh the member once, or give MX's guids (USR-…, MBR-…)", errUnknownIDs, user, member)
	}
	if err != nil {
		return events.Key{}, fmt.Errorf("looking up ids: %w", err)
	}
	var guids struct {
		User   string `json:"user_guid"`
		Member string `json:"member_guid"`
	}
	if err := json.Unmarshal(e.Value(), &guids); err != nil {
		return events.Key{}, fmt.Errorf("reading what ids mean: %w", err)
	}
	return events.NewKey(guids.User, guids.Member)
}
