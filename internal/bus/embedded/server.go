package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// What keeps a server from starting, and a caller may act on.
var (
	// ErrAddrInUse means that another process listens on the address.
	ErrAddrInUse = errors.New("address already in use")
	// ErrStoreInUse means that another server has the store open, in this process or another.
	ErrStoreInUse = errors.New("store already in use")
	// ErrStoreUnwritable means that the store directory cannot be created or written.
	ErrStoreUnwritable = errors.New("store not writable")
)

// Listeners are up when [server.Server.Start] returns, save that of the cluster, which a goroutine opens.
const (
	readyTries = 100
	readyPause = 100 * time.Millisecond
)

// Server is a running nats-server. All methods may be called concurrently.
type Server struct {
	cfg  Config
	nats *server.Server

	shutdown sync.Once
	lock     *os.File // held until the store is closed
}

// Start runs a server and returns it once it takes connections. Recovering a
// large store takes its time: about a second for each million messages.
//
// Errors are [ErrAddrInUse], [ErrStoreInUse], [ErrStoreUnwritable], or say what
// is wrong with cfg. After an error nothing runs and nothing is held.
func Start(cfg Config) (*Server, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("starting NATS server: %w", err)
	}
	lock, err := openStore(cfg.StoreDir)
	if err != nil {
		return nil, fmt.Errorf("starting NATS server: %w", err)
	}
	s := &Server{cfg: cfg, lock: lock}
	if err := s.start(opts); err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("starting NATS server: %w", err)
	}
	return s, nil
}

func (s *Server) start(opts *server.Options) error {
	ns, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("checking options: %w", err)
	}
	s.nats = ns
	log := newLogger(s.cfg.Log)
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	for range readyTries {
		if err := log.fatal(); err != nil {
			return s.explain(err)
		}
		if ns.ReadyForConnections(readyPause) {
			if addr, ok := ns.Addr().(*net.TCPAddr); ok {
				s.cfg.Addr = net.JoinHostPort(opts.Host, strconv.Itoa(addr.Port))
			}
			return nil
		}
	}
	return errors.New("not ready for connections in time")
}

// explain adds the fix to a refusal, where there is one.
func (s *Server) explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listening on %s: %w; set NATS_URL=nats://%[1]s when that is the NATS server to use, else stop what listens there", s.cfg.Addr, ErrAddrInUse)
	}
	return err
}

// openStore creates dir when it does not exist and claims it for this server.
func openStore(dir string) (*os.File, error) {
	const fix = "make it a directory that this user may write, on a volume that outlives the process"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrStoreUnwritable, err, fix)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "memberwatch.lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // The operator names the directory.
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrStoreUnwritable, err, fix)
	}
	if err := tryLock(lock); err != nil {
		_ = lock.Close()
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%w: %s: another memberwatch runs on it; stop that one or give this one a directory of its own", ErrStoreInUse, dir)
		}
		return nil, fmt.Errorf("locking store %s: %w", dir, err)
	}
	return lock, nil
}

// Shutdown disconnects everybody, closes the store and returns when that is
// done. It may be called again, and then waits for the first call.
func (s *Server) Shutdown() {
	s.shutdown.Do(func() {
		if s.nats != nil {
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
		}
		_ = s.lock.Close() // Closing unlocks; it was only ever read.
	})
}

// Config is what the server was started with, except that a port 0 in Addr is
// the real one: starting with it again, after Shutdown, gives the same server at
// the same address.
func (s *Server) Config() Config { return s.cfg }

// URL is where a client on this machine connects, as nats://host:port. It is
// empty when the server has no socket.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.cfg.Addr)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // "All addresses" is no address to dial.
	}
	return "nats://" + net.JoinHostPort(host, port)
}

// InProcessConn connects to the server without a socket. It makes a Server
// acceptable to nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) { return s.nats.InProcessConn() }

// NATS is the server underneath, for tests that ask what no client can, such as
// who leads.
func (s *Server) NATS() *server.Server { return s.nats }
