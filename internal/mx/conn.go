package mx

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// readBuffer holds the header of an answer and usually its body: a member has 1 to 2 kB.
	readBuffer = 4 << 10
	// maxHeaderBytes bounds an answer's header, or a run of 1xx headers; net/http's own default is 10 MiB.
	maxHeaderBytes = 64 << 10
)

var errHeaderTooLarge = errors.New("header is larger than 64 KiB")

// conn is one connection to MX, used by one goroutine at a time.
type conn struct {
	net.Conn // the socket, or TLS over it
	socket   *socket
	reader   *bufio.Reader // of an allowance
	request  bytes.Buffer
	allowed  int64 // how many bytes of this answer may still be read
	late     bool  // the deadline passed while an answer was awaited
	one      [1]byte

	idleSince int // in ticks of the pool

	mu      sync.Mutex      // guards the rest, and the socket's deadline
	watched <-chan struct{} // Done of the context that breaks c off; nil: none does
	unwatch func() bool
}

func newConn(raw net.Conn) *conn {
	s := &socket{Conn: raw}
	if sys, ok := raw.(syscall.Conn); ok {
		s.raw, _ = sys.SyscallConn() // Without one it is not probed.
	}
	c := &conn{Conn: s, socket: s}
	c.reader = bufio.NewReaderSize(allowance{c}, readBuffer)
	return c
}

// bind gives c to a request, which is broken off when ctx ends or its deadline passes. An error means that c is of no use.
//
// Contexts that end together share one Done, so while requests come with those of a service's own making, c goes on
// being watched, and nothing has to be set up for each.
func (c *conn) bind(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := ctx.Done(); done != c.watched {
		c.stopWatching()
		c.watched = done
		if done != nil {
			c.unwatch = context.AfterFunc(ctx, func() { c.interrupt(done) })
		}
	}
	deadline, _ := ctx.Deadline() // Without one, that of an earlier request is lifted, or what broke it off.
	if err := c.socket.SetDeadline(deadline); err != nil {
		return err
	}
	return ctx.Err() // Asked last: should it end after this, interrupt has yet to come.
}

// interrupt breaks off whatever c is at, unless it was given to a request of another context than the one whose Done has
// closed. While c is idle that does nothing: bind sets another deadline.
func (c *conn) interrupt(done <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched == done {
		_ = c.socket.SetDeadline(time.Unix(1, 0)) // Reading and writing end at once.
	}
}

// stopWatching has no context break c off any more. c.mu is held.
func (c *conn) stopWatching() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.watched, c.unwatch = nil, nil
}

// Close closes the connection.
func (c *conn) Close() error {
	c.mu.Lock()
	c.stopWatching()
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) handshake(ctx context.Context, config *tls.Config) error {
	secure := tls.Client(c.socket, config)
	c.Conn = secure
	return secure.HandshakeContext(ctx)
}

// allowance reads from a connection as much as is allowed.
type allowance struct{ *conn }

func (a allowance) Read(p []byte) (int, error) {
	if a.allowed == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := a.Conn.Read(p[:min(int64(len(p)), a.allowed)])
	a.allowed -= int64(n)
	a.late = errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

// exchange sends r and reads the header of the answer, passing over those that are only provisional (1xx). A plain answer
// goes to room, unless that is nil.
func (c *conn) exchange(r *http.Request, room *reply) (*http.Response, error) {
	c.allowed = maxHeaderBytes
	c.request.Reset()
	writeRequest(&c.request, r)
	if _, err := c.Write(c.request.Bytes()); err != nil {
		return nil, err
	}
	if room != nil {
		plain, err := c.readPlain(room, r)
		if err != nil {
			return nil, err
		}
		if plain {
			c.allowed = math.MaxInt64
			return &room.resp, nil
		}
	}
	for {
		resp, err := http.ReadResponse(c.reader, r)
		switch { // What is cut off looks malformed.
		case err != nil && c.allowed == 0:
			return nil, errHeaderTooLarge
		case err != nil && c.late:
			return nil, os.ErrDeadlineExceeded
		case err != nil:
			return nil, err
		}
		if resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.allowed = math.MaxInt64 // The body is bounded by who reads it.
			return resp, nil
		}
	}
}

// writeRequest writes what http.Request.Write would write of a request without a body, and saves a tenth of all
// that a read costs.
func writeRequest(buf *bytes.Buffer, r *http.Request) {
	buf.WriteString(r.Method)
	buf.WriteByte(' ')
	buf.WriteString(r.URL.RequestURI()) // Escaped.
	buf.WriteString(" HTTP/1.1\r\nHost: ")
	buf.WriteString(r.Host)
	if r.Method != http.MethodGet {
		buf.WriteString("\r\nContent-Length: 0")
	}
	buf.WriteString("\r\n")
	_ = r.Header.Write(buf) // Makes line breaks harmless. A buffer takes everything.
	buf.WriteString("\r\n")
}

// answered tells whether any byte of an answer came.
func (c *conn) answered() bool { return c.allowed != maxHeaderBytes }

// quiet tells whether an idle connection can carry another request: it is open, and nothing came that nobody asked for.
func (c *conn) quiet() bool {
	c.socket.probing = true
	n, err := c.Read(c.one[:])
	c.socket.probing = false
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// socket is a network connection that can be asked for what has already arrived.
type socket struct {
	net.Conn
	raw     syscall.RawConn // nil: cannot be probed
	probing bool            // Read does not wait
	into    []byte          // of read
	n       int
	err     error
	read    func(fd uintptr) bool
}

// Read waits for bytes, but when probing: then it returns os.ErrDeadlineExceeded if there are none. That error is one
// that TLS survives: it keeps half a record for later.
func (s *socket) Read(p []byte) (int, error) {
	switch {
	case !s.probing:
		return s.Conn.Read(p)
	case s.raw == nil:
		return 0, os.ErrDeadlineExceeded
	}
	return s.readNow(p)
}

// body is an answer's body. At its end the connection is free for another request.
type body struct {
	io.ReadCloser // http.ReadResponse's
	answer        *http.Response
	transport     *transport
	conn          *conn // nil when given back
}

// Read reads; an error is why the request's context ended, if it did.
func (b *body) Read(p []byte) (int, error) {
	if b.conn == nil {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.end(true)
	default:
		b.end(false)
		err = lostWhile(b.answer.Request.Context(), "reading the answer", err)
	}
	return n, err
}

// Close gives up what was not read, and the connection with it. http.ReadResponse's body would read on to its end.
func (b *body) Close() error {
	if b.conn != nil {
		b.end(false)
	}
	return nil
}

// end gives the connection back to the transport. It is kept if its answer was read as a whole, nothing came after that,
// neither side wants it closed, and the context has not broken it off.
func (b *body) end(whole bool) {
	c := b.conn
	b.conn = nil
	if whole && b.answer.Request.Context().Err() == nil && !b.answer.Close && b.answer.StatusCode != http.StatusSwitchingProtocols && c.reader.Buffered() == 0 {
		b.transport.pool.put(c)
	} else {
		_ = c.Close()
	}
	b.transport.leave()
}
