package stack

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Ports in the containers.
const (
	healthPort  = "8080/tcp"
	hookPort    = "8081/tcp"
	simPort     = "8085/tcp"
	natsPort    = "4222/tcp"
	monitorPort = "8222/tcp"
)

// Images, unless MEMBERWATCH_IMAGE and NATS_IMAGE name others.
const (
	memberwatchImage = "localhost/memberwatch:dev"
	natsImage        = "nats:2.15.2"
)

const simName = "mxsim" // in the containers' network

// Containers is a stack of containers in a network of their own.
type Containers struct {
	tb       testing.TB
	network  *testcontainers.DockerNetwork
	nodes    int
	authCert []byte
	sim      *Sim
	nats     []string // where customers connect
	servers  []*container
	proxies  []*Proxy // in front of the nodes of a cluster

	mu       sync.Mutex
	programs []*container
}

// NewContainers returns a stack without workers on a NATS of so many nodes, 1 or
// 3; all of it is gone when tb ends.
func NewContainers(tb testing.TB, nodes int) *Containers {
	tb.Helper()
	if err := DockerAnswers(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	s := &Containers{tb: tb, nodes: nodes}
	var err error
	if s.network, err = network.New(tb.Context()); err != nil {
		tb.Fatalf("making a network: %v", err)
	}
	testcontainers.CleanupNetwork(tb, s.network)
	tb.Cleanup(s.end)
	s.startNATS(tb)
	s.startSim(tb)
	return s
}

func image(variable, otherwise string) string {
	if named := os.Getenv(variable); named != "" {
		return named
	}
	return otherwise
}

// node is the name of a NATS node.
func node(i int) string { return fmt.Sprintf("nats-%d", i+1) }

// inside is NATS_URL for the workers.
func (s *Containers) inside() string {
	urls := make([]string, s.nodes)
	for i := range urls {
		urls[i] = "nats://" + node(i) + ":4222"
	}
	return strings.Join(urls, ",")
}

func (s *Containers) startNATS(tb testing.TB) {
	tb.Helper()
	routes := make([]string, s.nodes)
	for i := range routes {
		routes[i] = "nats://" + node(i) + ":6222"
	}
	for i := range s.nodes {
		cmd := []string{"--jetstream", "--store_dir", "/data", "--name", node(i), "--http_port", "8222"}
		if s.nodes > 1 {
			cmd = append(cmd, "--cluster_name", "journeys", "--cluster", "nats://0.0.0.0:6222", "--routes", strings.Join(routes, ","))
		}
		s.servers = append(s.servers, s.run(tb, node(i), image("NATS_IMAGE", natsImage),
			testcontainers.WithCmd(cmd...), testcontainers.WithExposedPorts(natsPort, monitorPort)))
	}
	for i, c := range s.servers { // each waits for the others
		s.Healthy(tb, i)
		if s.nodes == 1 {
			s.nats = append(s.nats, c.endpoint(tb, "nats", natsPort))
			continue
		}
		s.proxies = append(s.proxies, s.front(tb, i))
		s.nats = append(s.nats, "nats://"+s.proxies[i].Addr())
	}
}

func (s *Containers) startSim(tb testing.TB) {
	tb.Helper()
	certs, err := newCertificates(time.Now(), []string{simName, "localhost"}, net.IPv4(127, 0, 0, 1)) //nolint:forbidigo // Certificates are valid by the wall clock.
	if err != nil {
		tb.Fatal(err)
	}
	s.authCert = certs.authority
	c := s.run(tb, simName, image("MEMBERWATCH_IMAGE", memberwatchImage),
		testcontainers.WithEntrypoint("/mxsim"), testcontainers.WithCmd(),
		testcontainers.WithEnv(simSettings(Env{"MXSIM_ADDR": "0.0.0.0:8085", "MXSIM_TLS_CERT": "/cert.pem", "MXSIM_TLS_KEY": "/key.pem"})),
		testcontainers.WithFiles(file("/cert.pem", certs.chain), file("/key.pem", certs.key)),
		testcontainers.WithExposedPorts(simPort), testcontainers.WithWaitStrategy(wait.ForLog("mxsim listening on")))
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certs.authority) {
		tb.Fatal("the authority's certificate cannot be read")
	}
	s.sim = NewSim(c.endpoint(tb, "https", simPort), &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, ServerName: simName, MinVersion: tls.VersionTLS12,
	}})
}

func file(path string, text []byte) testcontainers.ContainerFile {
	return testcontainers.ContainerFile{Reader: bytes.NewReader(text), ContainerFilePath: path, FileMode: 0o644}
}

// NATS implements Stack.
func (s *Containers) NATS() string { return strings.Join(s.nats, ",") }

// Sim implements Stack.
func (s *Containers) Sim() *Sim { return s.sim }

// Start implements Stack. NATS is never in the worker here.
func (s *Containers) Start(tb testing.TB, name string, env Env) Program {
	tb.Helper()
	return s.Beside(tb, name, env)
}

// Beside implements Stack.
func (s *Containers) Beside(tb testing.TB, name string, env Env) Program {
	tb.Helper()
	own := Env{
		"NATS_URL": s.inside(), "STREAM_REPLICAS": strconv.Itoa(s.nodes),
		"MX_BASE_URL": "https://" + simName + ":8085", "SSL_CERT_FILE": "/authority.pem", "HTTP_ADDR": ":8080",
		"WEBHOOK_ADDR": ":8081", "WEBHOOK_BEHIND_PROXY": "true", // the test is the proxy
	}
	return s.run(tb, name, image("MEMBERWATCH_IMAGE", memberwatchImage),
		testcontainers.WithEnv(settings(own, env)),
		testcontainers.WithFiles(file("/authority.pem", s.authCert)), testcontainers.WithExposedPorts(healthPort, hookPort))
}

// run starts a container of the stack. That it has ended already is no error:
// what it was started for may be to end.
func (s *Containers) run(tb testing.TB, name, image string, options ...testcontainers.ContainerCustomizer) *container {
	tb.Helper()
	options = append(options,
		network.WithNetwork([]string{strings.ReplaceAll(name, " ", "-")}, s.network),
		testcontainers.WithLogger(quiet{}))
	ctr, err := testcontainers.Run(tb.Context(), image, options...)
	if ctr == nil || err != nil && ctr.GetContainerID() == "" {
		tb.Fatalf("starting %s: %v", name, errors.Join(err, errors.New("no container")))
	}
	c := &container{name: name, ctr: ctr}
	s.mu.Lock()
	s.programs = append(s.programs, c)
	s.mu.Unlock()
	if err != nil {
		if state, stateErr := ctr.State(tb.Context()); stateErr != nil || state.Running {
			tb.Fatalf("starting %s: %v", name, err)
		}
	}
	return c
}

// quiet discards testcontainers' own commentary.
type quiet struct{}

// Printf implements log.Logger.
func (quiet) Printf(string, ...any) {}

// Outputs implements Stack.
func (s *Containers) Outputs() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string)
	for _, c := range s.programs {
		out[c.name] += c.Output()
	}
	return out
}

// end removes everything, the youngest first.
func (s *Containers) end() {
	s.mu.Lock()
	for _, c := range slices.Backward(s.programs) {
		if err := c.remove(); err != nil {
			s.tb.Errorf("removing %s: %v", c.name, err)
		}
	}
	s.mu.Unlock()
	CheckLogs(s.tb, s)
	if s.tb.Failed() {
		tell(s.tb, s.Outputs())
	}
}
