package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

// publish stores m and returns its stream sequence. Errors are
// refresh.ErrConflict, refresh.ErrOutcomeUnknown, refresh.ErrTooLarge,
// refresh.ErrRefused, or that it could not be sent.
func publish(ctx context.Context, js jetstream.JetStream, m *nats.Msg, opts ...jetstream.PublishOpt) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ack, err := js.PublishMsg(ctx, m, opts...)
	if err == nil {
		return ack.Sequence, nil
	}
	switch code := apiCode(err); code {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return 0, fmt.Errorf("%w: %w", refresh.ErrConflict, err)
	case 0, codeTemporarilyUnavailable, codeDuplicateInProcess:
		if errors.Is(err, nats.ErrMaxPayload) {
			return 0, fmt.Errorf("%w: %w", refresh.ErrTooLarge, err)
		}
		if errors.Is(err, nats.ErrReconnectBufExceeded) {
			return 0, fmt.Errorf("sending: %w", err) // it never left
		}
		return 0, fmt.Errorf("%w: %w", refresh.ErrOutcomeUnknown, err)
	case codeMessageTooLarge:
		return 0, fmt.Errorf("%w: %w", refresh.ErrTooLarge, err)
	default:
		return 0, fmt.Errorf("%w: %w", refresh.ErrRefused, err)
	}
}
