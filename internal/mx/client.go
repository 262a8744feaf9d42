package mx

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Client calls the MX Platform API. It is safe for concurrent use.
type Client struct {
	base        *url.URL
	timeout     time.Duration
	referral    OAuthOptions
	credentials *credentials
	transport   closingTransport
	round       http.RoundTripper // transport, perhaps wrapped
	template    *http.Request     // copied for every request
	now         func() time.Time
	observe     func(op string, status int, kind Kind, d time.Duration) // nil: nobody looks
	unread      func(field string)                                      // nil: nobody counts
	tracer      trace.Tracer                                            // nil: nothing is traced
	buffers     sync.Pool                                               // of *buffer
}

// Option changes how New makes a Client.
type Option func(*Client)

// WithClock takes the time from now: for Retry-After dates, for looking at the key file and for observed durations.
// Time-outs run on the real clock.
func WithClock(now func() time.Time) Option {
	return func(c *Client) { c.now = now }
}

// WithTransport wraps what sends the requests, to trace or to count them. The wrapper must keep http.RoundTripper's promise
// not to modify a request, as all requests share one header, and must not give one a body.
func WithTransport(wrap func(http.RoundTripper) http.RoundTripper) Option {
	return func(c *Client) { c.round = wrap(c.round) }
}

// WithObserver calls observe after every call with one of the Op constants, the status of the last answer (0: none),
// the kind ([None] when the call succeeded) and how long it took. It is called on the caller's goroutine.
func WithObserver(observe func(op string, status int, kind Kind, d time.Duration)) Option {
	return func(c *Client) { c.observe = observe }
}

// WithUnread calls unread for each optional field, as in member.use_cases, that an answer about one member had in a type
// or form that is not its own. The member is told as if MX had left it out.
func WithUnread(unread func(field string)) Option {
	return func(c *Client) { c.unread = unread }
}

// WithTracer makes a client span of every call; nil, the default, none. MX is told nothing of the trace. A span holds
// neither the ids that were asked for nor the query, as both may be private.
func WithTracer(t trace.Tracer) Option {
	return func(c *Client) { c.tracer = t }
}

// New returns a client that is ready, or all of the configuration's problems. It does not talk to MX.
func New(config Config, options ...Option) (*Client, error) {
	if problems := config.Problems(); len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	base, err := parseBase(config.BaseURL)
	if err != nil {
		return nil, err
	}
	proxy, err := proxyFor(base, http.ProxyFromEnvironment)
	if err != nil {
		return nil, err
	}
	transport := newTransport(&config, base, proxy)
	c := &Client{
		base:      base,
		timeout:   config.Timeout,
		referral:  OAuthOptions{ReferralSource: config.ReferralSource, ClientRedirectURL: config.ClientRedirectURL},
		transport: transport,
		round:     transport,
		template: &http.Request{
			Host:  base.Host,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		},
		now:     time.Now, //nolint:forbidigo // The default of WithClock.
		buffers: sync.Pool{New: func() any { return new(buffer) }},
	}
	for _, option := range options {
		option(c)
	}
	if c.credentials, err = newCredentials(&config, c.now); err != nil {
		return nil, err
	}
	return c, nil
}

// Host returns the host name of the API, without a port: which MX this is, for the identity of what is learned from it.
func (c *Client) Host() string { return c.base.Hostname() }

// Close closes the idle connections. Calls in flight go on; their connections are closed after their answer.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Format writes which API this is a client of, and nothing else: the client holds credentials.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "mx client of "+c.base.Host) }
