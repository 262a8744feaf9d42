package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a registry that knows the process, the Go runtime and the
// build.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// Handler serves
//
//	/healthz  200 as long as the process lives
//	/readyz   200 or 503, with a [Report] as JSON either way
//	/metrics  what metrics gathers, in Prometheus' formats
func Handler(health *Health, metrics prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n") // Whoever asked has gone if this fails.
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		report := health.Report()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !report.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report) // Whoever asked has gone if this fails.
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
		// One metric that cannot be gathered must not hide the others in an incident.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	return mux
}

// Bounds of a request. Health is answered from memory, metrics may ask NATS for two
// seconds: one that takes longer has a slow client.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute // longer than the usual interval between scrapes
	maxHeader    = 16 << 10
	farewell     = 5 * time.Second // what a request may still take when the server ends
)

// Server is an HTTP port. Make one with [Listen].
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen opens addr (host:port; port 0 takes any) for handler. When it returns,
// clients can connect; they are answered once [Server.Run] runs, which must be
// called to close the port again. It complains to log of what clients do.
func Listen(ctx context.Context, addr string, handler http.Handler, log *slog.Logger) (*Server, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("opening HTTP port: %w", err)
	}
	return &Server{listener: l, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}, nil
}

// Addr is where the server listens, with the real port.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends, then lets the requests in hand finish and closes
// the port. It returns nil after such an end, and the error that ended it otherwise.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := s.http.Shutdown(last)
	if err != nil {
		err = errors.Join(fmt.Errorf("ending HTTP server: %w", err), s.http.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serving HTTP: %w", ended))
	}
	return err
}
