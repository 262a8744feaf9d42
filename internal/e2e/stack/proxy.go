package stack

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Manner is how a [Proxy] carries bytes.
type Manner int

// The manners.
const (
	Pass  Manner = iota // as they come
	Slow                // a few at a time
	Mute                // what the client says goes on, what the server answers waits
	Stall               // everything waits
)

const (
	pieceSize = 512 // bytes that Slow lets through, and
	piecePace = 3 * time.Millisecond
)

// Proxy is a TCP proxy on the loopback interface that can be slow, silent, cut
// and half-closed.
type Proxy struct {
	listener net.Listener
	target   func() (string, error)
	pumps    sync.WaitGroup

	mu      sync.Mutex
	manner  Manner
	changed chan struct{} // closed when manner changes
	links   map[*link]bool
	closed  bool
}

// link is a client's connection and the one made for it.
type link struct{ client, server *net.TCPConn }

func (l *link) close(hard bool) {
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if hard {
			_ = c.SetLinger(0) // a reset, in place of a farewell
		}
		_ = c.Close()
	}
}

// NewProxy returns a proxy to the host:port that target tells, asked for each
// connection. It is gone when tb ends.
func NewProxy(tb testing.TB, target func() (string, error)) *Proxy {
	tb.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, changed: make(chan struct{}), links: map[*link]bool{}}
	p.pumps.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Set(Pass)
		p.Cut(true)
		p.pumps.Wait()
	})
	return p
}

// To is the target of a proxy that never moves.
func To(address string) func() (string, error) {
	return func() (string, error) { return address, nil }
}

// Addr is where clients connect, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set changes the manner, also of connections there are.
func (p *Proxy) Set(m Manner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manner = m
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cut ends every connection; hard means with a reset. New ones are taken.
func (p *Proxy) Cut(hard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close(hard)
	}
}

// HalfClose ends one direction of every connection: that of the client's words, or of the answers.
func (p *Proxy) HalfClose(words bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if words {
			_ = l.server.CloseWrite()
		} else {
			_ = l.client.CloseWrite()
		}
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		client, isTCP := c.(*net.TCPConn)
		server, err := p.dial()
		if !isTCP || err != nil {
			_ = c.Close()
			continue
		}
		l := &link{client, server}
		p.mu.Lock()
		p.links[l] = true
		if p.closed {
			l.close(true)
		}
		p.mu.Unlock()
		p.pumps.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { p.pump(l.server, l.client, false) })
			both.Go(func() { p.pump(l.client, l.server, true) })
			both.Wait()
			l.close(false)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.links, l)
		})
	}
}

func (p *Proxy) dial() (*net.TCPConn, error) {
	address, err := p.target()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil //nolint:errcheck // What else would tcp be.
}

// pump carries bytes until one side ends; then the other hears of it.
func (p *Proxy) pump(to, from *net.TCPConn, answers bool) {
	defer func() { _ = to.CloseWrite() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for piece := buf[:n]; len(piece) > 0; {
			size := p.pass(len(piece), answers)
			if _, err := to.Write(piece[:size]); err != nil {
				_, _ = io.Copy(io.Discard, from) // so that the other side is not held up by what nobody reads
				return
			}
			piece = piece[size:]
		}
		if err != nil {
			return
		}
	}
}

// pass waits as the manner asks, and returns how many of n bytes may go on.
func (p *Proxy) pass(n int, answers bool) int {
	for {
		p.mu.Lock()
		manner, changed := p.manner, p.changed
		p.mu.Unlock()
		switch {
		case manner == Stall, manner == Mute && answers:
			<-changed
			continue
		case manner == Slow:
			t := time.NewTimer(piecePace)
			select {
			case <-t.C:
			case <-changed:
				t.Stop()
			}
			return min(n, pieceSize)
		}
		return n
	}
}
