package mx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
)

// closingTransport is what the client needs of a transport. *http.Transport is one, too.
type closingTransport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// proxyFor returns the proxy that the environment names for base, nil for none. All requests go to one host, so there is one
// answer. http is for this machine alone, and the key goes in the clear: no proxy may see it. http.ProxyFromEnvironment
// does not promise that, as it knows localhost in lower case only.
func proxyFor(base *url.URL, environment func(*http.Request) (*url.URL, error)) (*url.URL, error) {
	if base.Scheme == "http" {
		return nil, nil //nolint:nilnil // No proxy is an answer, as in net/http.
	}
	proxy, err := environment(&http.Request{URL: base})
	if err != nil { // It may quote a password.
		return nil, errors.New("HTTPS_PROXY: not a proxy's URL: set it to one such as http://proxy:3128, or drop it")
	}
	return proxy, nil
}

// newTransport returns the transport for all requests to base: ours, or net/http's where a proxy stands between.
func newTransport(config *Config, base, proxy *url.URL) closingTransport {
	dialer := &net.Dialer{Timeout: config.Timeout}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	if proxy != nil {
		return newProxied(config, proxy, tlsConfig, dialer.DialContext)
	}
	port := base.Port()
	if port == "" {
		port = base.Scheme // net.Dialer knows the ports of http and https.
	}
	t := &transport{
		dial:    dialer.DialContext,
		address: net.JoinHostPort(base.Hostname(), port),
		slots:   make(chan struct{}, config.MaxInFlight),
	}
	if base.Scheme == "https" {
		tlsConfig.ServerName = base.Hostname()
		tlsConfig.NextProtos = []string{"http/1.1"} // As http.Transport offers it.
		t.tls = tlsConfig
	}
	return t
}

// transport is an http.RoundTripper for one host over kept-alive HTTP/1.1 connections. It runs on its caller's goroutine:
// an exchange is a write and a read, where http.Transport passes it to two goroutines per connection and back, which
// costs as much CPU again. What it lacks is what nobody here needs: request bodies, proxies, compression, HTTP/2.
//
// A connection belongs to one request until the last byte of its answer was read. The request's context bounds all of
// it, the body included: its end, and its deadline even if that does not end it (see limited). A connection that was left
// at any other point than the end of an answer is closed.
type transport struct {
	dial    dialFunc
	address string
	tls     *tls.Config // nil: none

	// slots holds a token for every request in flight. As a request dials only when no connection is idle, or to
	// replace one that it closed, there are never more connections than slots.
	slots chan struct{}
	pool  pool
}

// RoundTrip sends r and returns the answer, whose body has to be read to its end or closed, by one goroutine. A GET whose
// kept-alive connection turns out to be closed before any byte of an answer came is sent once more, over a new connection.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) { return t.roundTrip(r, nil) }

// roundTrip is RoundTrip for who has room for the answer and no use for its header, which a plain one is without. The
// room can be used again when the body was closed.
func (t *transport) roundTrip(r *http.Request, room *reply) (*http.Response, error) {
	if err := t.enter(r.Context()); err != nil {
		return nil, err
	}
	resp, err := t.send(r, room)
	if err != nil {
		t.leave()
	}
	return resp, err
}

func (t *transport) send(r *http.Request, room *reply) (*http.Response, error) {
	if c := t.pool.take(r.Context()); c != nil {
		resp, err := t.exchange(c, r, room)
		if err == nil || c.answered() || r.Method != http.MethodGet || r.Context().Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return resp, err
		}
	}
	c, err := t.connect(r.Context())
	if err != nil {
		return nil, err
	}
	return t.exchange(c, r, room)
}

// exchange sends r over c, which is bound to its context, and reads the header of the answer. From here on c belongs to
// the answer's body; when there is no answer, or no body, it is done with.
func (t *transport) exchange(c *conn, r *http.Request, room *reply) (*http.Response, error) {
	resp, err := c.exchange(r, room)
	if err != nil {
		_ = c.Close()
		return nil, lostWhile(r.Context(), "waiting for the answer", err)
	}
	if room == nil {
		room = new(reply)
	}
	b := &room.body
	*b = body{ReadCloser: resp.Body, answer: resp, transport: t, conn: c}
	if resp.Body == http.NoBody {
		b.end(true)
	} else {
		resp.Body = b
	}
	return resp, nil
}

// lostWhile is err with what it kept us from, or why ctx ended when that is what broke the connection off.
func lostWhile(ctx context.Context, doing string, err error) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = context.DeadlineExceeded
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// enter waits until there may be another request in flight.
func (t *transport) enter(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		select {
		case t.slots <- struct{}{}:
			return nil
		default:
			err = t.wait(ctx)
		}
	}
	if err != nil {
		err = lostWhile(ctx, "waiting for a connection", err)
	}
	return err
}

func (t *transport) wait(ctx context.Context) error {
	ctx, cancel := timed(ctx)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *transport) leave() { <-t.slots }

// timed returns ctx with a Done that closes at its deadline, which that of limited does not. It is for where there is no
// connection yet that could be given the deadline.
func timed(ctx context.Context) (context.Context, context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, deadline)
	}
	return ctx, func() {}
}

// connect opens a connection, its TLS included.
func (t *transport) connect(ctx context.Context) (*conn, error) {
	raw, err := t.reach(ctx)
	if err != nil {
		return nil, lostWhile(ctx, "connecting", err)
	}
	c := newConn(raw)
	err = c.bind(ctx)
	if err == nil && t.tls != nil {
		err = c.handshake(ctx, t.tls)
	}
	if err != nil {
		_ = c.Close()
		return nil, lostWhile(ctx, "connecting", err)
	}
	return c, nil
}

// reach dials. net.Dialer looks at a context's Done alone while it resolves a name, for as long as resolv.conf allows, and
// without a Done while it connects: it sets up a timer only for a deadline that is earlier than the context's.
func (t *transport) reach(ctx context.Context) (net.Conn, error) {
	ctx, cancel := timed(ctx)
	defer cancel()
	return t.dial(ctx, "tcp", t.address)
}

// CloseIdleConnections ends the keeping of connections: the idle ones are closed now, the others after their answer.
func (t *transport) CloseIdleConnections() { t.pool.close() }
