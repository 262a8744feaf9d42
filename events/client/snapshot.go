package client

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Last returns the last event of a member, which holds its present state, or
// [ErrNoEvent]. It asks the leader of the stream: one answer, one message.
func (c *Client) Last(ctx context.Context, k events.Key) (Delivery, error) {
	stream := c.subjects.EventStream()
	s, err := c.stream(ctx, stream)
	if err != nil {
		return Delivery{}, fmt.Errorf("reading last event of %s: %w", k, err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := s.GetLastMsgForSubject(ctx, c.subjects.EventsOf(k))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Delivery{}, fmt.Errorf("%w: %s", ErrNoEvent, k)
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("reading last event of %s: %w", k, err)
	}
	d := Delivery{Raw: m.Data, Stream: stream, Sequence: m.Sequence}
	if d.Event, err = events.Decode(m.Data); err != nil {
		return d, &EventError{Delivery: d, Subject: m.Subject, Header: m.Header, Stored: m.Time, Err: err}
	}
	return d, nil
}

// Snapshot is the present state of all members.
type Snapshot struct {
	// Sequence is where the event stream ended when the snapshot was begun: a
	// subscription that starts [After] it misses nothing, and sees some events twice.
	Sequence uint64

	client *Client
	room   int // members remembered at once
}

// snapshotRoom is how many members one pass over the stream takes: about 60 MiB.
const snapshotRoom = 1 << 20

// Snapshot begins a snapshot.
func (c *Client) Snapshot(ctx context.Context) (*Snapshot, error) {
	s, err := c.stream(ctx, c.subjects.EventStream())
	if err != nil {
		return nil, fmt.Errorf("taking snapshot: %w", err)
	}
	return &Snapshot{Sequence: s.CachedInfo().State.LastSeq, client: c, room: snapshotRoom}, nil
}

// Members yields the last event of each member, deleted ones included, in no
// order that means anything. A member that changes meanwhile may come twice, the
// later state later. Errors are as those of [Client.Replay].
//
// The stream keeps the last event of each type and member, at most 29 of a
// member, and only their order tells which is a member's last. So it is read
// twice: first without bodies, to note the last sequence of each member, then
// with bodies, to yield the events noted. What is noted is bounded: with more
// than 1,048,576 members each million costs two such passes.
func (s *Snapshot) Members(ctx context.Context) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		for next := uint64(0); ; {
			p := &pass{from: next, to: math.MaxUint64, room: s.room, last: map[digest]uint64{}}
			more, err := s.pass(ctx, p, yield)
			if err != nil {
				yield(Delivery{}, fmt.Errorf("taking snapshot: %w", err))
			}
			if err != nil || !more || p.to == math.MaxUint64 {
				return
			}
			next = p.to + 1
		}
	}
}

// digest names a member in 16 bytes, whatever the length of its guids.
type digest [16]byte

func digestOf(member string) (d digest) {
	sum := sha256.Sum256([]byte(member))
	copy(d[:], sum[:])
	return d
}

// pass takes the members whose digests begin with a number between from and to,
// both included.
type pass struct {
	from, to uint64
	room     int
	last     map[digest]uint64 // sequence of the last event
}

func (p *pass) takes(d digest) bool {
	n := binary.BigEndian.Uint64(d[:])
	return n >= p.from && n <= p.to
}

// note notes a sequence. When there are more members than room, the upper half
// of those that the pass takes is left to later ones.
func (p *pass) note(d digest, sequence uint64) {
	if !p.takes(d) {
		return
	}
	p.last[d] = sequence
	for len(p.last) > p.room && p.to > p.from {
		p.to = p.from + (p.to-p.from)/2
		for d := range p.last {
			if !p.takes(d) {
				delete(p.last, d)
			}
		}
	}
}

// pass yields the last events of the members that p takes.
func (s *Snapshot) pass(ctx context.Context, p *pass, yield func(Delivery, error) bool) (more bool, err error) {
	stream, err := s.client.stream(ctx, s.client.subjects.EventStream())
	if err != nil {
		return false, err
	}
	how := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.client.subjects.Events()}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true,
	}
	err = s.client.walk(ctx, stream, how, func(m jetstream.Msg, meta *jetstream.MsgMetadata) bool {
		p.note(digestOf(memberOf(m.Subject())), meta.Sequence.Stream)
		return true
	})
	if err != nil {
		return false, err
	}
	// What came since the first look is taken too: it may have pushed out what was noted.
	if stream, err = s.client.stream(ctx, s.client.subjects.EventStream()); err != nil {
		return false, err
	}
	how.HeadersOnly = false
	more = true
	err = s.client.walk(ctx, stream, how, func(m jetstream.Msg, meta *jetstream.MsgMetadata) bool {
		d := digestOf(memberOf(m.Subject()))
		if !p.takes(d) || meta.Sequence.Stream < p.last[d] {
			return true
		}
		more = yield(read(s.client.subjects.EventStream(), m.Data(), m, meta))
		return more
	})
	return more, err
}
