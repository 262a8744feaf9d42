package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// What callers may want to tell apart.
var (
	// ErrNoStream: the stream is not there. Has the service run on this NATS, with this prefix?
	ErrNoStream = errors.New("no such stream")
	// ErrNoDurable: the subscription may only bind, and its durable consumer is not there.
	ErrNoDurable = errors.New("no such durable consumer")
	// ErrDurable: the durable consumer is there and does not fit the subscription.
	ErrDurable = errors.New("durable consumer does not fit")
	// ErrNoEvent: the service has never published anything about the member.
	ErrNoEvent = errors.New("no event of this member")
	// ErrNoResult: no result of the command came in time. The command may still be carried out.
	ErrNoResult = errors.New("no result")
)

// askTimeout bounds one question to the server.
const askTimeout = 5 * time.Second

// Client reads and commands one installation of memberwatch. It may be used
// concurrently.
type Client struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
}

// New returns a client of the installation called prefix (its SUBJECT_PREFIX,
// usually [events.DefaultPrefix]). The connection stays the caller's; one that
// reconnects for ever (nats.MaxReconnects(-1)) lets subscriptions outlast any
// outage of NATS.
func New(nc *nats.Conn, prefix string) (*Client, error) {
	subjects, err := events.NewSubjects(prefix)
	if err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("making client: using JetStream: %w", err)
	}
	return &Client{nc, js, subjects}, nil
}

// Subjects returns the subjects of the installation.
func (c *Client) Subjects() events.Subjects { return c.subjects }

// stream looks up a stream.
func (c *Client) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := c.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("looking up stream %s: %w", name, missing(err))
	}
	return s, nil
}

// missing adds [ErrNoStream] to the server's ways of saying so.
func missing(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: %w", ErrNoStream, err)
	}
	return err
}
