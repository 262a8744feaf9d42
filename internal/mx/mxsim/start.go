package mxsim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Start binds addr (host:port; empty: a free port of 127.0.0.1) and serves a
// new simulator there until Close. ctx is for the binding alone.
func Start(ctx context.Context, addr string, cfg Config) (*Server, error) {
	return StartTLS(ctx, addr, cfg, nil)
}

// StartTLS is [Start] for https, which a client on another host insists on: with
// the certificates of secure, and without HTTP/2, whose connections faults could
// not cut. A nil secure means http.
func StartTLS(ctx context.Context, addr string, cfg Config, secure *tls.Config) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s := New(cfg)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("binding simulator: %w", err)
	}
	s.URL = "http://" + listener.Addr().String()
	if secure != nil {
		s.URL = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, secure)
	}

	var wg sync.WaitGroup // the accept loop, and each connection
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		// New connections are announced by the accept loop, so that none can
		// come once it has ended.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				wg.Add(1)
			case http.StateClosed, http.StateHijacked:
				wg.Done()
			case http.StateActive, http.StateIdle:
			}
		},
	}
	ended := make(chan error, 1)
	wg.Go(func() { ended <- server.Serve(listener) })
	s.close = sync.OnceValue(func() error {
		err := server.Close() // ends what waits and hangs
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		wg.Wait()
		if err != nil {
			return fmt.Errorf("closing simulator: %w", err)
		}
		return nil
	})
	return s, nil
}

// Close stops a server begun with [Start]: connections are closed whatever
// they wait for, and all goroutines have ended when it returns.
func (s *Server) Close() error { return s.close() }
