package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// minServer is the oldest nats-server that has message schedules.
const minServerMajor, minServerMinor = 2, 12

// Health is told what keeps the bus from working.
type Health interface {
	// Set records the state of a check; nil is well.
	Set(check string, err error)
}

// Names of the health checks that this package sets.
const (
	CheckNATS     = "nats"
	CheckTopology = "topology"
	CheckFetching = "fetching_" // and the name of the consumer whose messages cannot be fetched
)

// connectAgain is the time between attempts at the first connection.
const connectAgain = time.Second

// Connect returns a connection that reconnects for ever and never buffers what
// is published meanwhile: a write that could not be sent fails at once, and its
// job begins again. While no server can be reached it waits, telling health why,
// until ctx ends; a server that refuses us is an error at once.
func Connect(ctx context.Context, c Config, name string, health Health, log *slog.Logger, more ...nats.Option) (*nats.Conn, error) {
	return connect(ctx, c, name, newDenials(defaultRhythm(), health, log), more...)
}

func connect(ctx context.Context, c Config, name string, denied *denials, more ...nats.Option) (*nats.Conn, error) {
	health, log := denied.health, denied.log
	opts := []nats.Option{
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may end before the new ones are in their file
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1),
		// A server that was cut off from the network is left after 15 seconds at most;
		// meanwhile the messages in hand would come again anyway (ackWait).
		nats.PingInterval(ackWait / 3),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(askTimeout),
		nats.CustomInboxPrefix("_INBOX_" + strings.ReplaceAll(name, ".", "_")),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("NATS disconnected", "error", err)
				denied.disconnected(fmt.Errorf("disconnected: %w", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("NATS reconnected", "server", nc.ConnectedServerName())
			denied.connected(nc)
		}),
		nats.PermissionErrOnSubscribe(true), // so that denials can try
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if !denied.note(nc, err) {
				log.Debug("NATS reports an error", "error", err) // whoever asked has it too
			}
		}),
	}
	opts = append(opts, authOptions(&c)...)
	seed := seedFile{path: c.NKeySeedFile}
	if seed.path != "" {
		opts = append(opts, seed.option)
	}
	nc, err := first(ctx, c.URL, health, log, append(opts, more...))
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS (NATS_URL): %w", err)
	}
	seed.conn.Store(nc)
	if err := checkServer(nc.ConnectedServerVersion()); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// first makes the first connection.
func first(ctx context.Context, url string, health Health, log *slog.Logger, opts []nats.Option) (*nats.Conn, error) {
	for told := false; ; told = true {
		nc, err := nats.Connect(url, opts...)
		if err == nil || !unreachable(err) {
			return nc, err //nolint:wrapcheck // Connect does.
		}
		health.Set(CheckNATS, err)
		if !told {
			log.Warn("NATS cannot be reached; trying again until it can", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("giving up: %w", err)
		case <-time.After(connectAgain):
		}
	}
}

// unreachable reports whether a failed connection may succeed later without
// anybody changing a setting.
func unreachable(err error) bool {
	_, refused := errors.AsType[*net.OpError](err)
	_, unresolved := errors.AsType[*net.DNSError](err)
	closed := errors.Is(err, io.EOF) // as a load balancer does that has no server behind it yet
	return refused || unresolved || closed || errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout)
}

func authOptions(c *Config) []nats.Option {
	var opts []nats.Option
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.TLSCA != "" {
		opts = append(opts, nats.RootCAs(c.TLSCA))
	}
	if c.TLSCert != "" {
		opts = append(opts, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	return opts
}

// checkServer refuses a server that lacks what the topology needs.
func checkServer(version string) error {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil {
		return fmt.Errorf("nats-server says its version is %q; need %d.%d or newer", version, minServerMajor, minServerMinor)
	}
	if a < minServerMajor || (a == minServerMajor && b < minServerMinor) {
		return fmt.Errorf("nats-server is version %s; need %d.%d or newer, which has message schedules", version, minServerMajor, minServerMinor)
	}
	return nil
}
