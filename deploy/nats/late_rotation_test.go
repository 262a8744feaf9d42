package nats_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func TestWorkerWaitsForNewCredentialsThatComeAfterTheOldOnesEnded(t *testing.T) {
	i := newIsland(t)
	file := filepath.Join(t.TempDir(), "worker.creds")
	first, creds := i.credentials(t)
	replace(t, file, creds)
	sim := simulate(t)
	env := settings(sim, "NATS_URL="+i.server.ClientURL(), "NATS_CREDS="+file)
	operate(t, env, "topology", "apply")
	w := serve(t, env)
	i.revoke(t, first)
	// A client of NATS gives up by default when it is refused a second time.
	eventually(t, "the worker has been refused several times", func() bool {
		_, err := w.get(t.Context(), "/readyz")
		return err != nil && refusals(t, i.server) > 2
	})
	second, creds := i.credentials(t)
	replace(t, file, creds)
	eventually(t, "the worker is there as another user", func() bool { return connectedAs(t, i.server, second) })
}

// refusals is how many connections were ended for their credentials.
func refusals(t *testing.T, s *server.Server) (n int) {
	t.Helper()
	z, err := s.Connz(&server.ConnzOptions{Username: true, State: server.ConnClosed, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range z.Conns {
		if strings.Contains(c.Reason, "Auth") || strings.Contains(c.Reason, "Credentials") {
			n++
		}
	}
	return n
}
