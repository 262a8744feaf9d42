package bus

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// States is the event stream as package refresh needs it.
type States struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
	getLast  string // API subject that reads from the stream's leader
	buffers  buffers
}

func newStates(nc *nats.Conn, js jetstream.JetStream, s events.Subjects) *States {
	return &States{nc: nc, js: js, subjects: s, getLast: "$JS.API.STREAM.MSG.GET." + s.EventStream()}
}

// lastMessage is the part of the answer to STREAM.MSG.GET that Last needs.
type lastMessage struct {
	Error   *apiError `json:"error"`
	Message struct {
		Sequence uint64 `json:"seq"`
		Data     []byte `json:"data"`
	} `json:"message"`
}

// Last implements refresh.States.
func (s *States) Last(ctx context.Context, k events.Key) (events.Event, uint64, error) {
	answer, err := s.ask(ctx, k)
	if err != nil {
		return events.Event{}, 0, err
	}
	seq, data, ok := storedIn(answer)
	if !ok {
		var m lastMessage
		if err := json.Unmarshal(answer, &m); err != nil {
			return events.Event{}, 0, fmt.Errorf("decoding answer: %w", err)
		}
		if done, err := m.Error.notFound(); done {
			return events.Event{}, 0, err
		}
		seq, data = m.Message.Sequence, m.Message.Data
	}
	e, err := events.Decode(data)
	if err == nil && e.Key != k {
		err = fmt.Errorf("it is about member %s", e.Key)
	}
	if err != nil {
		return events.Event{}, seq, fmt.Errorf("stream sequence %d: %w: %w", seq, refresh.ErrUnreadable, err)
	}
	return e, seq, nil
}

// LastID implements refresh.States.
func (s *States) LastID(ctx context.Context, k events.Key) (string, uint64, error) {
	answer, err := s.ask(ctx, k)
	if err != nil {
		return "", 0, err
	}
	if seq, ok := sequenceIn(answer); ok {
		if id, ok := idIn(answer); ok {
			return id, seq, nil
		}
	}
	var m lastMessage
	if err := json.Unmarshal(answer, &m); err != nil {
		return "", 0, fmt.Errorf("decoding answer: %w", err)
	}
	if done, err := m.Error.notFound(); done {
		return "", 0, err
	}
	// Read as Last reads it: what is an event to one must have the same id for the other.
	e, err := events.Decode(m.Message.Data)
	if err != nil {
		return "", m.Message.Sequence, nil //nolint:nilerr // What is no event has no id.
	}
	return e.ID, m.Message.Sequence, nil
}

// Epoch implements refresh.States. The client counts a connection before anything
// is sent over it.
func (s *States) Epoch() uint64 { return s.nc.Stats().Reconnects }

// Some implements refresh.States.
func (s *States) Some(ctx context.Context, n uint64) ([]events.Key, error) {
	return NewKnown(s.nc, s.js, s.subjects).some(ctx, n)
}

// sequenceIn finds the sequence in an answer without decoding the message in
// it, which is most of it: headers and data are base64 and hold no quote, and the
// subject is made of tokens, so the first "seq" is the message's.
func sequenceIn(answer []byte) (seq uint64, ok bool) {
	const key = `"seq":`
	_, rest, found := bytes.Cut(answer, []byte(key))
	if !found {
		return 0, false
	}
	n := 0
	for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
		n++
	}
	seq, err := strconv.ParseUint(string(rest[:n]), 10, 64)
	return seq, err == nil
}

// idIn finds the id of the event in an answer, as sequenceIn does, if it was encoded
// here: then its front is known.
func idIn(answer []byte) (id string, ok bool) {
	const front, most = `{"specversion":"1.0","id":"`, 120 // divides by 3: the base64 ends with a whole byte
	_, data, _ := bytes.Cut(answer, []byte(`"data":"`))
	var room [most]byte
	n, err := base64.StdEncoding.Decode(room[:], data[:min(len(data), most/3*4)])
	if err != nil || !bytes.HasPrefix(room[:n], []byte(front)) {
		return "", false
	}
	text, _, ok := bytes.Cut(room[len(front):n], []byte{'"'})
	return string(text), ok && !bytes.ContainsRune(text, '\\')
}

// storedIn finds the sequence and the data in an answer, as sequenceIn does: for
// the decoder they would be one long string, of which it looks at each byte twice.
func storedIn(answer []byte) (seq uint64, data []byte, ok bool) {
	_, rest, found := bytes.Cut(answer, []byte(`"data":"`))
	encoded, _, whole := bytes.Cut(rest, []byte{'"'})
	seq, ok = sequenceIn(answer)
	if !found || !whole || !ok {
		return 0, nil, false
	}
	data, err := base64.StdEncoding.AppendDecode(nil, encoded)
	return seq, data, err == nil
}

// ask reads the member's last message through the stream's leader.
func (s *States) ask(ctx context.Context, k events.Key) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q := make([]byte, 0, 160)
	q = append(q, `{"last_by_subj":"`...)
	q = append(q, s.subjects.EventsOf(k)...) // tokens of a Key need no escaping
	q = append(q, `"}`...)
	m, err := s.nc.RequestWithContext(ctx, s.getLast, q)
	if err != nil {
		return nil, fmt.Errorf("asking for last event: %w", err)
	}
	return m.Data, nil
}

// Append implements refresh.States. It sets no Nats-Msg-Id: on a replicated
// stream the server looks for duplicates first, and would swallow a rival's
// conflicting write instead of refusing it.
func (s *States) Append(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
	buffer := s.buffers.get()
	m, err := s.message(*buffer, e, after)
	if err != nil {
		return 0, err
	}
	defer s.buffers.put(buffer, m.Data)
	return publish(ctx, s.js, m)
}

// message is what stores e if the member's last sequence is still after. Its body
// is appended to buffer.
func (s *States) message(buffer []byte, e *events.Event, after uint64) (*nats.Msg, error) {
	body, err := e.AppendTo(buffer)
	if err != nil {
		return nil, err //nolint:wrapcheck // It says what could not be encoded.
	}
	values := []string{events.ContentType, strconv.FormatUint(after, 10), s.subjects.EventsOf(e.Key)}
	m := &nats.Msg{Subject: s.subjects.Event(e.Type, e.Key), Data: body, Header: nats.Header{
		command.HeaderContentType:           values[0:1:1],
		jetstream.ExpectedLastSubjSeqHeader: values[1:2:2],
		expectedLastSubjSeqSubject:          values[2:3:3],
	}}
	if e.Traceparent != "" {
		m.Header[command.HeaderTraceparent] = []string{e.Traceparent}
	}
	return m, nil
}

var _ refresh.States = (*States)(nil)
