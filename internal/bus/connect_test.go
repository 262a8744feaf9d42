package bus

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

// As a load balancer does while no server behind it is up.
func TestTheFirstConnectionWaitsWhileWhoeverAcceptsItClosesIt(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { _ = l.Close() }).Stop()
	addr := l.Addr().String()
	c := good()
	c.URL = "nats://" + addr
	ended := make(chan error, 1)
	go func() {
		nc, err := Connect(t.Context(), c, "memberwatch", noHealth{}, slog.New(slog.DiscardHandler))
		if err == nil {
			nc.Close()
		}
		ended <- err
	}()
	for range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		select {
		case err := <-ended:
			t.Fatalf("gave up: %v", err)
		default:
		}
	}
	_ = l.Close()
	srv, err := embedded.Start(embedded.Config{Addr: addr, StoreDir: embeddedtest.StoreDir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
