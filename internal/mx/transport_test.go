package mx_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// wire answers every connection with the same bytes and closes it.
func wire(t *testing.T, answer string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				if _, err := conn.Read(buf); err == nil {
					_, _ = io.WriteString(conn, answer)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		handlers.Wait()
	})
	return "http://" + listener.Addr().String()
}

func TestCutConnectionsAreConnectionErrors(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"before the answer":     "",
		"within the header":     "HTTP/1.1 200 OK\r\nContent-Le",
		"within the body":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"member\":",
		"within a chunked body": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{\"member\":",
		"not HTTP":              "SSH-2.0-nonsense\r\n",
	} {
		_, err := newClient(t, config(wire(t, answer))).ReadMember(t.Context(), "USR-1", "MBR-1")
		if mx.KindOf(err) != mx.Connection {
			t.Errorf("%s: error is %v, want a connection error", name, err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + listener.Addr().String()
	_ = listener.Close()
	_, err = newClient(t, config(base)).ReadMember(t.Context(), "USR-1", "MBR-1")
	if mx.KindOf(err) != mx.Connection || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: error is %v, want a connection error", err)
	}
}

// stall is a transport whose answers never come, or whose bodies never end.
type stall struct{ inBody bool }

func (s stall) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.inBody {
		return &http.Response{StatusCode: 200, ContentLength: -1, Body: stalledBody{r.Context()}}, nil
	}
	<-r.Context().Done()
	return nil, r.Context().Err()
}

type stalledBody struct{ ctx context.Context } //nolint:containedctx // A body has no other way to its request's context.

func (b stalledBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (stalledBody) Close() error { return nil }

func TestTimeoutIsToldFromTheCallersContextEnding(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	for _, inBody := range []bool{false, true} {
		for _, c := range []struct {
			name string
			ctx  func(context.Context) (context.Context, context.CancelFunc)
			want mx.Kind
			is   error
		}{
			{"our time-out", context.WithCancel, mx.Timeout, context.DeadlineExceeded},
			{"a later deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Hour)
			}, mx.Timeout, context.DeadlineExceeded},
			{"an earlier deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			}, mx.Canceled, context.DeadlineExceeded},
			{"canceled", func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(time.Second, func() { cancel(gone) })
				return ctx, func() { cancel(nil) }
			}, mx.Canceled, gone},
		} {
			synctest.Test(t, func(t *testing.T) {
				client := newClient(t, config("http://127.0.0.1:1"), mx.WithTransport(func(http.RoundTripper) http.RoundTripper {
					return stall{inBody}
				}))
				ctx, cancel := c.ctx(t.Context())
				defer cancel()
				_, err := client.ReadMember(ctx, "USR-1", "MBR-1")
				if mx.KindOf(err) != c.want || !errors.Is(err, c.is) {
					t.Errorf("%s, in the body %t: error is %v, want kind %v", c.name, inBody, err, c.want)
				}
			})
		}
	}
}

func TestTimeoutOverRealConnection(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	c := config(serve(t, func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() { close(release) }) // Before the server closes.
	c.Timeout = 100 * time.Millisecond
	_, err := newClient(t, c).ReadMember(t.Context(), "USR-1", "MBR-1")
	if mx.KindOf(err) != mx.Timeout {
		t.Errorf("error is %v, want a time-out", err)
	}
}

func TestConnectionsAreKeptAndNeverMoreThanConfigured(t *testing.T) {
	t.Parallel()
	const inFlight = 8
	var opened, serving atomic.Int32
	var meet sync.WaitGroup // The first inFlight requests are in flight at once.
	meet.Add(inFlight)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serving.Add(1) <= inFlight {
			meet.Done()
			meet.Wait()
		}
		// Failures keep their connection, too.
		if strings.HasSuffix(r.URL.Path, "missing") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, member1)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	c := config(server.URL)
	c.MaxInFlight = inFlight
	client := newClient(t, c)
	for range 5 {
		var calls sync.WaitGroup
		for i := range 4 * inFlight {
			calls.Go(func() {
				id := "MBR-1"
				if i%3 == 0 {
					id = "missing"
				}
				if _, err := client.ReadMember(t.Context(), "USR-1", id); err != nil && mx.KindOf(err) != mx.NotFound {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	}
	if n := opened.Load(); n != inFlight {
		t.Errorf("%d connections were opened, want %d", n, inFlight)
	}
}
