package mx

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// piped is a transport whose connections are pipes to script. Unlike sockets they can be waited for in a synctest bubble.
func piped(script func(conn net.Conn)) (tr *transport, opened *atomic.Int32) {
	opened = new(atomic.Int32)
	return &transport{
		slots: make(chan struct{}, 1),
		dial: func(context.Context, string, string) (net.Conn, error) {
			opened.Add(1)
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				script(theirs)
			}()
			return ours, nil
		},
	}, opened
}

// hang waits until the other side closes the connection.
func hang(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestContextBreaksOffARequestWhereverItIs(t *testing.T) {
	t.Parallel()
	after := func(answer string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, answer)
			hang(conn)
		}
	}
	gone := errors.New("gone")
	for _, where := range []struct {
		name    string
		doing   string
		script  func(net.Conn)
		prepare func(*transport)
	}{
		{name: "waiting for a connection", doing: "waiting for a connection", prepare: func(tr *transport) { tr.slots <- struct{}{} }},
		{name: "dialing", doing: "connecting", prepare: func(tr *transport) {
			tr.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done() // As net.Dialer waits for a name; the deadline alone means nothing to it.
				return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
			}
		}},
		{name: "greeting", doing: "connecting", script: hang, prepare: func(tr *transport) { tr.tls = &tls.Config{ServerName: "mx.test"} }},
		{name: "writing", doing: "waiting for the answer", prepare: func(tr *transport) {
			ours, _ := net.Pipe() // Nobody reads from the other end.
			tr.dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		}},
		{name: "waiting for the answer", doing: "waiting for the answer", script: after("")},
		{name: "within the header", doing: "waiting for the answer", script: after("HTTP/1.1 200 OK\r\nContent-Le")},
		{name: "after a 1xx", doing: "waiting for the answer", script: after("HTTP/1.1 100 Continue\r\n\r\n")},
		{name: "within the body", doing: "reading the answer", script: after("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")},
		{name: "within a chunk", doing: "reading the answer", script: after("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok")},
	} {
		for _, how := range []struct {
			name string
			ctx  func(context.Context) (context.Context, context.CancelFunc)
			want error
		}{
			{"time-out", func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			}, context.DeadlineExceeded},
			{"limited", func(ctx context.Context) (context.Context, context.CancelFunc) {
				return &limited{ctx, time.Now().Add(time.Second)}, func() {}
			}, context.DeadlineExceeded},
			{"canceled", func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				timer := time.AfterFunc(time.Second, func() { cancel(gone) })
				return ctx, func() { timer.Stop(); cancel(nil) }
			}, gone},
		} {
			t.Run(where.name+"/"+how.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					tr, _ := piped(where.script)
					busy := 0
					if where.prepare != nil {
						where.prepare(tr)
						busy = len(tr.slots)
					}
					ctx, cancel := how.ctx(t.Context())
					defer cancel()
					began := time.Now()
					_, _, err := ask(ctx, tr, http.MethodGet)
					if !errors.Is(err, how.want) || !strings.HasPrefix(err.Error(), where.doing) {
						t.Errorf("error is %v, want %v while %s", err, how.want, where.doing)
					}
					if d := time.Since(began); d != time.Second {
						t.Errorf("took %v", d)
					}
					if len(tr.slots) != busy || tr.pool.take(t.Context()) != nil {
						t.Error("the request is still in flight, or its connection was kept")
					}
				})
			})
		}
	}
}

func TestARequestWithoutTimeLeftIsNotSent(t *testing.T) {
	t.Parallel()
	tr, opened := piped(hang)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ask(ctx, tr, http.MethodGet); !errors.Is(err, context.Canceled) || opened.Load() != 0 {
		t.Errorf("error is %v, %d connections were opened", err, opened.Load())
	}
}

func TestALateAnswerIsNotTheNextRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := true
		tr, opened := piped(func(conn net.Conn) {
			in := bufio.NewReader(conn)
			if first {
				first = false
				_, _ = http.ReadRequest(in)
				time.Sleep(2 * time.Second)
				_, _ = io.WriteString(conn, strings.Replace(okAnswer, "ok", "no", 1))
				return
			}
			answerAll(conn, in, okAnswer)
		})
		defer tr.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := ask(ctx, tr, http.MethodGet); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want a time-out", err)
		}
		for range 2 {
			time.Sleep(2 * time.Second)
			if _, text, err := ask(t.Context(), tr, http.MethodGet); text != "ok" || err != nil {
				t.Errorf("answer is %q, error %v", text, err)
			}
		}
		if n := opened.Load(); n != 2 {
			t.Errorf("%d connections were opened, want 2", n)
		}
	})
}

func TestAContextThatEndsAfterItsCallHarmsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr, opened := piped(func(conn net.Conn) { answerAll(conn, bufio.NewReader(conn), okAnswer) })
		defer tr.CloseIdleConnections()
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			if _, text, err := ask(ctx, tr, http.MethodGet); text != "ok" || err != nil {
				t.Errorf("answer is %q, error %v", text, err)
			}
			cancel()
			synctest.Wait()
		}
		if n := opened.Load(); n != 1 {
			t.Errorf("%d connections were opened, want 1", n)
		}
	})
}

func TestAContextOfManyCallsBreaksOffTheOneUnderWay(t *testing.T) {
	t.Parallel()
	for calls := range 3 {
		synctest.Test(t, func(t *testing.T) {
			tr, opened := piped(func(conn net.Conn) {
				in := bufio.NewReader(conn)
				for range calls {
					_, _ = http.ReadRequest(in)
					_, _ = io.WriteString(conn, okAnswer)
				}
				hang(conn)
			})
			ctx, cancel := context.WithCancel(t.Context())
			for range calls {
				limit := &limited{ctx, time.Now().Add(time.Second)}
				if _, text, err := ask(limit, tr, http.MethodGet); text != "ok" || err != nil {
					t.Errorf("answer is %q, error %v", text, err)
				}
				time.Sleep(10 * time.Second) // The deadline of one call is not the next one's.
			}
			time.AfterFunc(time.Second, cancel)
			began := time.Now()
			_, _, err := ask(&limited{ctx, time.Now().Add(time.Minute)}, tr, http.MethodPost)
			if d := time.Since(began); !errors.Is(err, context.Canceled) || d != time.Second {
				t.Errorf("call %d: error is %v after %v", calls+1, err, d)
			}
			if opened.Load() != 1 {
				t.Errorf("%d connections were opened for %d calls", opened.Load(), calls+1)
			}
		})
	}
}

func TestAContextThatHasEndedLongAgoHarmsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr, opened := piped(func(conn net.Conn) {
			in := bufio.NewReader(conn)
			for {
				if _, err := http.ReadRequest(in); err != nil {
					return
				}
				time.Sleep(2 * time.Second)
				_, _ = io.WriteString(conn, okAnswer)
			}
		})
		defer tr.CloseIdleConnections()
		ctx, cancel := context.WithCancel(t.Context())
		if _, text, err := ask(ctx, tr, http.MethodGet); text != "ok" || err != nil {
			t.Errorf("answer is %q, error %v", text, err)
		}
		time.AfterFunc(time.Second, cancel) // While the other's call is under way.
		if _, text, err := ask(t.Context(), tr, http.MethodGet); text != "ok" || err != nil || opened.Load() != 1 {
			t.Errorf("answer is %q, error %v, over connection %d", text, err, opened.Load())
		}
	})
}

func TestAContextThatEndsBeforeTheBodyWasReadSpoilsTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr, opened := piped(func(conn net.Conn) { answerAll(conn, bufio.NewReader(conn), okAnswer) })
		defer tr.CloseIdleConnections()
		ctx, cancel := context.WithCancel(t.Context())
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}}
		resp, err := tr.RoundTrip(r.WithContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		cancel()
		synctest.Wait()
		if body, err := io.ReadAll(resp.Body); string(body) != "ok" || err != nil { // It had come already.
			t.Errorf("body is %q, error %v", body, err)
		}
		if _, text, err := ask(t.Context(), tr, http.MethodPost); text != "ok" || err != nil || opened.Load() != 2 {
			t.Errorf("answer is %q, error %v, over connection %d", text, err, opened.Load())
		}
	})
}

func TestAGetThatIsBrokenOffIsNotSentOnceMore(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"time-out": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		},
		"limited": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return &limited{ctx, time.Now().Add(time.Second)}, func() {}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			tr, opened := piped(func(conn net.Conn) {
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, okAnswer)
				hang(conn)
			})
			if _, _, err := ask(t.Context(), tr, http.MethodGet); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := limit(t.Context())
			defer cancel()
			_, _, err := ask(ctx, tr, http.MethodGet) // Over the kept connection.
			if !errors.Is(err, context.DeadlineExceeded) || opened.Load() != 1 {
				t.Errorf("%s: error is %v, %d connections were opened", name, err, opened.Load())
			}
		})
	}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		tr, opened := piped(func(conn net.Conn) {
			open.Add(1)
			defer open.Add(-1)
			answerAll(conn, bufio.NewReader(conn), okAnswer)
		})
		tr.slots = make(chan struct{}, 3)
		together := func(n int) {
			var bodies []io.ReadCloser // All requests are in flight before the first answer is read.
			for range n {
				r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}}
				resp, err := tr.RoundTrip(r.WithContext(t.Context())) //nolint:bodyclose // Below.
				if err != nil {
					t.Fatal(err)
				}
				bodies = append(bodies, resp.Body)
			}
			for _, body := range bodies {
				_, _ = io.Copy(io.Discard, body)
				_ = body.Close()
			}
		}
		together(3)
		// One is in use every 20 s, so the two others grow old.
		for waited := 20 * time.Second; waited <= 3*idleTimeout; waited += 20 * time.Second {
			time.Sleep(20 * time.Second)
			synctest.Wait()
			n := open.Load()
			if waited < idleTimeout/2 && n != 3 || waited >= idleTimeout && n != 1 {
				t.Errorf("%d connections are open after %v", n, waited)
			}
			together(1)
		}
		time.Sleep(idleTimeout)
		synctest.Wait()
		if n := open.Load(); n != 0 || tr.pool.timer != nil {
			t.Errorf("%d connections are open, timer is %v", n, tr.pool.timer)
		}
		if n := opened.Load(); n != 3 {
			t.Errorf("%d connections were opened, want 3", n)
		}
	})
}

// trust has tr take the server's certificate for MX's.
func trust(tr *transport, server *httptest.Server) {
	tr.tls.RootCAs = x509.NewCertPool()
	tr.tls.RootCAs.AddCert(server.Certificate())
}

func TestTransportSpeaksTLSAndKeepsItsConnection(t *testing.T) {
	t.Parallel()
	resumed := make(chan bool, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resumed <- r.TLS.DidResume
		_, _ = io.WriteString(w, "ok")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // The refused handshake is wanted.
	server.StartTLS()
	t.Cleanup(server.Close)
	tr, seen := testTransport(t, server.URL, 1)
	if _, _, err := ask(t.Context(), tr, http.MethodGet); err == nil {
		t.Error("an unknown certificate was taken")
	} else if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("error is %v", err)
	}
	trust(tr, server)
	for range 3 {
		if _, text, err := ask(t.Context(), tr, http.MethodGet); text != "ok" || err != nil {
			t.Fatalf("answer is %q, error %v", text, err)
		}
	}
	if n := seen.opened.Load(); n != 2 {
		t.Errorf("%d connections were opened, want one for each certificate pool", n)
	}
	server.CloseClientConnections()
	untilHeard(t, tr)
	for range 3 { // Those before were no resumption, this is one.
		if <-resumed {
			t.Error("a session was resumed too early")
		}
	}
	if _, text, err := ask(t.Context(), tr, http.MethodPost); text != "ok" || err != nil || !<-resumed {
		t.Errorf("answer is %q, error %v, or the session was not resumed", text, err)
	}
}

func TestTransportSeesWhatCameWithinTLS(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(http.NotFoundHandler()) // For its certificate.
	t.Cleanup(certified.Close)
	var connections atomic.Int32
	base := listen(t, func(n int, conn net.Conn, _ *bufio.Reader) {
		connections.Add(1)
		secure := tls.Server(conn, &tls.Config{Certificates: certified.TLS.Certificates})
		in := bufio.NewReader(secure)
		for {
			if _, err := http.ReadRequest(in); err != nil {
				return
			}
			// Two records, which may arrive together.
			_, _ = io.WriteString(secure, okAnswer)
			if n == 1 {
				_, _ = io.WriteString(secure, strings.Replace(okAnswer, "ok", "no", 1))
			}
		}
	})
	tr, _ := testTransport(t, strings.Replace(base, "http", "https", 1), 1)
	trust(tr, certified)
	if _, _, err := ask(t.Context(), tr, http.MethodGet); err != nil {
		t.Fatal(err)
	}
	untilHeard(t, tr)
	if _, text, err := ask(t.Context(), tr, http.MethodPost); text != "ok" || err != nil || connections.Load() != 2 {
		t.Errorf("answer is %q, error %v, over connection %d", text, err, connections.Load())
	}
}

func TestClientReadsThroughAProxy(t *testing.T) {
	t.Parallel()
	var asked []string
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.RequestURI)
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	proxy, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	base := &url.URL{Scheme: "http", Host: "mx.test", Path: "/"}
	tr := newTransport(&Config{Timeout: time.Minute, MaxInFlight: 1}, base, proxy)
	t.Cleanup(tr.CloseIdleConnections)
	r := &http.Request{Method: http.MethodGet, Host: base.Host, URL: base.JoinPath("/users"), Header: http.Header{}}
	resp, err := tr.RoundTrip(r.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if len(asked) != 1 || asked[0] != "http://mx.test/users" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}
