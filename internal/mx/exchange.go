package mx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// The calls, as named in errors and to the observer.
const (
	OpReadMember     = "read_member"
	OpOAuthWindowURI = "oauth_window_uri"
	OpAggregate      = "aggregate"
	OpListUsers      = "list_users"
	OpListMembers    = "list_members"
)

const (
	// maxBody bounds an answer. A member has 1 to 2 kB, a page of a list (pageSize) some 200 kB.
	maxBody = 1 << 20
	// maxPooled is the largest buffer that is kept for the next answer, so that a few large ones do not stay for ever.
	maxPooled = 16 << 10
)

var errTooLarge = errors.New("body is larger than 1 MiB")

// request is one call of the API.
type request struct {
	op     string
	method string
	path   string // after the base, escaped
	query  string // encoded
	want   int    // the status of success
	// user and member are the ids asked for; decoders compare them with those of the answer.
	user, member string
	page         int // of a list
}

// ids returns those asked for, which a log must not show.
func (r *request) ids() []string { return []string{r.user, r.member} }

// buffer is what a request needs until its answer is read, and the answer while it is decoded.
type buffer struct {
	request http.Request
	url     url.URL
	reply   reply
	body    []byte
	scanner scanner
}

// call makes the request and decodes the answer. Every call of this package goes through here.
func call[T any](ctx context.Context, c *Client, r *request, decode func(*scanner, *request) (T, error)) (T, error) {
	var began time.Time
	if c.observe != nil {
		began = c.now()
	}
	var span trace.Span
	if c.tracer != nil {
		ctx, span = c.startSpan(ctx, r)
	}
	var value T
	buf, ok := c.buffers.Get().(*buffer)
	if !ok {
		buf = new(buffer)
	}
	status, failure := c.exchange(ctx, r, buf)
	if failure == nil {
		buf.scanner.reset(buf.body)
		var err error
		if value, err = decode(&buf.scanner, r); err != nil {
			failure = &CallError{Kind: BadAnswer, Op: r.op, StatusCode: status, Err: err}
		}
		if c.unread != nil && err == nil {
			for _, field := range buf.scanner.unread {
				c.unread(field)
			}
		}
	}
	// http.Transport may still look at a request that it has failed.
	if status != 0 && cap(buf.body) <= maxPooled && cap(buf.scanner.arena) <= maxPooled {
		buf.request, buf.reply = http.Request{}, reply{} // They would keep the context.
		c.buffers.Put(buf)
	}
	if span != nil {
		endSpan(span, status, failure)
	}
	if failure == nil {
		if c.observe != nil {
			c.observe(r.op, status, None, c.now().Sub(began))
		}
		return value, nil
	}
	if c.observe != nil {
		c.observe(r.op, status, failure.Kind, c.now().Sub(began))
	}
	var zero T
	return zero, failure
}

// exchange sends the request and leaves the body of a wanted answer in buf. status is 0 when no answer came.
func (c *Client) exchange(ctx context.Context, r *request, buf *buffer) (status int, failure *CallError) {
	limited, cancel := c.limit(ctx)
	defer cancel()
	card := c.credentials.get()
	status, failure = c.send(ctx, limited, r, card, buf)
	if status != http.StatusUnauthorized {
		return status, failure
	}
	// The key may just have been rotated. A 401 means that nothing was done, so any call may be made again.
	fresh, err := c.credentials.reload()
	if fresh == card {
		if err != nil {
			failure.Err, failure.Excerpt = err, excerpt(err.Error(), true, nil, nil) // Says more than MX does.
		}
		return status, failure
	}
	return c.send(ctx, limited, r, fresh, buf)
}

// limited is a context with a deadline that shows in Deadline alone: when it passes, Done stays open. It is for our own
// transport, which hands deadlines to the connection; a timer, and a place among its parent's children, would be set up
// and thrown away for each call.
type limited struct {
	context.Context //nolint:containedctx // It is one.
	deadline        time.Time
}

// Deadline returns the time limit. One that the caller has set ends the context it is in.
func (l *limited) Deadline() (time.Time, bool) { return l.deadline, true }

// limit returns ctx with the time that a call may take.
func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, own := c.round.(*transport); own {
		return &limited{ctx, time.Now().Add(c.timeout)}, func() {} //nolint:forbidigo // Time-outs run on the real clock.
	}
	return context.WithTimeout(ctx, c.timeout)
}

// send makes one HTTP request. ctx is the caller's, limited the same with the time-out.
func (c *Client) send(ctx, limited context.Context, r *request, card *loginCard, buf *buffer) (int, *CallError) {
	buf.request = *c.template.WithContext(limited)
	buf.url = c.url(r)
	req := &buf.request
	req.Method = r.method
	req.Header = card.header
	req.URL = &buf.url

	var resp *http.Response
	var err error
	if own, ok := c.round.(*transport); ok {
		resp, err = own.roundTrip(req, &buf.reply)
	} else {
		resp, err = c.round.RoundTrip(req)
	}
	if err != nil {
		return 0, c.lost(ctx, r, 0, err)
	}
	defer resp.Body.Close()

	buf.body, err = readBody(buf.body[:0], resp)
	switch {
	case errors.Is(err, errTooLarge) && resp.StatusCode == r.want:
		return resp.StatusCode, &CallError{Kind: BadAnswer, Op: r.op, StatusCode: resp.StatusCode, Err: err}
	case resp.StatusCode == r.want && err != nil:
		return resp.StatusCode, c.lost(ctx, r, resp.StatusCode, err)
	case resp.StatusCode == r.want:
		return resp.StatusCode, nil
	}
	// With another status the body is only a hint: what came of it will do.
	failure := &CallError{Kind: kindOfStatus(resp.StatusCode), Op: r.op, StatusCode: resp.StatusCode}
	failure.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.now())
	if resp.StatusCode >= 400 { // Below, it could hold a member.
		seen := string(buf.body[:min(len(buf.body), excerptWindow+1)])
		failure.Excerpt = excerpt(seen, err == nil, r.ids(), c.credentials.secrets())
	}
	return resp.StatusCode, failure
}

// lost tells why an answer did not come, or not whole. The cause is kept for errors.Is; its text is not to be trusted:
// net/http quotes the bytes of what is not HTTP.
func (c *Client) lost(ctx context.Context, r *request, status int, err error) *CallError {
	failure := &CallError{
		Kind: Connection, Op: r.op, StatusCode: status, Err: err,
		Excerpt: excerpt(err.Error(), true, r.ids(), c.credentials.secrets()),
	}
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case ctx.Err() != nil:
		failure.Kind = Canceled
		failure.Err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	case errors.Is(err, context.DeadlineExceeded), isNet && timeout.Timeout():
		failure.Kind = Timeout
	}
	return failure
}

// url is built by hand: the base was parsed once, and the path is escaped once, here and nowhere else.
func (c *Client) url(r *request) url.URL {
	u := *c.base
	u.Path = c.base.Path + r.path
	u.RawQuery = r.query
	if strings.IndexByte(r.path, '%') >= 0 {
		u.RawPath = u.Path
		// PathEscape wrote it, so it can be read.
		u.Path, _ = url.PathUnescape(u.RawPath)
	}
	return u
}

// readBody reads all of the body into buf, so that the connection can be used again, or what fits.
func readBody(buf []byte, resp *http.Response) ([]byte, error) {
	if resp.ContentLength > maxBody {
		return buf, errTooLarge
	}
	// One byte more than is announced, so that the end is seen without growing.
	buf = slices.Grow(buf, max(int(resp.ContentLength), 2<<10)+1)
	for {
		n, err := resp.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > maxBody:
			return buf, errTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		case len(buf) == cap(buf):
			buf = slices.Grow(buf, 1)
		}
	}
}
