package nats_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// addMember adds a member that needs its user to authorize.
func addMember(t *testing.T, sim *mxsim.Server) mxsim.Member {
	t.Helper()
	u, err := sim.AddUser(mxsim.User{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := sim.AddMember(u.GUID, mxsim.Patch{"is_oauth": true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// seeds makes an nkey for every role: its public key goes to the environment of
// the server, the file with its seed is returned by role.
func seeds(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for role := range passwords {
		key, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		public, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := key.Seed()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(strings.ToUpper(role)+"_NKEY", public)
		files[role] = filepath.Join(t.TempDir(), role+".nk")
		if err := os.WriteFile(files[role], seed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// cluster starts the three servers of cluster.conf.
func cluster(t *testing.T, ca *authority) []*server.Server {
	t.Helper()
	var ports []int
	var routes []string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatal("no TCP address")
		}
		ports = append(ports, addr.Port)
		routes = append(routes, "nats://127.0.0.1:"+strconv.Itoa(addr.Port))
		l.Close()
	}
	t.Setenv("NATS_ROUTES", "["+strings.Join(routes, ", ")+"]")
	t.Setenv("TLS_CA", ca.ca)
	t.Setenv("TLS_VERIFY", "true")
	var all []*server.Server
	for i, port := range ports {
		name := fmt.Sprintf("n%d", i+1)
		certificate := ca.issue(t, name)
		t.Setenv("NATS_SERVER_NAME", name)
		t.Setenv("TLS_CERT", certificate.cert)
		t.Setenv("TLS_KEY", certificate.key)
		o := load(t, "cluster.conf")
		if o.Cluster.Port != 6222 || len(o.Routes) != 3 || o.ServerName != name {
			t.Fatalf("cluster.conf: server %q on %d with routes %v", o.ServerName, o.Cluster.Port, o.Routes)
		}
		o.Cluster.Host, o.Cluster.Port = "127.0.0.1", port
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		all = append(all, s)
	}
	eventually(t, "the cluster has a leader", func() bool {
		return slices.ContainsFunc(all, (*server.Server).JetStreamIsLeader) &&
			!slices.ContainsFunc(all, func(s *server.Server) bool { return !s.JetStreamIsCurrent() })
	})
	return all
}

func TestThreeNodesServeEverybodyByNKeyAndMutualTLS(t *testing.T) {
	ca, keys := newAuthority(t), seeds(t)
	servers := cluster(t, ca)
	sim := simulate(t)
	mine := ca.issue(t, "client")
	env := func(role string) []string {
		return settings(sim, "NATS_URL="+servers[0].ClientURL(), "STREAM_REPLICAS=3", "NATS_NKEY_SEED_FILE="+keys[role],
			"NATS_TLS_CA="+ca.ca, "NATS_TLS_CERT="+mine.cert, "NATS_TLS_KEY="+mine.key)
	}
	as := func(role string) *user {
		t.Helper()
		key, err := nats.NkeyOptionFromSeed(keys[role])
		if err != nil {
			t.Fatal(err)
		}
		return dial(t, servers[1], key, nats.RootCAs(ca.ca), nats.ClientCert(mine.cert, mine.key))
	}
	prepare(t, as("operator"), env("operator"))
	m := addMember(t, sim)
	serve(t, env("worker"))
	if r := refresh(t, as("publisher"), "first", m.UserGUID, m.GUID); r.Outcome != events.OutcomeChanged {
		t.Errorf("result is %+v", r)
	}
	if e := next(t, as("subscriber"), "MX_EVENTS", "subscriber"); e.Type != events.TypePending {
		t.Errorf("subscriber got %s", e.Type)
	}
	if e := next(t, as("oauth"), "MX_OAUTH", "oauth"); e.Data.OAuthWindowURI == "" {
		t.Error("oauth got no URI")
	}

	// Whoever lacks one of the two proofs.
	key, err := nats.NkeyOptionFromSeed(keys["worker"])
	if err != nil {
		t.Fatal(err)
	}
	strangers := newAuthority(t)
	theirs := strangers.issue(t, "stranger")
	for name, options := range map[string][]nats.Option{
		"no certificate":               {key, nats.RootCAs(ca.ca)},
		"another CA's certificate":     {key, nats.RootCAs(ca.ca), nats.ClientCert(theirs.cert, theirs.key)},
		"certificate and no key":       {nats.RootCAs(ca.ca), nats.ClientCert(mine.cert, mine.key)},
		"a server of a CA not trusted": {key, nats.RootCAs(strangers.ca), nats.ClientCert(mine.cert, mine.key)},
	} {
		if nc, err := nats.Connect(servers[0].ClientURL(), options...); err == nil {
			nc.Close()
			t.Errorf("%s: connected", name)
		}
	}
}

func TestTLSWithoutVerifyAsksNoCertificateOfClients(t *testing.T) {
	ca := newAuthority(t)
	certificate := ca.issue(t, "nats")
	t.Setenv("TLS_CERT", certificate.cert)
	t.Setenv("TLS_KEY", certificate.key)
	t.Setenv("TLS_CA", ca.ca)
	t.Setenv("TLS_VERIFY", "false")
	s := start(t, load(t, "single-tls.conf"), nil)
	sim := simulate(t)
	env := func(role string) []string {
		url := strings.Replace(s.ClientURL(), "://", "://"+role+":"+passwords[role]+"@", 1)
		return settings(sim, "NATS_URL="+url, "NATS_TLS_CA="+ca.ca)
	}
	operate(t, env("operator"), "topology", "apply")
	m := addMember(t, sim)
	serve(t, env("worker"))
	operate(t, env("publisher"), "refresh", m.UserGUID, m.GUID, "--wait")
	if nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("worker", passwords["worker"])); err == nil {
		nc.Close()
		t.Error("connected to a server whose CA is unknown")
	}
}

// The lists of roles.conf are the same where users are JWTs: what a user may do
// then stands in his credentials.
func TestWorkerWorksByCredentialsWithTheSameRights(t *testing.T) {
	users := load(t, "single.conf").Users
	operator, system, account := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	accounts := &server.MemAccResolver{}
	for key, enabled := range map[*signer]bool{system: false, account: true} {
		claims := jwt.NewAccountClaims(key.public)
		if enabled {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := claims.Encode(operator.pair)
		if err != nil {
			t.Fatal(err)
		}
		if err := accounts.Store(key.public, token); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TrustedKeys: []string{operator.public}, SystemAccount: system.public, AccountResolver: accounts,
	}, nil)
	credentials := func(role string) string {
		may := users[slices.IndexFunc(users, func(u *server.User) bool { return u.Username == role })].Permissions
		key := newKey(t, nkeys.CreateUser)
		claims := jwt.NewUserClaims(key.public)
		claims.Pub.Allow, claims.Sub.Allow = may.Publish.Allow, may.Subscribe.Allow
		token, err := claims.Encode(account.pair)
		if err != nil {
			t.Fatal(err)
		}
		seed, err := key.pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		creds, err := jwt.FormatUserConfig(token, seed)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), role+".creds")
		if err := os.WriteFile(file, creds, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	sim := simulate(t)
	env := func(role string) []string {
		return settings(sim, "NATS_URL="+s.ClientURL(), "NATS_CREDS="+credentials(role))
	}
	operate(t, env("operator"), "topology", "apply")
	m := addMember(t, sim)
	serve(t, env("worker"))
	operate(t, env("operator"), "refresh", m.UserGUID, m.GUID, "--wait")

	u := dial(t, s, nats.UserCredentials(credentials("worker")), nats.CustomInboxPrefix("_INBOX_memberwatch"))
	if _, err := u.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MINE"}); err == nil {
		t.Error("the worker has made a stream")
	}
}

// signer is an nkey and its public half.
type signer struct {
	pair   nkeys.KeyPair
	public string
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) *signer {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return &signer{pair, public}
}
