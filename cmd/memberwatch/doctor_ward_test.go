package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// ward is an installation to be examined: a NATS server with the topology on it
// and three known members at a simulated MX. It is well until a test breaks it.
type ward struct {
	t    *testing.T
	nats *server.Server
	sim  *mxsim.Server
	env  map[string]string
}

// conf is the configuration of a NATS server where nothing is wrong.
const conf = `
jetstream { store_dir: "STORE", max_file_store: 1GB, max_memory_store: 64MB }
`

// startNATS runs a server with a configuration until the test ends.
func startNATS(t *testing.T, config string) *server.Server {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "STORE", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return startOptions(t, o)
}

func startOptions(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("server does not become ready")
	}
	return s
}

// newWard returns an installation on a server; url is where its operator connects.
func newWard(t *testing.T, s *server.Server, url string) *ward {
	t.Helper()
	sim, err := mxsim.Start(t.Context(), "", mxsim.Config{Seed: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &ward{t: t, nats: s, sim: sim, env: map[string]string{
		"NATS_URL": url, "MX_BASE_URL": sim.URL,
		"MX_CLIENT_ID": mxsim.DefaultClientID, "MX_API_KEY": mxsim.DefaultAPIKey,
	}}
	return w
}

// program is the binary in the ward's environment, where nobody listens.
func (w *ward) program() *program {
	return &program{env: envconfig.MapLookuper(w.env), stdout: io.Discard, stderr: io.Discard}
}

// furnish makes the topology and the events of three members.
func (w *ward) furnish() {
	w.t.Helper()
	var out bytes.Buffer
	if err := run(w.t.Context(), []string{"topology", "apply"}, envconfig.MapLookuper(w.env), &out, &out); err != nil {
		w.t.Fatalf("topology apply: %v\n%s", err, out.String())
	}
	for range 3 {
		w.publish(w.addMember())
	}
}

func (w *ward) addMember() events.Key {
	w.t.Helper()
	u, err := w.sim.AddUser(mxsim.User{})
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := w.sim.AddMember(u.GUID, mxsim.Patch{})
	if err != nil {
		w.t.Fatal(err)
	}
	k, err := events.NewKey(u.GUID, m.GUID)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// publish stores a first event of a member.
func (w *ward) publish(k events.Key) {
	w.t.Helper()
	connected := events.StatusConnected
	s, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		w.t.Fatal(err)
	}
	e := events.New(s, events.TypeConnected, k, events.Data{
		Member: events.Member{GUID: k.Member(), UserGUID: k.User(), ConnectionStatus: &connected}, Revision: 1, ObservedAt: time.Now(),
	})
	body, err := e.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.js().Publish(w.t.Context(), s.Event(e.Type, k), body); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) js() jetstream.JetStream {
	w.t.Helper()
	nc, err := nats.Connect(w.env["NATS_URL"])
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

// report is what doctor --json prints.
type report struct {
	OK     bool      `json:"ok"`
	Checks []finding `json:"checks"`
}

// examine runs doctor, with some settings changed, and returns what it found.
func (w *ward) examine(change map[string]string, args ...string) report {
	w.t.Helper()
	env := maps.Clone(w.env)
	maps.Copy(env, change)
	var out, logs bytes.Buffer
	err := run(w.t.Context(), append([]string{"doctor", "--json"}, args...), envconfig.MapLookuper(env), &out, &logs)
	var r report
	if bad := json.Unmarshal(out.Bytes(), &r); bad != nil {
		w.t.Fatalf("%v: %v\n%s%s", err, bad, out.String(), logs.String())
	}
	if (err == nil) != r.OK {
		w.t.Errorf("doctor ends with %v and says ok %t", err, r.OK)
	}
	for _, secret := range []string{mxsim.DefaultAPIKey, "hunter2"} {
		if strings.Contains(out.String()+logs.String(), secret) {
			w.t.Errorf("a secret is shown:\n%s%s", out.String(), logs.String())
		}
	}
	return r
}

// of returns the checks that ended in a state.
func (r *report) of(state checkState) []string {
	var names []string
	for _, f := range r.Checks {
		if f.State == state {
			names = append(names, f.Check)
		}
	}
	return names
}

// oldServer stands between a client and a server, and says that the server is an old one.
func oldServer(t *testing.T, s *server.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				upstream, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					return
				}
				defer upstream.Close()
				from := bufio.NewReader(upstream)
				info, err := from.ReadString('\n')
				if err != nil {
					return
				}
				_, _ = io.WriteString(client, strings.Replace(info, `"version":"`+server.VERSION, `"version":"2.11.9`, 1))
				go func() { _, _ = io.Copy(upstream, client) }()
				_, _ = io.Copy(client, from)
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

// simBehind returns where the simulator answers behind something that changes its answers.
func (w *ward) simBehind(before func(http.ResponseWriter, *http.Request) (done bool)) string {
	w.t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !before(rw, r) {
			w.sim.ServeHTTP(rw, r)
		}
	}))
	w.t.Cleanup(s.Close)
	return s.URL
}

// examineAt examines with another clock than ours.
func (w *ward) examineAt(now func() time.Time) []finding {
	w.t.Helper()
	d := &doctor{env: w.program(), role: bus.RoleWorker, now: now, report: func(finding) {}}
	d.examine(w.t.Context())
	return d.findings
}
