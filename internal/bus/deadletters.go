package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// maxReason bounds the reason kept with a dead letter, in bytes.
const maxReason = 4 << 10

// payloadRoom is what the headers of a dead letter need of the server's max_payload.
const payloadRoom = 1 << 10

// letter is the dead letter of a message.
func letter(m *nats.Msg, meta *nats.MsgMetadata, c events.Category, reason string, now time.Time) events.DeadLetter {
	body, headers := m.Data, m.Header
	if headers == nil {
		headers = noHeaders()
	}
	sum := sha256.Sum256(body)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return events.DeadLetter{
		Headers:    headers,
		Body:       body[:min(len(body), events.MaxDeadLetterBody)],
		BodySize:   len(body),
		BodySHA256: hex.EncodeToString(sum[:]),
		Subject:    m.Subject,
		Stream:     meta.Stream,
		Sequence:   meta.Sequence.Stream,
		Reason:     reason,
		Category:   c,
		Attempts:   meta.NumDelivered,
		FirstAt:    meta.Timestamp.UTC(),
		DeadAt:     now.UTC(),
	}
}

// noHeaders are those of a letter that holds none: an object as with any other letter, not null.
func noHeaders() nats.Header { return nats.Header{} }

// bury stores a dead letter durably. Doing it again, because no answer came or
// the message was delivered again, stores nothing twice.
func (b *Bus) bury(ctx context.Context, l events.DeadLetter) error {
	data, err := fitting(l, int(b.nc.MaxPayload())-payloadRoom)
	if err != nil {
		return fmt.Errorf("encoding dead letter: %w", err)
	}
	_, err = publish(ctx, b.js, &nats.Msg{Subject: b.subjects.DeadLetter(l.Category), Data: data, Header: nats.Header{
		command.HeaderContentType: {"application/json"},
		jetstream.MsgIDHeader:     {l.Stream + "-" + strconv.FormatUint(l.Sequence, 10)},
	}})
	if errors.Is(err, refresh.ErrOutcomeUnknown) {
		return fmt.Errorf("no answer: %w", err)
	}
	return err
}

// fitting encodes a letter in no more than limit bytes, if that can be: it shortens
// the body, whose size and hash are kept, and leaves out the headers if it must.
func fitting(l events.DeadLetter, limit int) ([]byte, error) {
	data, err := json.Marshal(l)
	if over := len(data) - limit; err == nil && over > 0 {
		l.Body = l.Body[:max(0, len(l.Body)-over/4*3-3)] // of which base64 makes a third more
		data, err = json.Marshal(l)
	}
	if err == nil && len(data) > limit {
		l.Headers, l.Reason = noHeaders(), l.Reason+"; headers: left out, as the server's max_payload has no room for them"
		data, err = json.Marshal(l)
	}
	return data, err //nolint:wrapcheck // bury does.
}

// stored is the message as it lies on its stream: that of a follow-up comes
// without its body. A message that is gone is what has come of it.
func (d *delivery) stored(ctx context.Context) (*nats.Msg, error) {
	if d.lane.durable != consumerFollow {
		return d.msg, nil
	}
	s, err := streamOf(ctx, d.bus.js, d.meta.Stream)
	if err != nil {
		return nil, err
	}
	m, err := s.GetMsg(ctx, d.meta.Sequence.Stream)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return d.msg, nil
	}
	if err != nil {
		return nil, fmt.Errorf("getting message: %w", err)
	}
	return &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}, nil
}
