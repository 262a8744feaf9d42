package embeddedtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/memberwatch/memberwatch/internal/bus/embedded"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openJetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestConnectionSurvivesARestartOfItsServer(t *testing.T) {
	t.Parallel()
	srv := embeddedtest.Start(t)
	back := make(chan struct{}, 1)
	js := openJetStream(t, embeddedtest.Connect(t, srv, nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} })))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	embeddedtest.Restart(t, srv)
	<-back
	ack, err := js.Publish(t.Context(), "s", nil)
	if err != nil || ack.Sequence != 2 {
		t.Errorf("after a restart publishing gives %+v, %v; want sequence 2", ack, err)
	}
}

func TestClusterTakesReplicatedStreamsAtOnceAndLivesThroughTheLossOfOneServer(t *testing.T) {
	t.Parallel()
	servers := embeddedtest.StartCluster(t, 3)
	js := openJetStream(t, embeddedtest.ConnectAll(t, servers))
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.CachedInfo().Cluster.Replicas); n != 2 {
		t.Fatalf("the stream's leader has %d replicas, want 2", n)
	}
	publish(t, js, 1)

	leader := 0
	for i, srv := range servers {
		if srv.NATS().Name() == s.CachedInfo().Cluster.Leader {
			leader = i
		}
	}
	servers[leader].Shutdown()
	publish(t, js, 2)

	servers[leader] = embeddedtest.Restart(t, servers[leader])
	embeddedtest.WaitCurrent(t, servers)
	publish(t, js, 3)
	checkPeers(t, servers)
}

// publish publishes until it is told that the message is stored, as a change of leader asks for.
func publish(t *testing.T, js jetstream.JetStream, atLeast uint64) {
	t.Helper()
	for t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		ack, err := js.Publish(ctx, "s", nil)
		cancel()
		if err == nil {
			if ack.Sequence < atLeast {
				t.Fatalf("stored as sequence %d, want at least %d", ack.Sequence, atLeast)
			}
			return
		}
	}
}

func checkPeers(t *testing.T, servers []*embedded.Server) {
	t.Helper()
	for _, srv := range servers {
		if peers := srv.NATS().JetStreamClusterPeers(); srv.NATS().JetStreamIsLeader() && len(peers) != len(servers) {
			t.Errorf("the leader sees %q, want %d servers", peers, len(servers))
		}
	}
}
