package faults

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// wire is a worker's way to NATS. It reads along what the worker sends, so that
// a message which no port shows, such as an acknowledgement, can be lost, held
// back, sent twice, or be the last thing the worker ever did. It is a
// nats.CustomDialer.
type wire struct {
	// meets decides what becomes of a message on its way out; nil: it passes.
	// It is called with mu held.
	meets func(op []byte, subject string, payload []byte) outgoing

	mu   sync.Mutex
	conn net.Conn
	dead bool
}

// outgoing is what becomes of a message on the wire.
type outgoing uint8

const (
	passes     outgoing = iota
	isLost              // swallowed
	isHeld              // swallowed; whoever decided so sends it later
	goesTwice           // sent two times
	cutsFirst           // the connection breaks before it
	cutsAfter           // the connection breaks after it
	diesBefore          // the process dies before it
	diesAfter           // the process dies after it
)

// Dial implements nats.CustomDialer.
func (w *wire) Dial(network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, net.ErrClosed
	}
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	w.conn = conn
	return &end{Conn: conn, wire: w}, nil
}

// kill lets nothing more through, for good.
func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.die()
}

// die wants w.mu held.
func (w *wire) die() {
	w.dead = true
	_ = w.conn.Close()
}

// send puts a message on the wire as the worker would have, if it still lives.
func (w *wire) send(op []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.dead {
		_, _ = w.conn.Write(op)
	}
}

// end is the worker's end of one connection.
type end struct {
	net.Conn
	wire  *wire
	carry []byte // the beginning of an operation whose end has not been written yet
}

// Write lets whole operations of the client protocol through, one by one.
func (e *end) Write(b []byte) (int, error) {
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	if e.wire.dead {
		return 0, net.ErrClosed
	}
	e.carry = append(e.carry, b...)
	var out []byte
	for {
		op, subject, payload, ok := operation(e.carry)
		if !ok {
			break
		}
		e.carry = e.carry[len(op):]
		fate := passes
		if subject != "" && e.wire.meets != nil {
			fate = e.wire.meets(op, subject, payload)
		}
		switch fate {
		case isLost, isHeld, cutsFirst, diesBefore:
		case goesTwice:
			out = append(append(out, op...), op...)
		case passes, cutsAfter, diesAfter:
			out = append(out, op...)
		}
		if fate < cutsFirst {
			continue
		}
		_, _ = e.Conn.Write(out)
		_ = e.Close()
		if fate == diesBefore || fate == diesAfter {
			e.wire.die()
		}
		return 0, net.ErrClosed
	}
	if _, err := e.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// operation returns the first whole operation in b and, when it publishes, the
// subject and the payload without headers.
func operation(b []byte) (op []byte, subject string, payload []byte, ok bool) {
	i := bytes.Index(b, []byte("\r\n"))
	if i < 0 {
		return nil, "", nil, false
	}
	f := strings.Fields(string(b[:i]))
	if len(f) < 3 || f[0] != "PUB" && f[0] != "HPUB" {
		return b[:i+2], "", nil, true
	}
	size, err := strconv.Atoi(f[len(f)-1])
	if err != nil || len(b) < i+2+size+2 {
		return nil, "", nil, false
	}
	head := 0
	if f[0] == "HPUB" {
		if head, err = strconv.Atoi(f[len(f)-2]); err != nil || head > size {
			return nil, "", nil, false
		}
	}
	body := b[i+2 : i+2+size]
	return b[:i+2+size+2], f[1], body[head:], true
}
