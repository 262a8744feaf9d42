package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Enqueue stores a command durably, with the door it came by. After an error it
// may be stored all the same; to store it again does no harm.
func (b *Bus) Enqueue(ctx context.Context, c events.Command, source refresh.Source) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encoding command: %w", err)
	}
	_, err = publish(ctx, b.js, &nats.Msg{Subject: b.subjects.Refresh(), Data: body, Header: nats.Header{
		command.HeaderContentType: {"application/json"},
		headerSource:              {string(source)},
	}})
	if err != nil {
		return fmt.Errorf("storing command: %w", err)
	}
	return nil
}

// sourceOf reads which door a command came by. Who may publish commands may
// write the header too, so it decides nothing; and it is a metric label, so no
// other value than ours passes.
func sourceOf(h nats.Header) refresh.Source {
	if command.Header(h, headerSource) == string(refresh.SourceWebhook) {
		return refresh.SourceWebhook
	}
	return refresh.SourceCommand
}
