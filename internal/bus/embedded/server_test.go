package embedded_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a server until the end of the test.
func startServer(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	srv, err := embedded.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Shutdown)
	return srv
}

// stream opens a JetStream stream called S on the server at url.
func stream(t *testing.T, url string, opts ...nats.Option) (jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	return js, s
}

func TestServerTakesConnectionsAtOnceAndKeepsItsStreamsAcrossARestart(t *testing.T) {
	t.Parallel()
	srv := startServer(t, embedded.Config{Addr: "127.0.0.1:0", StoreDir: t.TempDir(), SyncAlways: true})
	js, _ := stream(t, srv.URL())
	if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	srv.Shutdown()
	srv.Shutdown()

	again := startServer(t, srv.Config())
	if again.URL() != srv.URL() {
		t.Errorf("after a restart the server is at %s, want %s", again.URL(), srv.URL())
	}
	_, s := stream(t, again.URL())
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil || string(msg.Data) != "kept" {
		t.Errorf("after a restart the first message is %v, %v; want kept", msg, err)
	}
}

func TestServerWithoutAddressIsReachedInProcessOnly(t *testing.T) {
	t.Parallel()
	srv := startServer(t, embedded.Config{StoreDir: t.TempDir()})
	if srv.URL() != "" {
		t.Errorf("URL is %q, want none", srv.URL())
	}
	if srv.NATS().Addr() != nil {
		t.Errorf("listens on %s, want no socket", srv.NATS().Addr())
	}
	js, _ := stream(t, "", nats.InProcessServer(srv))
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Error(err)
	}
}

func TestURLOfAServerOnAllAddressesCanBeDialled(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0"} {
		srv := startServer(t, embedded.Config{Addr: addr, StoreDir: t.TempDir()})
		if !strings.HasPrefix(srv.URL(), "nats://127.0.0.1:") {
			t.Errorf("with address %s the URL is %s, want one on 127.0.0.1", addr, srv.URL())
		}
		stream(t, srv.URL())
	}
}

func TestStoreLimitIsTheOneConfigured(t *testing.T) {
	t.Parallel()
	srv := startServer(t, embedded.Config{StoreDir: t.TempDir(), MaxStore: 1 << 20, SyncAlways: true})
	js := srv.NATS().JetStreamConfig()
	if js.MaxStore != 1<<20 || !js.SyncAlways {
		t.Errorf("store of %d bytes, sync always %t; want %d, true", js.MaxStore, js.SyncAlways, 1<<20)
	}
}

func TestStartRefusesAnAddressInUseAndLetsTheStoreGo(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, dir := l.Addr().String(), t.TempDir()
	_, err = embedded.Start(embedded.Config{Addr: addr, StoreDir: dir})
	if !errors.Is(err, embedded.ErrAddrInUse) || !strings.Contains(err.Error(), "set NATS_URL=nats://"+addr) {
		t.Errorf("error %v; want ErrAddrInUse with the address and what to set", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	startServer(t, embedded.Config{Addr: addr, StoreDir: dir})
}

func TestStartRefusesAStoreThatAnotherServerHas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	srv := startServer(t, embedded.Config{StoreDir: dir})
	_, err := embedded.Start(embedded.Config{StoreDir: dir})
	if !errors.Is(err, embedded.ErrStoreInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v; want ErrStoreInUse with the directory", err)
	}
	stream(t, "", nats.InProcessServer(srv)) // The refused one did no harm.
}

func TestStartRefusesAStoreItCannotWrite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Start(embedded.Config{StoreDir: filepath.Join(file, "store")})
	if !errors.Is(err, embedded.ErrStoreUnwritable) || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v; want ErrStoreUnwritable with the path", err)
	}
}

func TestStartRefusesAStoreThatJetStreamCannotOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Start(embedded.Config{StoreDir: dir})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Errorf("error %v; want what JetStream says", err)
	}
}

func TestStartNamesWhatIsWrongWithItsConfig(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  embedded.Config
		want string
	}{
		"no store":            {embedded.Config{Addr: "127.0.0.1:0"}, "store directory: missing"},
		"no port":             {embedded.Config{Addr: "127.0.0.1", StoreDir: "x"}, `"127.0.0.1" is not host:port`},
		"a port out of range": {embedded.Config{Addr: "127.0.0.1:70000", StoreDir: "x"}, `"127.0.0.1:70000" has no port number`},
		"no cluster address":  {embedded.Config{StoreDir: "x", Cluster: &embedded.Cluster{}}, "cluster address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := embedded.Start(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestServerSaysWhatItHasToSayToTheLoggerOnly(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	startServer(t, embedded.Config{StoreDir: t.TempDir(), Log: log}).Shutdown()
	if got := out.String(); !strings.Contains(got, `level=DEBUG msg=nats-server says="Server is ready"`) {
		t.Errorf("log is\n%s\nwant the server's notices at level debug", got)
	}
}

// lockedBuffer is a buffer that goroutines of the server may write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
