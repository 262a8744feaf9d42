package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of a connection: what is slower than that is no sender of webhooks.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a whole request
	writeTimeout  = readTimeout + storeTime + 5*time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	farewell      = 2 * storeTime // what requests in hand may still take when the server ends
)

// Server is the port that webhooks come to. Make one with [Listen].
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens the port that c names for handler. When it returns, senders can
// connect; they are answered once [Server.Run] runs. That closes the port again; so does
// [Server.Close], in its place. It complains to log of what senders do.
func Listen(ctx context.Context, c *Config, handler http.Handler, log *slog.Logger) (*Server, error) {
	secured, err := c.tls()
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("opening webhook port (WEBHOOK_ADDR): %w", err)
	}
	if secured != nil {
		l = tls.NewListener(l, secured)
	}
	return &Server{listener: l, http: &http.Server{
		Handler:           handler,
		TLSConfig:         secured,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // scanners break handshakes all day
	}}, nil
}

// Addr is where the server listens, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close closes the port of a server that will not run. Once [Server.Run] has
// ended there is nothing left to close.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing webhook port: %w", err)
	}
	return nil
}

// Run serves until ctx ends, then lets the requests in hand finish and closes
// the port. It returns nil after such an end, and the error that ended it otherwise.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving webhooks: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := s.http.Shutdown(last)
	if err != nil {
		err = errors.Join(fmt.Errorf("ending webhook server: %w", err), s.http.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serving webhooks: %w", ended))
	}
	return err
}
