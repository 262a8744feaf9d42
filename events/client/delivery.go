package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// Delivery is an event as it came.
type Delivery struct {
	events.Event

	// Raw is the CloudEvent as it is on the stream. It must not be changed.
	Raw []byte
	// Stream and Sequence are where it is stored.
	Stream   string
	Sequence uint64
	// Attempt counts the tries of this process to handle it, from 1. 0: it was not sent to a handler.
	Attempt int
	// Redelivered tells that the server has sent it before, to this process or another.
	Redelivered bool
	// Stale tells that this process remembers to have handled a later event of the
	// member ([Subscription.Memory]). Either this one was overtaken on its way to a
	// handler, since at least once comes before order; or [Subscription.DeliverStale]
	// asks for what the stream has out of order. A handler that keeps a state
	// compares: see [Delivery.Newer].
	Stale bool
}

// Newer tells whether the event is news to who knows its member as of a revision
// and its time of observation; zeros stand for one who knows nothing. Revision 1
// begins a new life of the member, as after it was forgotten, so it is newer than
// whatever was observed before it.
func (d Delivery) Newer(revision uint64, observed time.Time) bool {
	return d.Data.Revision > revision || d.Data.Revision == 1 && d.Data.ObservedAt.After(observed)
}

// Handler acts on an event. When it returns nil the event is acknowledged, else
// it is tried again; see [Permanent]. Its context ends when the subscription has
// been told to stop and its grace is over.
type Handler func(ctx context.Context, d Delivery) error

// As returns a handler that gets the event's data as a T of its own: fewer
// fields than [events.Data], or some that are newer than this package. Data that
// do not fit T are a [Permanent] error.
func As[T any](f func(ctx context.Context, d Delivery, data T) error) Handler {
	return func(ctx context.Context, d Delivery) error {
		var e struct {
			Data   T      `json:"data"`
			Base64 []byte `json:"data_base64"`
		}
		err := json.Unmarshal(d.Raw, &e)
		if err == nil && e.Base64 != nil {
			err = json.Unmarshal(e.Base64, &e.Data)
		}
		if err != nil {
			return Permanent(fmt.Errorf("decoding data as %T: %w", e.Data, err))
		}
		return f(ctx, d, e.Data)
	}
}

// Former returns the value that a field had before the event, as in
// Former[events.Status](d.Data, "connection_status"). changed is false when the
// field is as before; a field that was unknown, or the first sight of a member,
// gives the zero T.
func Former[T any](d events.Data, field string) (was T, changed bool, err error) {
	if !slices.Contains(d.Changed, field) {
		return was, false, nil
	}
	if raw, ok := d.Previous[field]; ok {
		if err := json.Unmarshal(raw, &was); err != nil {
			return was, true, fmt.Errorf("decoding former %s: %w", field, err)
		}
	}
	return was, true, nil
}

// errPermanent marks what no retry would mend.
var errPermanent = errors.New("permanent")

// Permanent marks a handler's error as one that no retry would mend: the event
// is given up at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errPermanent, err)
}
