package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// Config says how the server runs. Addr and StoreDir are what an installation
// sets; the rest has defaults.
type Config struct {
	// Addr is where clients connect, as host:port; port 0 takes any free one.
	// Empty means no socket at all: only this process can connect.
	Addr string
	// StoreDir holds streams and consumers. It is created, for this user alone, when it does not exist.
	StoreDir string
	// SyncAlways makes every acknowledged write survive a power cut, for about an eighth of the throughput.
	// Otherwise it survives the death of the process, and a power cut after two minutes.
	SyncAlways bool
	// MaxStore bounds the store in bytes; 0 leaves three quarters of what the disk has free at start.
	MaxStore int64
	// Log takes what the server says: its notices at level debug, warnings and errors at their own. Nil discards them.
	Log *slog.Logger
	// Cluster makes the server one of several; nil runs it alone.
	Cluster *Cluster
}

// Cluster says how a server finds the others of its cluster.
type Cluster struct {
	// Name is the cluster's, the same on every server.
	Name string
	// Server is this server's name, unique in the cluster and the same after a restart.
	Server string
	// Addr is where the other servers connect, as host:port.
	Addr string
	// Routes are the Addr of every server, this one's included: their number is the number of
	// servers that JetStream waits for before it elects its first leader.
	Routes []string
}

// options translates c for nats-server.
func (c Config) options() (*server.Options, error) {
	if c.StoreDir == "" {
		return nil, errors.New("store directory: missing: JetStream needs one that outlives the process")
	}
	opts := &server.Options{
		ServerName:             "memberwatch",
		DontListen:             c.Addr == "",
		NoSigs:                 true,
		NoLog:                  true,
		DisableJetStreamBanner: true,
		JetStream:              true,
		StoreDir:               c.StoreDir,
		SyncAlways:             c.SyncAlways,
		JetStreamMaxStore:      c.MaxStore,
	}
	if c.Addr != "" {
		var err error
		if opts.Host, opts.Port, err = hostPort(c.Addr); err != nil {
			return nil, fmt.Errorf("address of the NATS server: %w", err)
		}
	}
	if c.Cluster != nil {
		host, port, err := hostPort(c.Cluster.Addr)
		if err != nil {
			return nil, fmt.Errorf("cluster address of the NATS server: %w", err)
		}
		opts.ServerName = c.Cluster.Server
		opts.Cluster = server.ClusterOpts{Name: c.Cluster.Name, Host: host, Port: port}
		for _, addr := range c.Cluster.Routes {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: addr})
		}
	}
	return opts, nil
}

// hostPort splits an address as nats-server wants it, to whom 0 means "the default port".
func hostPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port, such as 127.0.0.1:4222", addr)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port number from 0 to 65535", addr)
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}
