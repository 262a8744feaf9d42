package mx

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// reply is where the answer to a request is put by who asks again and again: all that http.ReadResponse would allocate.
type reply struct {
	resp  http.Response
	body  body
	plain plainBody
}

// readPlain reads the header of an answer if it is a plain one: 200, whole in c's buffer, with a Content-Length, over a
// connection that stays. Any other is left unread, for http.ReadResponse, to which the subtle cases belong: FuzzPlain holds
// that it would have read the same. The header itself is not kept; who asks for a member has no use for it.
func (c *conn) readPlain(a *reply, r *http.Request) (bool, error) {
	if _, err := c.reader.Peek(1); err != nil {
		return false, cutOff(err)
	}
	buffered, _ := c.reader.Peek(c.reader.Buffered())
	size, length, ok := plainHeader(buffered)
	if !ok {
		return false, nil
	}
	_, _ = c.reader.Discard(size) // It is buffered.
	a.plain = plainBody{c, length}
	a.resp = http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(length), Body: &a.plain, Request: r,
	}
	return true, nil
}

// cutOff is err, or what an end is called where more should come.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// plainHeader returns how long the header of a plain answer is, and how long its body; ok is false for any other.
func plainHeader(b []byte) (size, length int, ok bool) {
	const status = "HTTP/1.1 200 "
	if len(b) < len(status) || string(b[:len(status)]) != status {
		return 0, 0, false
	}
	length = -1
	for first := true; ; first = false {
		line, _, whole := bytes.Cut(b[size:], []byte("\r\n"))
		if !whole {
			return 0, 0, false
		}
		size += len(line) + len("\r\n")
		switch {
		case !printable(line):
			return 0, 0, false
		case first:
			continue
		case len(line) == 0:
			return size, length, length >= 0
		}
		key, value, found := bytes.Cut(line, []byte{':'})
		if !found || !isToken(key) {
			return 0, 0, false
		}
		value = bytes.Trim(value, " \t")
		switch len(key) { // Of the three that matter, no two are equally long.
		case len("Connection"):
			if bytes.EqualFold(key, []byte("Connection")) && !bytes.EqualFold(value, []byte("keep-alive")) {
				return 0, 0, false
			}
		case len("Content-Length"):
			if bytes.EqualFold(key, []byte("Content-Length")) {
				if length >= 0 {
					return 0, 0, false
				}
				if length, ok = digits(value); !ok {
					return 0, 0, false
				}
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(key, []byte("Transfer-Encoding")) {
				return 0, 0, false
			}
		}
	}
}

// printable tells whether a line has no control character but tabs; a carriage return is one.
func printable(line []byte) bool {
	for _, b := range line {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// isToken tells whether key can be a header's, of letters, digits and hyphens.
func isToken(key []byte) bool {
	for _, b := range key {
		if b != '-' && (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') {
			return false
		}
	}
	return len(key) > 0
}

// digits reads a number of up to nine digits.
func digits(b []byte) (n int, ok bool) {
	for _, d := range b {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = 10*n + int(d-'0')
	}
	return n, 0 < len(b) && len(b) <= 9
}

// plainBody is the body of a plain answer.
type plainBody struct {
	conn *conn
	left int
}

// Read reads; what is cut off is io.ErrUnexpectedEOF.
func (b *plainBody) Read(p []byte) (n int, err error) {
	if b.left > 0 {
		n, err = b.conn.reader.Read(p[:min(len(p), b.left)])
		b.left -= n
	}
	if b.left == 0 {
		return n, io.EOF
	}
	return n, cutOff(err)
}

// Close does nothing: the body around it gives the connection up.
func (*plainBody) Close() error { return nil }
