package mx

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPlainAnswersAreThoseWithNothingSubtleAboutThem(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{
		"least":              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
		"no reason":          "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n",
		"as MX's":            "HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: application/vnd.mx.api.v1+json; charset=utf-8\r\nContent-Length: 2\r\nConnection: keep-alive\r\nETag: W/\"1\"\r\nVary:\r\n\r\n",
		"in other letters":   "HTTP/1.1 200 ok\r\ncontent-length:2\r\nCONNECTION:\tKeep-Alive \r\n\r\n",
		"zeros":              "HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\n",
		"others of a length": "HTTP/1.1 200 OK\r\nContent-LengtX: 9\r\nConnectioX: close\r\nTransfer-EncodinX: chunked\r\nContent-Length: 2\r\n\r\n",
	} {
		if size, length, ok := plainHeader([]byte(header + "ok")); !ok || size != len(header) || length != 2 {
			t.Errorf("%s: header of %d bytes, body of %d, plain is %t", name, size, length, ok)
		}
	}
	for name, header := range map[string]string{
		"nothing":                   "",
		"other status":              "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n",
		"longer status":             "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.0":                  "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
		"no length":                 "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n",
		"two lengths":               "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
		"empty length":              "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
		"signed length":             "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n",
		"long length":               "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
		"chunked":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n",
		"chunked after the length":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
		"close":                     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n",
		"close among others":        "HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 2\r\n\r\n",
		"close after the length":    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCONNECTION: CLOSE\r\n\r\n",
		"line feeds":                "HTTP/1.1 200 OK\nContent-Length: 2\n\n",
		"a line feed":               "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\r\n",
		"a carriage return":         "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 2\r\n\r\n",
		"a continued line":          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 1\r\n\r\n",
		"a control character":       "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 2\r\n\r\n",
		"a delete character":        "HTTP/1.1 200 OK\r\nA: \x7f\r\nContent-Length: 2\r\n\r\n",
		"a space before the colon":  "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n",
		"no name":                   "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\n",
		"no colon":                  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA\r\n\r\n",
		"not whole":                 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
		"ends within the last line": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r",
	} {
		if _, _, ok := plainHeader([]byte(header)); ok {
			t.Errorf("%s: taken for a plain answer", name)
		}
	}
}

// FuzzPlain holds the reader of plain answers against http.ReadResponse, which must read the same of whatever is taken for
// one: its status, how long header and body are, and that the connection stays.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		okAnswer,
		"HTTP/1.1 200 OK\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 002\r\n\r\n{}",
		"HTTP/1.1 200 OK\r\ncontent-length:\t2 \r\nTransfer-Encoding: chunked\r\nTrailer: A\r\nUpgrade: h2c\r\n\r\nok",
		"HTTP/1.1 200 \r\nContent-Length: 0\r\nProxy-Connection: close\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b; c\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		size, length, ok := plainHeader(data)
		if !ok {
			return
		}
		in := bufio.NewReader(bytes.NewReader(data))
		r, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
		if err != nil {
			t.Fatalf("http.ReadResponse says %v", err)
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK || r.ContentLength != int64(length) || r.Close || r.Uncompressed || len(r.TransferEncoding) > 0 {
			t.Fatalf("http.ReadResponse reads %d, a body of %d, encoded %q, close %t; we a body of %d", r.StatusCode, r.ContentLength, r.TransferEncoding, r.Close, length)
		}
		body, err := io.ReadAll(r.Body)
		if want := data[size:min(len(data), size+length)]; !bytes.Equal(body, want) || (err != nil) != (len(want) < length) {
			t.Fatalf("http.ReadResponse's body is %q, error %v; ours %q", body, err, want)
		}
	})
}

func TestABodyThatIsCutOffIsNotWhole(t *testing.T) {
	t.Parallel()
	c := &conn{reader: bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"))}
	room := new(reply)
	if plain, err := c.readPlain(room, nil); !plain || err != nil {
		t.Fatalf("plain is %t, error %v", plain, err)
	}
	if body, err := io.ReadAll(room.resp.Body); string(body) != "ok" || err != io.ErrUnexpectedEOF { //nolint:errorlint // io.Reader's promise is this very value.
		t.Errorf("body is %q, error %v", body, err)
	}
	if _, err := c.readPlain(room, nil); err != io.ErrUnexpectedEOF { //nolint:errorlint // As above.
		t.Errorf("where no answer comes, the error is %v", err)
	}
}
