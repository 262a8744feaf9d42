package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// What callers may want to tell apart.
var (
	// ErrNoStream: the stream is not there. Has the service run on this NATS, with this
	// prefix? Are its streams in another account, see [WithAPIPrefix]?
	ErrNoStream = errors.New("no such stream")
	// ErrNoDurable: the subscription may only bind, and its durable consumer is not there.
	ErrNoDurable = errors.New("no such durable consumer")
	// ErrDurable: the durable consumer is there and does not fit the subscription.
	ErrDurable = errors.New("durable consumer does not fit")
	// ErrNoEvent: the service has never published anything about the member.
	ErrNoEvent = errors.New("no event of this member")
	// ErrNoResult: no result of the command came in time. The command may still be carried out.
	ErrNoResult = errors.New("no result")
	// ErrNoService: no worker of the installation takes requests.
	ErrNoService = errors.New("nobody answers requests")
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

// An Option changes how a [Client] reaches the service's streams.
type Option func(*options)

type options struct{ apiPrefix, domain string }

// WithAPIPrefix has the client ask JetStream under another prefix than $JS.API:
// the one under which its NATS account imports the API of the account where the
// streams are, such as JS.MX.API.
func WithAPIPrefix(prefix string) Option {
	return func(o *options) { o.apiPrefix = strings.TrimSuffix(prefix, ".") }
}

// WithDomain has the client ask the JetStream of another domain, as of a leaf
// node or the hub that it is connected to.
func WithDomain(domain string) Option { return func(o *options) { o.domain = domain } }

// jetStream is the JetStream that o asks for.
func (o options) jetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	switch {
	case o.apiPrefix != "" && o.domain != "":
		return nil, errors.New("give an API prefix or a domain, not both: a domain is the prefix $JS.<domain>.API")
	case o.apiPrefix != "":
		return jetstream.NewWithAPIPrefix(nc, o.apiPrefix)
	case o.domain != "":
		return jetstream.NewWithDomain(nc, o.domain)
	}
	return jetstream.New(nc)
}

// New returns a client of the installation called prefix (its SUBJECT_PREFIX,
// usually [events.DefaultPrefix]). The connection stays the caller's; one that
// reconnects for ever (nats.MaxReconnects(-1)) lets subscriptions outlast any
// outage of NATS.
func New(nc *nats.Conn, prefix string, opts ...Option) (*Client, error) {
	subjects, err := events.NewSubjects(prefix)
	if err != nil {
		return nil, fmt.Errorf("making client: %w", err)
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	js, err := o.jetStream(nc)
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
	for _, none := range []error{
		jetstream.ErrStreamNotFound, jetstream.ErrNoStreamResponse, nats.ErrNoResponders,
		jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount,
	} {
		if errors.Is(err, none) {
			return fmt.Errorf("%w: %w", ErrNoStream, err)
		}
	}
	return err
}
