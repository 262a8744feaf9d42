package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// illness is a set-up with one thing wrong, and what doctor has to say of it.
type illness struct {
	conf   string                                // of the NATS server; empty: conf
	bare   bool                                  // do not furnish
	broken func(w *ward) (env map[string]string) // breaks it, and returns settings to change

	check  string // the one that fails
	detail string // part of what it says
	fix    string // part of what to do
}

func TestDoctorExplainsEachBrokenSetUp(t *testing.T) {
	t.Parallel()
	ca := newTestAuthority(t)
	set := func(pairs ...string) func(*ward) map[string]string {
		return func(*ward) map[string]string {
			env := map[string]string{}
			for i := 0; i < len(pairs); i += 2 {
				env[pairs[i]] = pairs[i+1]
			}
			return env
		}
	}
	fault := func(status int) func(*ward) map[string]string {
		return func(w *ward) map[string]string {
			if _, err := w.sim.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: status}); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}
	}
	withTLS := conf + `tls { cert_file: "` + ca.cert + `", key_file: "` + ca.key + `" }`
	for name, ill := range map[string]illness{
		"a setting is wrong": {
			broken: set("FOLLOW_UP_AFTER", "soon"), check: checkSettings, detail: "FOLLOW_UP_AFTER", fix: "catalog --config",
		},
		"NATS' name does not exist": {
			broken: set("NATS_URL", "nats://u:hunter2@nats.invalid:4222"), check: checkNATSDNS, detail: "nats.invalid", fix: "NATS_URL",
		},
		"nobody listens for NATS": {
			broken: func(w *ward) map[string]string { return map[string]string{"NATS_URL": "nats://" + unusedAddr(w.t)} },
			check:  checkNATSTCP, detail: "refused", fix: "firewall",
		},
		"NATS' port belongs to somebody else": {
			broken: func(w *ward) map[string]string {
				return map[string]string{"NATS_URL": talker(w.t, "220 mail.example ESMTP\r\n")}
			},
			check: checkNATSTCP, detail: "not NATS", fix: "NATS_URL",
		},
		"NATS is too old": {
			broken: func(w *ward) map[string]string { return map[string]string{"NATS_URL": oldServer(w.t, w.nats)} },
			check:  checkNATSVersion, detail: "2.11.9", fix: "upgrade",
		},
		"NATS' certificate comes from somewhere": {
			conf: withTLS, bare: true, check: checkNATSTLS, detail: "unknown authority", fix: "NATS_TLS_CA",
		},
		"NATS wants a client certificate": {
			conf: conf + `tls { cert_file: "` + ca.cert + `", key_file: "` + ca.key + `", ca_file: "` + ca.ca + `", verify: true }`, bare: true,
			broken: set("NATS_TLS_CA", ca.ca), check: checkNATSTLS, detail: "tls", fix: "NATS_TLS_CERT",
		},
		"NATS has no TLS": {
			broken: func(w *ward) map[string]string {
				return map[string]string{"NATS_URL": strings.Replace(w.env["NATS_URL"], "nats://", "tls://", 1)}
			},
			check: checkNATSTLS, detail: "secure connection not available", fix: "nats://",
		},
		"the password is wrong": {
			conf: conf + `authorization { user: worker, password: right }`, bare: true,
			broken: func(w *ward) map[string]string {
				return map[string]string{"NATS_URL": strings.Replace(w.env["NATS_URL"], "nats://", "nats://worker:hunter2@", 1)}
			},
			check: checkNATSLogin, detail: "Authorization Violation", fix: "NATS_CREDS",
		},
		"the file of credentials is not there": {
			broken: set("NATS_CREDS", "/nowhere/worker.creds"), check: checkSettings, detail: "NATS_CREDS: open /nowhere/worker.creds", fix: "catalog --config",
		},
		"JetStream is off": {
			conf: "server_name: plain", bare: true, check: checkJetStream, detail: "not enabled", fix: "jetstream {",
		},
		"the account has no JetStream": {
			conf: conf + `accounts { A { users: [ { user: a, password: a } ] } }, no_auth_user: a`, bare: true,
			check: checkJetStream, detail: "not enabled for account", fix: "for the account",
		},
		"the account may have too few streams": {
			conf: conf + `accounts { A { jetstream { max_streams: 3 }, users: [ { user: a, password: a } ] } }, no_auth_user: a`, bare: true,
			check: checkLimits, detail: "may have 3 streams, has 0 and needs 6 more", fix: "limits of the account",
		},
		"the account wants sizes": {
			conf: conf + `accounts { A { jetstream { max_bytes_required: true }, users: [ { user: a, password: a } ] } }, no_auth_user: a`, bare: true,
			check: checkLimits, detail: "size limit", fix: "limits of the account",
		},
		"messages may not be large": {
			conf: conf + "max_payload: 64KB", check: checkLimits, detail: "max_payload is 65536", fix: "max_payload",
		},
		"a stream was changed": {
			broken: func(w *ward) map[string]string {
				w.changeStream("MX_EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
				return nil
			},
			check: checkTopology, detail: "stream MX_EVENTS: max age is 1h0m0s, want 0s", fix: "topology apply",
		},
		"a consumer is gone, and streams are made by others": {
			broken: func(w *ward) map[string]string {
				if err := w.js().DeleteConsumer(w.t.Context(), "MX_COMMANDS", "memberwatch"); err != nil {
					w.t.Fatal(err)
				}
				return map[string]string{"TOPOLOGY": "verify"}
			},
			check: checkTopology, detail: "consumer memberwatch on MX_COMMANDS: missing", fix: "topology apply",
		},
		"the streams belong to another client": {
			broken: func(w *ward) map[string]string {
				w.sim.Configure(func(c *mxsim.Config) { c.ClientID = "somebody-else" })
				return map[string]string{"MX_CLIENT_ID": "somebody-else"}
			},
			check: checkTopology, detail: "memberwatch.client", fix: "MX_CLIENT_ID",
		},
		"MX's name does not exist": {
			bare: true, broken: set("MX_BASE_URL", "https://api.mx.invalid"), check: checkMXDNS, detail: "api.mx.invalid", fix: "MX_BASE_URL",
		},
		"nobody listens for MX": {
			broken: func(w *ward) map[string]string { return map[string]string{"MX_BASE_URL": "http://" + unusedAddr(w.t)} },
			check:  checkMXReach, detail: "refused", fix: "egress",
		},
		"MX's certificate is somebody else's": {
			broken: func(w *ward) map[string]string {
				s := httptest.NewUnstartedServer(w.sim)
				s.Config.ErrorLog = log.New(io.Discard, "", 0) // that we hang up
				s.StartTLS()
				w.t.Cleanup(s.Close)
				return map[string]string{"MX_BASE_URL": s.URL}
			},
			check: checkMXReach, detail: "certificate", fix: "this is not MX",
		},
		"the key is wrong": {
			broken: set("MX_API_KEY", "wrong-hunter2"), check: checkMXClient, detail: "401", fix: "MX_API_KEY",
		},
		"the address is not on the allow-list": {broken: fault(403), check: checkMXClient, detail: "403", fix: "allow-list"},
		"the version is not served": {
			broken: set("MX_ACCEPT_VERSION", "v20200101"), check: checkMXClient, detail: "406", fix: "MX_ACCEPT_VERSION",
		},
		"MX limits us": {broken: fault(429), check: checkMXClient, detail: "429", fix: "MX_RATE_LIMIT"},
		"MX is down":   {broken: fault(503), check: checkMXClient, detail: "503", fix: "wait"},
		"the API is elsewhere": {
			broken: func(w *ward) map[string]string { return map[string]string{"MX_BASE_URL": w.env["MX_BASE_URL"] + "/v1"} },
			check:  checkMXClient, detail: "404", fix: "MX_BASE_URL",
		},
		"MX knows none of the members": {
			broken: func(w *ward) map[string]string {
				if _, err := w.sim.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 404, Scope: "read"}); err != nil {
					w.t.Fatal(err)
				}
				return nil
			},
			check: checkMXMembers, detail: "404 for all of 3 members", fix: "another environment",
		},
		"MX's clock differs": {
			broken: func(w *ward) map[string]string {
				return map[string]string{"MX_BASE_URL": w.simBehind(func(rw http.ResponseWriter, _ *http.Request) bool {
					rw.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
					return false
				})}
			},
			check: checkMXClock, detail: "behind ours", fix: "NTP",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := ill.conf
			if config == "" {
				config = conf
			}
			s := startNATS(t, config)
			w := newWard(t, s, s.ClientURL())
			if !ill.bare {
				w.furnish()
			}
			var change map[string]string
			if ill.broken != nil {
				change = ill.broken(w)
			}
			r := w.examine(change)
			if diff := cmp.Diff([]string{ill.check}, r.of(checkFailed)); diff != "" {
				t.Fatalf("failed checks (-want +got):\n%s\nall: %+v", diff, r.Checks)
			}
			f := r.Checks[slices.IndexFunc(r.Checks, func(f finding) bool { return f.State == checkFailed })]
			if !strings.Contains(f.Detail, ill.detail) {
				t.Errorf("detail is %q, want %q in it", f.Detail, ill.detail)
			}
			if !strings.Contains(f.Fix, ill.fix) {
				t.Errorf("fix is %q, want %q in it", f.Fix, ill.fix)
			}
		})
	}
}

func TestDoctorFindsNothingInAHealthySetUp(t *testing.T) {
	t.Parallel()
	s := startNATS(t, conf)
	w := newWard(t, s, s.ClientURL())
	w.furnish()
	streams := w.census()
	for _, role := range []string{"worker", "operator"} {
		r := w.examine(nil, "--as", role)
		if !r.OK || len(r.of(checkOK)) != len(r.Checks) {
			t.Errorf("as %s: %+v", role, r.Checks)
		}
	}
	if diff := cmp.Diff(streams, w.census()); diff != "" {
		t.Errorf("doctor left something behind (-before +after):\n%s", diff)
	}
	var out, logs bytes.Buffer
	if err := run(t.Context(), []string{"doctor"}, envconfig.MapLookuper(w.env), &out, &logs); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "✓ "); n != 16 || strings.Count(out.String(), "\n") != n {
		t.Errorf("%d checks are well in:\n%s", n, out.String())
	}
}

func TestDoctorWarnsOfWhatWorksAtAHigherCost(t *testing.T) {
	t.Parallel()
	s := startNATS(t, conf)
	w := newWard(t, s, s.ClientURL())
	w.furnish()
	c, err := w.js().Consumer(t.Context(), "MX_EVENTS", "memberwatch-follow")
	if err != nil {
		t.Fatal(err)
	}
	changed := c.CachedInfo().Config
	changed.HeadersOnly = false
	if _, err := w.js().UpdateConsumer(t.Context(), "MX_EVENTS", changed); err != nil {
		t.Fatal(err)
	}
	if r := w.examine(nil, "--as", "operator"); !r.OK || !slices.Equal(r.of(checkWarning), []string{checkTopology}) {
		t.Errorf("%+v", r.Checks)
	}
}

func TestDoctorTellsThatClocksDiffer(t *testing.T) {
	t.Parallel()
	s := startNATS(t, conf)
	w := newWard(t, s, s.ClientURL())
	w.furnish()
	for _, shift := range []time.Duration{time.Minute, -time.Minute} {
		var ill []string
		for _, f := range w.examineAt(func() time.Time { return time.Now().Add(shift) }) {
			if f.State == checkFailed {
				ill = append(ill, f.Check)
				want := "behind ours"
				if shift < 0 {
					want = "ahead of ours"
				}
				if !strings.Contains(f.Detail, want) {
					t.Errorf("%s: %q, want %q in it", f.Check, f.Detail, want)
				}
			}
		}
		if diff := cmp.Diff([]string{checkNATSClock, checkMXClock}, ill); diff != "" {
			t.Errorf("our clock shifted by %s: failed checks (-want +got):\n%s", shift, diff)
		}
	}
}

// Not parallel: the configuration takes passwords from the environment.
func TestDoctorChecksThePermissionsOfEachRole(t *testing.T) {
	passwords := map[string]string{"worker": "w0rker", "operator": "0perator", "publisher": "pub", "subscriber": "sub", "oauth": "oauth"}
	for user, password := range passwords {
		t.Setenv(strings.ToUpper(user)+"_PASSWORD", password)
	}
	o, err := server.ProcessConfigFile("../../deploy/nats/single.conf")
	if err != nil {
		t.Fatal(err)
	}
	o.HTTPPort, o.StoreDir = 0, t.TempDir()
	s := startOptions(t, o)
	as := func(user string) string {
		return strings.Replace(s.ClientURL(), "nats://", "nats://"+user+":"+passwords[user]+"@", 1)
	}
	w := newWard(t, s, as("operator"))
	var out bytes.Buffer
	if err := run(t.Context(), []string{"topology", "apply"}, envconfig.MapLookuper(w.env), &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"worker", "operator"} {
		if r := w.examine(map[string]string{"NATS_URL": as(role), "TOPOLOGY": "verify"}, "--as", role); !r.OK {
			t.Errorf("%s is not well: %+v", role, r.Checks)
		}
	}
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	tried := bus.Permissions(bus.RoleWorker, &bus.Config{FollowUpAfter: time.Second, StreamReplicas: 1}, subjects, true)
	may := o.Users[slices.IndexFunc(o.Users, func(u *server.User) bool { return u.Username == "worker" })].Permissions
	for verb, list := range map[string][]string{"publish": may.Publish.Allow, "subscribe": may.Subscribe.Allow} {
		for _, pattern := range list {
			if !slices.ContainsFunc(tried, func(r bus.Permission) bool { return r.Verb == verb && server.SubjectsCollide(pattern, r.Subject) }) {
				t.Errorf("the worker may %s %s, and doctor does not try: add it to Permissions (internal/bus/permissions.go)", verb, pattern)
			}
		}
	}
	r := w.examine(nil) // as a worker, with the operator's credentials
	if diff := cmp.Diff([]string{checkRights}, r.of(checkFailed)); diff != "" {
		t.Fatalf("failed checks (-want +got):\n%s", diff)
	}
	for _, f := range r.Checks {
		if f.State == checkFailed && (!strings.Contains(f.Detail, "publish mx.events.member.") || !strings.Contains(f.Detail, "subscribe mx.api.member.get") ||
			!strings.Contains(f.Fix, "roles.conf")) {
			t.Errorf("%+v", f)
		}
	}
}

func TestDoctorWantsARoleThatThereIs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"doctor", "--as", "nurse"}, envconfig.MapLookuper(nil), &out, &out); !errors.Is(err, errUsage) {
		t.Errorf("error is %v", err)
	}
}

// changeStream changes the configuration of a stream behind the service's back.
func (w *ward) changeStream(name string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	js := w.js()
	s, err := js.Stream(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// census is what is in the streams.
func (w *ward) census() map[string]jetstream.StreamState {
	w.t.Helper()
	all := map[string]jetstream.StreamState{}
	list := w.js().ListStreams(w.t.Context())
	for info := range list.Info() {
		all[info.Config.Name] = info.State
	}
	if err := list.Err(); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func unusedAddr(t *testing.T) string {
	t.Helper()
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// talker is a server that says one thing to everybody.
func talker(t *testing.T, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(says))
			_ = c.Close()
		}
	}()
	return "nats://" + l.Addr().String()
}

// testAuthority is an authority, and a certificate of 127.0.0.1 that it has issued, as files.
type testAuthority struct{ ca, cert, key string }

func newTestAuthority(t *testing.T) testAuthority {
	t.Helper()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a := testAuthority{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{
		a.ca: {Type: "CERTIFICATE", Bytes: der}, a.cert: {Type: "CERTIFICATE", Bytes: der}, a.key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a
}
