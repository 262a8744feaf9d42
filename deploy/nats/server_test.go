package nats_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience ends a broken test, no working one.
const patience = 30 * time.Second

// passwords of the users of users-password.conf, whose names are the keys.
var passwords = map[string]string{
	"worker": "w0rker", "operator": "0perator", "publisher": "pub1isher", "subscriber": "subscr1ber", "oauth": "0auth",
}

// load reads a configuration of this directory, and changes nothing in it but
// where the server listens and stores.
func load(t *testing.T, file string) *server.Options {
	t.Helper()
	for user, password := range passwords {
		t.Setenv(strings.ToUpper(user)+"_PASSWORD", password)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if o.HTTPPort != 8222 || o.StoreDir != "/data" || o.Port != 4222 || !o.SyncAlways {
		t.Fatalf("%s: monitoring at %d, store in %q, clients at %d, sync always %t; this test knows no such configuration",
			file, o.HTTPPort, o.StoreDir, o.Port, o.SyncAlways)
	}
	o.Host, o.Port, o.HTTPPort, o.StoreDir = "127.0.0.1", server.RANDOM_PORT, 0, t.TempDir()
	o.NoSigs, o.NoLog = true, true
	return o
}

// start runs a server until the test ends.
func start(t *testing.T, o *server.Options, log server.Logger) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	if log != nil {
		s.SetLoggerV2(log, false, true, false)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(patience) {
		t.Fatal("server does not become ready")
	}
	return s
}

// a user is a connection, and what the server has refused it.
type user struct {
	*nats.Conn
	js jetstream.JetStream

	mu      sync.Mutex
	refused []error
}

// connect connects as one of the users of users-password.conf.
func connect(t *testing.T, s *server.Server, name string) *user {
	t.Helper()
	return dial(t, s, nats.UserInfo(name, passwords[name]))
}

func dial(t *testing.T, s *server.Server, options ...nats.Option) *user {
	t.Helper()
	u := &user{}
	note := func(_ *nats.Conn, _ *nats.Subscription, err error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.refused = append(u.refused, err)
	}
	var err error
	if u.Conn, err = nats.Connect(s.ClientURL(), append(options, nats.ErrorHandler(note))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	if u.js, err = jetstream.New(u.Conn); err != nil {
		t.Fatal(err)
	}
	return u
}

// eventually waits until a condition on another process or the server holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// trace is a server's log of what its clients send, and of what it refuses.
type trace struct {
	mu         sync.Mutex
	violations []string
	subjects   map[string]map[string]bool // by verb and client; then by subject
}

var traced = regexp.MustCompile(`(cid:\d+).* - <<- \[(H?PUB|SUB) (\S+)`)

func (l *trace) Tracef(format string, args ...any) {
	m := traced.FindStringSubmatch(fmt.Sprintf(format, args...))
	if m == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := strings.TrimPrefix(m[2], "H") + " " + m[1]
	if l.subjects == nil {
		l.subjects = map[string]map[string]bool{}
	}
	if l.subjects[key] == nil {
		l.subjects[key] = map[string]bool{}
	}
	l.subjects[key][m[3]] = true
}

func (l *trace) Errorf(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); strings.Contains(line, "Violation") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.violations = append(l.violations, line)
	}
}

func (l *trace) Noticef(string, ...any) {}
func (l *trace) Warnf(string, ...any)   {}
func (l *trace) Fatalf(string, ...any)  {}
func (l *trace) Debugf(string, ...any)  {}

// sent returns what a client published ("PUB") or subscribed to ("SUB").
func (l *trace) sent(verb string, cid uint64) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for s := range l.subjects[fmt.Sprintf("%s cid:%d", verb, cid)] {
		all = append(all, s)
	}
	return all
}
