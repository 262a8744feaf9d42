package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// Form is how a command is put on the wire.
type Form int

// The forms of a command.
const (
	// InBody names the member in the body: any id that MX takes may stand there.
	InBody Form = iota
	// InSubject names the member in the subject, so that rights to publish can be given by
	// user. Ids must then be one token: letters, digits, _ and -.
	InSubject
)

// Receipt tells that a command is stored and will be carried out.
type Receipt struct {
	CommandID string // what its result and the event it leads to will bear
	Sequence  uint64 // in the command stream
}

// Refresh publishes a command, under a new id when it has none, and returns when
// it is stored. An error that wraps [ErrNoStream] says that no service has run
// on this NATS; with any other but that of a bad command, it may be stored.
func (c *Client) Refresh(ctx context.Context, cmd events.Command, form Form) (Receipt, error) {
	if cmd.CommandID == "" {
		cmd.CommandID = rand.Text()
	}
	if err := cmd.Validate(); err != nil {
		return Receipt{}, fmt.Errorf("refreshing: %w", err)
	}
	subject := c.subjects.Refresh()
	if form == InSubject {
		var err error
		if subject, err = c.subjects.RefreshOf(cmd.User, cmd.Member); err != nil {
			return Receipt{}, fmt.Errorf("refreshing: %w", err)
		}
	}
	body, err := json.Marshal(cmd)
	if err != nil {
		return Receipt{}, fmt.Errorf("refreshing: encoding command: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ack, err := c.js.Publish(ctx, subject, body)
	if err != nil {
		return Receipt{}, fmt.Errorf("refreshing: publishing command on %s: %w", subject, missing(err))
	}
	return Receipt{CommandID: cmd.CommandID, Sequence: ack.Sequence}, nil
}

// RefreshAndWait publishes a command as [Client.Refresh] does and waits for its
// result, whatever its outcome, until ctx ends: [ErrNoResult]. The receipt is
// valid then too. It needs the right to subscribe to the result's subject.
func (c *Client) RefreshAndWait(ctx context.Context, cmd events.Command, form Form) (events.Result, Receipt, error) {
	if cmd.CommandID == "" {
		cmd.CommandID = rand.Text()
	}
	if err := cmd.Validate(); err != nil { // before its id becomes a subject
		return events.Result{}, Receipt{}, fmt.Errorf("refreshing: %w", err)
	}
	// A result is sent once and kept nowhere, so we listen before we ask.
	results, err := c.nc.SubscribeSync(c.subjects.Result(cmd.CommandID))
	if err != nil {
		return events.Result{}, Receipt{}, fmt.Errorf("listening for result: %w", err)
	}
	defer func() { _ = results.Unsubscribe() }() // It fails only on a connection that is closed.
	flushing, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(flushing); err != nil {
		return events.Result{}, Receipt{}, fmt.Errorf("listening for result: %w", err)
	}
	receipt, err := c.Refresh(ctx, cmd, form)
	if err != nil {
		return events.Result{}, receipt, err
	}
	m, err := results.NextMsgWithContext(ctx)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) {
			err = fmt.Errorf("%w: %w", ErrNoResult, err)
		}
		return events.Result{}, receipt, fmt.Errorf("waiting for result of command %s: %w", receipt.CommandID, err)
	}
	r, err := events.DecodeResult(m.Data)
	if err != nil {
		return events.Result{}, receipt, fmt.Errorf("reading result of command %s: %w", receipt.CommandID, err)
	}
	return r, receipt, nil
}
