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
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// maxReason bounds the reason kept with a dead letter, in bytes.
const maxReason = 4 << 10

// letter is the dead letter of a message.
func letter(m *nats.Msg, meta *nats.MsgMetadata, c events.Category, reason string, now time.Time) events.DeadLetter {
	body := m.Data
	sum := sha256.Sum256(body)
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return events.DeadLetter{
		Headers:    m.Header,
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

// bury stores a dead letter durably. Doing it again, because no answer came or
// the message was delivered again, stores nothing twice.
func (b *Bus) bury(ctx context.Context, l events.DeadLetter) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encoding dead letter: %w", err)
	}
	_, err = publish(ctx, b.js, &nats.Msg{Subject: b.subjects.DeadLetter(l.Category), Data: data, Header: nats.Header{
		headerContentType:     {"application/json"},
		jetstream.MsgIDHeader: {l.Stream + "-" + strconv.FormatUint(l.Sequence, 10)},
	}})
	if errors.Is(err, refresh.ErrOutcomeUnknown) {
		return fmt.Errorf("no answer: %w", err)
	}
	return err
}
