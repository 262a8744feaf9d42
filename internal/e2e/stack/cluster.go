package stack

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	apinetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go"
)

// Nodes is how many NATS nodes there are, numbered from 0.
func (s *Containers) Nodes() int { return s.nodes }

// Leader is the node that leads a stream, -1 while nobody does.
func (s *Containers) Leader(ctx context.Context, js jetstream.JetStream, stream string) int {
	str, err := js.Stream(ctx, stream)
	if err != nil || str.CachedInfo().Cluster == nil {
		return -1
	}
	return slices.IndexFunc(s.servers, func(c *container) bool { return c.name == str.CachedInfo().Cluster.Leader })
}

// KillNode kills a node as a power switch does.
func (s *Containers) KillNode(tb testing.TB, i int) {
	tb.Helper()
	Kill(tb, s.servers[i])
}

// StopNode ends a node in its own order, which includes handing over what it leads.
func (s *Containers) StopNode(tb testing.TB, i int) {
	tb.Helper()
	Stop(tb, s.servers[i])
}

// StartNode starts a node that has ended on the store it had, and returns when it is healthy.
func (s *Containers) StartNode(tb testing.TB, i int) {
	tb.Helper()
	s.docker(tb, "starting node", func(d *testcontainers.DockerClient) error {
		_, err := d.ContainerStart(tb.Context(), s.servers[i].ctr.GetContainerID(), client.ContainerStartOptions{})
		return err
	})
	s.Healthy(tb, i)
}

// CutNode takes a node off the network, without a farewell to anybody.
func (s *Containers) CutNode(tb testing.TB, i int) {
	tb.Helper()
	s.docker(tb, "cutting node", func(d *testcontainers.DockerClient) error {
		_, err := d.NetworkDisconnect(tb.Context(), s.network.ID,
			client.NetworkDisconnectOptions{Container: s.servers[i].ctr.GetContainerID(), Force: true})
		return err
	})
	s.proxies[i].Set(Stall) // and customers hear no more of it than workers do
}

// HealNode puts it back, and returns when it is healthy.
func (s *Containers) HealNode(tb testing.TB, i int) {
	tb.Helper()
	s.docker(tb, "healing node", func(d *testcontainers.DockerClient) error {
		_, err := d.NetworkConnect(tb.Context(), s.network.ID, client.NetworkConnectOptions{
			Container:      s.servers[i].ctr.GetContainerID(),
			EndpointConfig: &apinetwork.EndpointSettings{Aliases: []string{node(i)}},
		})
		return err
	})
	s.proxies[i].Cut(true)
	s.proxies[i].Set(Pass)
	s.Healthy(tb, i)
}

// Healthy returns when a node says that all it has is as it should be.
func (s *Containers) Healthy(tb testing.TB, i int) {
	tb.Helper()
	Eventually(tb, s.servers[i].name+" is healthy", func() bool {
		at, err := s.servers[i].ctr.PortEndpoint(tb.Context(), monitorPort, "http")
		if err != nil {
			return false // it has no ports before it is on the network
		}
		status, _ := get(tb, at+"/healthz")
		return status == http.StatusOK
	})
}

// front is where customers find a node, whatever becomes of its port.
func (s *Containers) front(tb testing.TB, i int) *Proxy {
	tb.Helper()
	return NewProxy(tb, func() (string, error) {
		at, err := s.servers[i].ctr.PortEndpoint(context.Background(), natsPort, "")
		if err != nil {
			return "", fmt.Errorf("looking up port of %s: %w", s.servers[i].name, err)
		}
		return strings.TrimPrefix(at, "://"), nil
	})
}

func (s *Containers) docker(tb testing.TB, what string, do func(*testcontainers.DockerClient) error) {
	tb.Helper()
	d, err := testcontainers.NewDockerClientWithOpts(tb.Context())
	if err == nil {
		defer d.Close()
		err = do(d)
	}
	if err != nil {
		tb.Fatalf("%s: %v", what, err)
	}
}
