package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// identity writes a certificate that vouches for itself, and its key, to files.
func identity(t *testing.T) (cert, key string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	chain, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain}), 0o600))
	must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return cert, key
}

func TestWebhookSendShowsItsCertificate(t *testing.T) {
	t.Parallel()
	serverCert, serverKey := identity(t)
	senderCert, senderKey := identity(t)
	c := webhook.Config{Addr: "127.0.0.1:0", TLSCert: serverCert, TLSKey: serverKey, TLSClientCA: senderCert}
	port, err := webhook.Listen(t.Context(), &c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- port.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	send := func(flags ...string) (string, error) {
		env := envconfig.MapLookuper(map[string]string{
			"WEBHOOK_ADDR": port.Addr().String(), "WEBHOOK_TLS_CERT": serverCert, "WEBHOOK_TLS_KEY": serverKey, "WEBHOOK_TLS_CLIENT_CA": senderCert,
		})
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"webhook", "send", "USR-1", "MBR-1"}, flags...), env, &out, &out)
		return out.String(), err
	}
	if out, err := send("--cert", senderCert, "--key", senderKey); err != nil {
		t.Errorf("with the certificate that is asked for: %v\n%s", err, out)
	}
	for name, flags := range map[string][]string{"none": nil, "another": {"--cert", serverCert, "--key", serverKey}} {
		if out, err := send(flags...); !errors.Is(err, errNotTaken) {
			t.Errorf("with the certificate %s: %v\n%s", name, err, out)
		}
	}
}

func TestAWorkerThatCannotBeMadeLeavesNoPortOpen(t *testing.T) {
	t.Parallel()
	sim := idleMX(t)
	server := embeddedtest.Start(t)
	c, err := loadConfig(t.Context(), overlay{of(sim), envconfig.MapLookuper(map[string]string{
		"NATS_URL": server.URL(), "WEBHOOK_ADDR": "127.0.0.1:0", "WEBHOOK_TOKEN": "open",
	})})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "memberwatch_webhooks_total", Help: "Another."})) // which the door's own cannot stand beside
	var log bytes.Buffer
	_, err = newWorker(t.Context(), c, observe.NewHealth(readinessChecks()...), registry,
		slog.New(slog.NewJSONHandler(&log, nil)), nats.InProcessServer(server))
	if err == nil {
		t.Fatal("the worker was made")
	}
	addr := ""
	for line := range bytes.Lines(log.Bytes()) {
		var record struct {
			Msg  string `json:"msg"`
			Addr string `json:"addr"`
		}
		if json.Unmarshal(line, &record) == nil && record.Msg == "taking webhooks" {
			addr = record.Addr
		}
	}
	if addr == "" {
		t.Fatalf("the webhook port was never opened: %v\n%s", err, &log)
	}
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr); err == nil {
		_ = conn.Close()
		t.Error("the webhook port is still open")
	}
}
