package nats_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// replace puts a file in the place of another at once, as Kubernetes does with
// the files of a secret.
func replace(t *testing.T, file string, text []byte) {
	t.Helper()
	fresh := file + ".new"
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, file); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// island is an operator with one account, whose users come with credentials.
type island struct {
	operator, account *signer
	claims            *jwt.AccountClaims
	accounts          *server.MemAccResolver
	server            *server.Server
}

func newIsland(t *testing.T) *island {
	t.Helper()
	i := &island{operator: newKey(t, nkeys.CreateOperator), account: newKey(t, nkeys.CreateAccount), accounts: &server.MemAccResolver{}}
	system := newKey(t, nkeys.CreateAccount)
	i.claims = jwt.NewAccountClaims(i.account.public)
	i.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	for _, claims := range []*jwt.AccountClaims{jwt.NewAccountClaims(system.public), i.claims} {
		token, err := claims.Encode(i.operator.pair)
		if err != nil {
			t.Fatal(err)
		}
		if err := i.accounts.Store(claims.Subject, token); err != nil {
			t.Fatal(err)
		}
	}
	i.server = start(t, &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		TrustedKeys: []string{i.operator.public}, SystemAccount: system.public, AccountResolver: i.accounts,
	}, nil)
	return i
}

// credentials are those of a new user of the account, who may do everything in it.
func (i *island) credentials(t *testing.T) (public string, creds []byte) {
	t.Helper()
	key := newKey(t, nkeys.CreateUser)
	token, err := jwt.NewUserClaims(key.public).Encode(i.account.pair)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if creds, err = jwt.FormatUserConfig(token, seed); err != nil {
		t.Fatal(err)
	}
	return key.public, creds
}

// revoke ends a user's connections, and lets him make no other.
func (i *island) revoke(t *testing.T, user string) {
	t.Helper()
	i.claims.RevokeAt(user, time.Now().Add(time.Minute))
	token, err := i.claims.Encode(i.operator.pair)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.accounts.Store(i.account.public, token); err != nil {
		t.Fatal(err)
	}
	account, err := i.server.LookupAccount(i.account.public)
	if err != nil {
		t.Fatal(err)
	}
	i.server.UpdateAccountClaims(account, i.claims)
}

func TestWorkerGoesOnWithNewCredentialsWhenTheOldOnesEnd(t *testing.T) {
	i := newIsland(t)
	file := filepath.Join(t.TempDir(), "worker.creds")
	first, creds := i.credentials(t)
	replace(t, file, creds)
	_, creds = i.credentials(t)
	operator := filepath.Join(t.TempDir(), "operator.creds")
	replace(t, operator, creds)

	sim := simulate(t)
	env := func(file string) []string { return settings(sim, "NATS_URL="+i.server.ClientURL(), "NATS_CREDS="+file) }
	operate(t, env(operator), "topology", "apply")
	serve(t, env(file))
	m := addMember(t, sim)
	operate(t, env(operator), "refresh", m.UserGUID, m.GUID, "--wait")

	second, creds := i.credentials(t)
	replace(t, file, creds)
	i.revoke(t, first)
	eventually(t, "the worker is there as another user", func() bool { return connectedAs(t, i.server, second) })
	operate(t, env(operator), "refresh", m.UserGUID, m.GUID, "--wait")
	if connectedAs(t, i.server, first) {
		t.Error("the old credentials are still in use")
	}
}

// connectedAs reports whether a client is there whose user has that nkey.
func connectedAs(t *testing.T, s *server.Server, public string) bool {
	t.Helper()
	z, err := s.Connz(&server.ConnzOptions{Username: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range z.Conns {
		if strings.Contains(c.JWT, public) || c.AuthorizedUser == public {
			return true
		}
	}
	return false
}

func TestWorkerGoesOnWithNewCertificatesOfAnotherAuthority(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	store := t.TempDir()
	port := server.RANDOM_PORT
	run := func(ca *authority) *server.Server {
		certificate := ca.issue(t, "nats")
		t.Setenv("TLS_CERT", certificate.cert)
		t.Setenv("TLS_KEY", certificate.key)
		t.Setenv("TLS_CA", ca.ca)
		t.Setenv("TLS_VERIFY", "true")
		o := load(t, "single-tls.conf")
		o.Port, o.StoreDir = port, store
		return start(t, o, nil)
	}
	dir := t.TempDir()
	mine := struct{ ca, cert, key string }{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	install := func(ca *authority) {
		p := ca.issue(t, "client")
		replace(t, mine.ca, contents(t, ca.ca))
		replace(t, mine.cert, contents(t, p.cert))
		replace(t, mine.key, contents(t, p.key))
	}
	install(old)
	s := run(old)
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	port = addr.Port // and there again after its restart
	sim := simulate(t)
	env := func(role string) []string {
		url := strings.Replace(s.ClientURL(), "://", "://"+role+":"+passwords[role]+"@", 1)
		return settings(sim, "NATS_URL="+url, "NATS_TLS_CA="+mine.ca, "NATS_TLS_CERT="+mine.cert, "NATS_TLS_KEY="+mine.key)
	}
	operate(t, env("operator"), "topology", "apply")
	m := addMember(t, sim)
	serve(t, env("worker"))
	operate(t, env("publisher"), "refresh", m.UserGUID, m.GUID, "--wait")

	install(fresh)
	s.Shutdown()
	s.WaitForShutdown()
	s = run(fresh)
	operate(t, env("publisher"), "refresh", m.UserGUID, m.GUID, "--wait")
}

func TestWorkerGoesOnWithANewNKeyWhenTheOldOneEnds(t *testing.T) {
	operator, old, fresh := newKey(t, nkeys.CreateUser), newKey(t, nkeys.CreateUser), newKey(t, nkeys.CreateUser)
	options := func(of ...*signer) *server.Options {
		o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, NoSigs: true, NoLog: true}
		for _, key := range of {
			o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: key.public})
		}
		return o
	}
	o := options(operator, old)
	o.StoreDir = t.TempDir()
	s := start(t, o, nil)
	file := func(name string, key *signer) string {
		seed, err := key.pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		replace(t, path, append(seed, '\n'))
		return path
	}
	mine, operators := file("worker.nk", old), file("operator.nk", operator)
	sim := simulate(t)
	env := func(seed string) []string {
		return settings(sim, "NATS_URL="+s.ClientURL(), "NATS_NKEY_SEED_FILE="+seed)
	}
	operate(t, env(operators), "topology", "apply")
	serve(t, env(mine))
	m := addMember(t, sim)
	operate(t, env(operators), "refresh", m.UserGUID, m.GUID, "--wait")

	replace(t, mine, contents(t, file("fresh.nk", fresh)))
	next := options(operator, fresh)
	next.StoreDir = o.StoreDir
	if err := s.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker is there with the other key", func() bool { return connectedAs(t, s, fresh.public) })
	operate(t, env(operators), "refresh", m.UserGUID, m.GUID, "--wait")
	if connectedAs(t, s, old.public) {
		t.Error("the old key is still in use")
	}
}
