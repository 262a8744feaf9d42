package mx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// listen serves every connection with script, which gets the connection's number, from 1. It returns the base URL.
func listen(t *testing.T, script func(n int, conn net.Conn, requests *bufio.Reader)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				script(n, conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return "http://" + listener.Addr().String()
}

// answerAll answers every request of a connection with the same bytes.
func answerAll(conn net.Conn, requests *bufio.Reader, answer string) {
	for {
		if _, err := http.ReadRequest(requests); err != nil {
			return
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// counted is a connection that is counted while it is open.
type counted struct {
	*net.TCPConn
	open   *atomic.Int32
	closed sync.Once
}

func (c *counted) Close() error {
	c.closed.Do(func() { c.open.Add(-1) })
	return c.TCPConn.Close()
}

// connections counts those of a transport.
type connections struct{ opened, open, most atomic.Int32 }

// testTransport returns a transport to base, closed when the test ends, and counts its connections.
func testTransport(t *testing.T, base string, inFlight int) (*transport, *connections) {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	tr, ok := newTransport(&Config{Timeout: time.Minute, MaxInFlight: inFlight}, u, nil).(*transport)
	if !ok {
		t.Fatal("not the transport of this package")
	}
	seen, dial := new(connections), tr.dial
	tr.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return nil, fmt.Errorf("dialed a %T", conn)
		}
		seen.opened.Add(1)
		n := seen.open.Add(1)
		for most := seen.most.Load(); n > most; most = seen.most.Load() {
			seen.most.CompareAndSwap(most, n)
		}
		return &counted{TCPConn: tcp, open: &seen.open}, nil
	}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		if open, inFlight := seen.open.Load(), len(tr.slots); open != 0 || inFlight != 0 {
			t.Errorf("in the end %d connections are open and %d requests in flight", open, inFlight)
		}
	})
	return tr, seen
}

// ask makes a request and reads the answer: of a GET the way the client does, of others as an http.RoundTripper.
func ask(ctx context.Context, tr *transport, method string) (status int, text string, err error) {
	r := &http.Request{
		Method: method, Host: tr.address, URL: &url.URL{Scheme: "http", Host: tr.address, Path: "/"}, Header: http.Header{"Accept": {"*/*"}},
	}
	var room *reply
	if method == http.MethodGet {
		room = new(reply)
	}
	resp, err := tr.roundTrip(r.WithContext(ctx), room)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(read), err
}

// untilHeard waits until the idle connection has heard what the other side did to it.
func untilHeard(t *testing.T, tr *transport) {
	t.Helper()
	tr.pool.mu.Lock()
	defer tr.pool.mu.Unlock()
	for tr.pool.idle[0].quiet() {
		runtime.Gosched()
	}
}

func TestTransportKeepsAConnectionOnlyWhenTheAnswerAllowsIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, answer string
		status       int
		text         string
		kept         bool
	}{
		{"length", okAnswer, 200, "ok", true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", 200, "ok", true},
		{"chunked with a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n", 200, "ok", true},
		{"empty", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "", true},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", true},
		{"100 and 103 before", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okAnswer, 200, "ok", true},
		{"HTTP/1.0 that keeps", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
		{"close, no body", "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 503, "", false},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101, "", false},
		{"more than announced", okAnswer + "ay", 200, "ok", false},
		{"another answer behind", okAnswer + okAnswer, 200, "ok", false},
		{"a body behind a 204", "HTTP/1.1 204 No Content\r\n\r\nok", 204, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
				answerAll(conn, requests, c.answer)
			}), 1)
			const times = 3
			for range times {
				status, text, err := ask(t.Context(), tr, http.MethodGet)
				if status != c.status || text != c.text || err != nil {
					t.Fatalf("answer is %d %q, error %v", status, text, err)
				}
			}
			want := int32(times)
			if c.kept {
				want = 1
			}
			if n := seen.opened.Load(); n != want {
				t.Errorf("%d connections for %d requests, want %d", n, times, want)
			}
		})
	}
}

func TestTransportReadsABodyWithoutLengthToTheEndOfTheConnection(t *testing.T) {
	t.Parallel()
	tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
		_, _ = http.ReadRequest(requests)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nall of it")
	}), 1)
	for range 2 {
		if _, text, err := ask(t.Context(), tr, http.MethodGet); text != "all of it" || err != nil {
			t.Errorf("answer is %q, error %v", text, err)
		}
	}
	if n := seen.opened.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestTransportTakesAnAnswerInPieces(t *testing.T) {
	t.Parallel()
	tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(requests); err != nil {
				return
			}
			for i := range okAnswer {
				_, _ = conn.Write([]byte{okAnswer[i]})
			}
		}
	}), 1)
	for range 10 {
		if status, text, err := ask(t.Context(), tr, http.MethodGet); status != 200 || text != "ok" || err != nil {
			t.Fatalf("answer is %d %q, error %v", status, text, err)
		}
	}
	if n := seen.opened.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestTransportTakesNoIdleConnectionOnWhichSomethingHappened(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(net.Conn){
		"closed":            func(net.Conn) {},
		"reset":             func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }, //nolint:errcheck // It listens on TCP.
		"an answer to none": func(conn net.Conn) { _, _ = io.WriteString(conn, strings.Replace(okAnswer, "ok", "no", 1)) },
		"a time-out": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answered := make(chan struct{})
			tr, seen := testTransport(t, listen(t, func(n int, conn net.Conn, requests *bufio.Reader) {
				if n > 1 {
					answerAll(conn, requests, okAnswer)
					return
				}
				_, _ = http.ReadRequest(requests)
				_, _ = io.WriteString(conn, okAnswer)
				<-answered
				happens(conn)
			}), 1)
			if _, _, err := ask(t.Context(), tr, http.MethodGet); err != nil {
				t.Fatal(err)
			}
			close(answered)
			untilHeard(t, tr)
			// Nothing was sent over the old connection, so this holds for a POST, too, which is never sent twice.
			if status, text, err := ask(t.Context(), tr, http.MethodPost); status != 200 || text != "ok" || err != nil {
				t.Errorf("answer is %d %q, error %v", status, text, err)
			}
			if n := seen.opened.Load(); n != 2 {
				t.Errorf("%d connections were opened, want 2", n)
			}
		})
	}
}

func TestTransportSendsOnceMoreOnlyAGetThatAKeptConnectionDidNotAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, method string
		kept         bool   // a first request is answered
		then         string // what comes of the next one, before the connection is closed
		wantRequests int32
		ok           bool
	}{
		{"GET", http.MethodGet, true, "", 3, true},
		{"POST", http.MethodPost, true, "", 2, false},
		{"GET over a new connection", http.MethodGet, false, "", 1, false},
		{"GET, a byte of an answer", http.MethodGet, true, "H", 2, false},
		{"GET, a 1xx", http.MethodGet, true, "HTTP/1.1 100 Continue\r\n\r\n", 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			tr, _ := testTransport(t, listen(t, func(n int, conn net.Conn, in *bufio.Reader) {
				for i := 1; ; i++ {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					requests.Add(1)
					if n == 1 && (i == 2 || !c.kept) {
						_, _ = io.WriteString(conn, c.then)
						return
					}
					_, _ = io.WriteString(conn, okAnswer)
				}
			}), 1)
			if c.kept {
				if _, _, err := ask(t.Context(), tr, http.MethodGet); err != nil {
					t.Fatal(err)
				}
			}
			_, text, err := ask(t.Context(), tr, c.method)
			if (err == nil) != c.ok || c.ok && text != "ok" {
				t.Errorf("answer is %q, error %v", text, err)
			}
			if n := requests.Load(); n != c.wantRequests {
				t.Errorf("%d requests were sent, want %d", n, c.wantRequests)
			}
		})
	}
}

func TestTransportBoundsTheHeader(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"status line": "HTTP/1.1 200 " + strings.Repeat("x", maxHeaderBytes),
		"one field":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHeaderBytes),
		"many fields": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", maxHeaderBytes/6),
		"many 1xx":    strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxHeaderBytes/25+1),
	} {
		tr, _ := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
			answerAll(conn, requests, answer)
		}), 1)
		if _, _, err := ask(t.Context(), tr, http.MethodGet); !errors.Is(err, errHeaderTooLarge) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	// The bound begins anew with every answer, and is not the body's.
	large := fmt.Sprintf("HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("x", maxHeaderBytes/2), maxHeaderBytes, strings.Repeat("y", maxHeaderBytes))
	tr, _ := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) { answerAll(conn, requests, large) }), 1)
	for range 5 {
		if _, text, err := ask(t.Context(), tr, http.MethodGet); len(text) != maxHeaderBytes || err != nil {
			t.Errorf("%d bytes of body, error %v", len(text), err)
		}
	}
}

func TestTransportClosesAConnectionWhoseAnswerWasNotReadWhole(t *testing.T) {
	t.Parallel()
	tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
		answerAll(conn, requests, "HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n{")
	}), 1)
	for range 2 {
		r := &http.Request{Method: http.MethodGet, Host: tr.address, URL: &url.URL{Path: "/"}}
		resp, err := tr.RoundTrip(r.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil { // Would take for ever if it read on.
			t.Error(err)
		}
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed body can be read")
		}
	}
	if n := seen.opened.Load(); n != 2 {
		t.Errorf("%d connections were opened, want 2", n)
	}
}

func TestTransportNeverHasMoreConnectionsThanSlots(t *testing.T) {
	t.Parallel()
	const inFlight = 4
	tr, seen := testTransport(t, listen(t, func(n int, conn net.Conn, requests *bufio.Reader) {
		for i := 0; ; i++ {
			if _, err := http.ReadRequest(requests); err != nil || i == n%5 {
				return // Some connections end without an answer, some after one to four.
			}
			_, _ = io.WriteString(conn, okAnswer)
		}
	}), inFlight)
	var clients sync.WaitGroup
	for range 4 * inFlight {
		clients.Go(func() {
			for range 50 {
				_, _, _ = ask(t.Context(), tr, http.MethodGet)
			}
		})
	}
	clients.Wait()
	if n := seen.most.Load(); n > inFlight {
		t.Errorf("%d connections were open at once, want at most %d", n, inFlight)
	}
}

func TestTransportKeepsNoConnectionThatIsReturnedAfterClose(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	tr, seen := testTransport(t, listen(t, func(_ int, conn net.Conn, requests *bufio.Reader) {
		_, _ = http.ReadRequest(requests)
		close(arrived)
		<-release
		_, _ = io.WriteString(conn, okAnswer)
	}), 1)
	var call sync.WaitGroup
	call.Go(func() {
		if _, text, err := ask(t.Context(), tr, http.MethodGet); text != "ok" || err != nil {
			t.Errorf("answer is %q, error %v", text, err)
		}
	})
	<-arrived
	tr.CloseIdleConnections()
	close(release)
	call.Wait()
	if n := seen.open.Load(); n != 0 {
		t.Errorf("%d connections are open after Close", n)
	}
}

func TestTransportWritesWhatNetHTTPWould(t *testing.T) {
	t.Parallel()
	base := &url.URL{Scheme: "https", Host: "api.mx.test:8443", Path: "/root"}
	c := &Client{base: base}
	card := (&credentials{clientID: "id", version: "v1"}).card("key")
	for _, r := range []request{
		{method: http.MethodGet, path: "/users/a/members/b"},
		{method: http.MethodGet, path: "/users/a%2Fb%0A%C3%BC/members/%25", query: "a=b%0D%0A&c=%26"},
		{method: http.MethodPost, path: "/users/a/members/b/aggregate"},
	} {
		url := c.url(&r)
		req := &http.Request{Method: r.method, Host: base.Host, URL: &url, Header: card.header}
		var got, want bytes.Buffer
		writeRequest(&got, req)
		if err := req.Write(&want); err != nil {
			t.Fatal(err)
		}
		if lines := func(b *bytes.Buffer) map[string]int {
			count := map[string]int{}
			for line := range strings.SplitSeq(b.String(), "\r\n") {
				count[line]++
			}
			return count
		}; !strings.HasSuffix(got.String(), "\r\n\r\n") || fmt.Sprint(lines(&got)) != fmt.Sprint(lines(&want)) {
			t.Errorf("request is\n%s\nnet/http writes\n%s", &got, &want)
		}
	}
}
