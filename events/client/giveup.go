package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// ErrStopped is wrapped by what [Subscriber.Run] returns when the policy was to
// stop. The *[EventError] in it tells which event and why.
var ErrStopped = errors.New("subscription stopped")

// EventError is an event that cannot be handled, and why.
type EventError struct {
	Durable  string
	Delivery Delivery // Event is zero when it could not be read
	Subject  string
	Header   nats.Header
	Stored   time.Time // when the stream got it
	Attempts int       // tries of this process; 0: it could not be read
	Err      error
}

func (e *EventError) Error() string {
	return fmt.Sprintf("%s #%d on %s: %v", e.Delivery.Stream, e.Delivery.Sequence, e.Subject, e.Err)
}

func (e *EventError) Unwrap() error { return e.Err }

// GiveUp decides about an event that was tried often enough, or that no retry
// would mend. On nil the event is acknowledged. An error that wraps [ErrStopped]
// ends the subscription with the event still to be handled; after any other the
// event is tried again later. It may be called concurrently, for different
// members.
type GiveUp func(ctx context.Context, e *EventError) error

// Stop ends the subscription: [Subscriber.Run] returns the error, and the event
// is the first that comes when it is run again.
func Stop(_ context.Context, e *EventError) error { return fmt.Errorf("%w: %w", ErrStopped, e) }

// DeadLetterTo keeps events that are given up as [events.DeadLetter] on a subject
// of the consumer's own, which a stream must take: an event is not acknowledged
// before its letter is stored. A letter's category is [events.CategoryInvalid]
// when the event could not be read, else [events.CategoryExhausted]; its
// Nats-Msg-Id is made of durable, stream and sequence, so that giving up twice
// leaves one letter.
func (c *Client) DeadLetterTo(subject string, now func() time.Time) GiveUp {
	return func(ctx context.Context, e *EventError) error {
		raw := e.Delivery.Raw
		sum := sha256.Sum256(raw)
		letter := events.DeadLetter{
			Headers: e.Header, Body: raw[:min(len(raw), events.MaxDeadLetterBody)],
			BodySize: len(raw), BodySHA256: hex.EncodeToString(sum[:]),
			Subject: e.Subject, Stream: e.Delivery.Stream, Sequence: e.Delivery.Sequence,
			Reason: e.Err.Error(), Category: events.CategoryExhausted,
			Attempts: uint64(max(1, e.Attempts)), FirstAt: e.Stored.UTC(), DeadAt: now().UTC(),
		}
		if e.Attempts == 0 {
			letter.Category = events.CategoryInvalid
		}
		body, err := json.Marshal(letter)
		if err != nil {
			return fmt.Errorf("encoding dead letter: %w", err)
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		id := e.Durable + "-" + e.Delivery.Stream + "-" + strconv.FormatUint(e.Delivery.Sequence, 10)
		if _, err := c.js.Publish(ctx, subject, body, jetstream.WithMsgID(id)); err != nil {
			return fmt.Errorf("storing dead letter on %s: %w", subject, missing(err))
		}
		return nil
	}
}
