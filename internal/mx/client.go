package mx

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// idleTimeout closes a connection before the other side does: load balancers commonly wait 60 s (AWS's default), and
	// a request sent into a connection that is just being closed is lost.
	idleTimeout = 50 * time.Second
	// maxHeaderBytes bounds an answer's header; net/http's own default is 10 MiB.
	maxHeaderBytes = 64 << 10
)

// Client calls the MX Platform API. It is safe for concurrent use.
type Client struct {
	base        *url.URL
	timeout     time.Duration
	referral    OAuthOptions
	credentials *credentials
	transport   *http.Transport
	round       http.RoundTripper // transport, perhaps wrapped
	template    *http.Request     // copied for every request
	now         func() time.Time
	observe     func(op string, status int, kind Kind, d time.Duration) // nil: nobody looks
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
// not to modify a request: all requests share one header.
func WithTransport(wrap func(http.RoundTripper) http.RoundTripper) Option {
	return func(c *Client) { c.round = wrap(c.round) }
}

// WithObserver calls observe after every call with one of the Op constants, the status of the last answer (0: none),
// the kind ([None] when the call succeeded) and how long it took. It is called on the caller's goroutine.
func WithObserver(observe func(op string, status int, kind Kind, d time.Duration)) Option {
	return func(c *Client) { c.observe = observe }
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
	transport, err := newTransport(&config, base)
	if err != nil {
		return nil, err
	}
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

func newTransport(config *Config, base *url.URL) (*http.Transport, error) {
	// All requests go to one host, so there is one answer to which proxy. Its error may quote a password.
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: base})
	if err != nil {
		return nil, errors.New("HTTPS_PROXY: not a proxy's URL: set it to one such as http://proxy:3128, or drop it")
	}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyURL(proxy),
		DialContext:            (&net.Dialer{Timeout: config.Timeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)},
		TLSHandshakeTimeout:    config.Timeout,
		Protocols:              http1, // Package doc, "Why it looks the way it does".
		DisableCompression:     true,  // Likewise.
		MaxConnsPerHost:        config.MaxInFlight,
		MaxIdleConns:           config.MaxInFlight,
		MaxIdleConnsPerHost:    config.MaxInFlight,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}, nil
}

// Host returns the host name of the API, without a port: which MX this is, for the identity of what is learned from it.
func (c *Client) Host() string { return c.base.Hostname() }

// Close closes idle connections. Calls in flight go on; their connections are closed as they become idle when no later
// call takes them.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Format writes which API this is a client of, and nothing else: the client holds credentials.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "mx client of "+c.base.Host) }
