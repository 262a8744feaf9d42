// Package embeddedtest gives tests a real NATS server with JetStream, alone or
// as a cluster in one process. Everything it starts is on loopback, keeps its
// store in a temporary directory, and is gone when the test is.
package embeddedtest

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
)

// Bounds of waiting for servers. They end a broken test, no working one.
const (
	formation = 30 * time.Second
	glance    = 10 * time.Millisecond
	clusters  = 5 // tries to get a set of ports that nobody takes meanwhile
)

// Start runs a server on a port of its own.
func Start(tb testing.TB) *embedded.Server {
	tb.Helper()
	srv, err := start(tb, embedded.Config{Addr: "127.0.0.1:0", StoreDir: StoreDir(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	return srv
}

func start(tb testing.TB, cfg embedded.Config) (*embedded.Server, error) {
	tb.Helper()
	srv, err := embedded.Start(cfg)
	if err == nil {
		tb.Cleanup(srv.Shutdown)
	}
	return srv, err
}

// Restart shuts srv down, if that was not done before, and returns a server
// with the same store at the same address, and in the same cluster.
func Restart(tb testing.TB, srv *embedded.Server) *embedded.Server {
	tb.Helper()
	srv.Shutdown()
	again, err := start(tb, srv.Config())
	if err != nil {
		tb.Fatal(err)
	}
	return again
}

// Connect connects to srv until the end of the test, through restarts too.
// Options override that.
func Connect(tb testing.TB, srv *embedded.Server, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	return connect(tb, srv.URL(), opts)
}

// ConnectAll connects to one of servers, and to another when that one goes.
func ConnectAll(tb testing.TB, servers []*embedded.Server, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	urls := make([]string, len(servers))
	for i, srv := range servers {
		urls[i] = srv.URL()
	}
	return connect(tb, strings.Join(urls, ","), opts)
}

func connect(tb testing.TB, url string, opts []nats.Option) *nats.Conn {
	tb.Helper()
	opts = append([]nats.Option{
		nats.Name(tb.Name()), nats.MaxReconnects(-1), nats.ReconnectWait(glance),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		tb.Fatalf("connecting to %s: %v", url, err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// StartCluster runs n servers that form a JetStream cluster, and returns when
// streams with n replicas can be made. Shut one down with its Shutdown, bring it
// back with [Restart], and wait for it with [WaitCurrent].
func StartCluster(tb testing.TB, n int) []*embedded.Server {
	tb.Helper()
	for range clusters {
		servers, err := startCluster(tb, n)
		if errors.Is(err, embedded.ErrAddrInUse) {
			continue // Somebody took a port between our choice and our use of it.
		}
		if err != nil {
			tb.Fatal(err)
		}
		WaitCurrent(tb, servers)
		return servers
	}
	tb.Fatalf("no free ports for a cluster of %d in %d tries", n, clusters)
	return nil
}

func startCluster(tb testing.TB, n int) ([]*embedded.Server, error) {
	tb.Helper()
	routes, err := freeAddrs(n)
	if err != nil {
		return nil, err
	}
	var servers []*embedded.Server
	for i := range n {
		srv, err := start(tb, embedded.Config{
			Addr: "127.0.0.1:0", StoreDir: StoreDir(tb),
			Cluster: &embedded.Cluster{Name: "test", Server: fmt.Sprintf("n%d", i+1), Addr: routes[i], Routes: routes},
		})
		if err != nil {
			for _, s := range servers {
				s.Shutdown()
			}
			return nil, err
		}
		servers = append(servers, srv)
	}
	return servers, nil
}

// freeAddrs finds n addresses that were free a moment ago. The servers of a
// cluster must know each other's before any of them starts.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	var held []net.Listener // all stay open until the last is found, so that they differ
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It waits for nothing.
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		addrs = append(addrs, l.Addr().String())
	}
	var err error
	for _, l := range held {
		err = errors.Join(err, l.Close())
	}
	return addrs, err
}

// WaitCurrent waits until the running ones among servers have a JetStream
// leader that sees all of them, and have caught up with it.
func WaitCurrent(tb testing.TB, servers []*embedded.Server) {
	tb.Helper()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	end := time.NewTimer(formation)
	defer end.Stop()
	for !current(servers) {
		select {
		case <-tick.C:
		case <-end.C:
			tb.Fatalf("%d servers did not form a cluster in %s", len(servers), formation)
		}
	}
}

func current(servers []*embedded.Server) bool {
	running, seen := 0, 0
	for _, srv := range servers {
		ns := srv.NATS()
		if !ns.Running() {
			continue
		}
		running++
		if !ns.JetStreamIsCurrent() {
			return false
		}
		if ns.JetStreamIsLeader() {
			seen = len(ns.JetStreamClusterPeers())
		}
	}
	return running > 0 && seen >= running
}
