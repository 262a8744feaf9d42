package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pki is a certificate that signs itself, for servers and clients alike.
type pki struct {
	cert, key string // files
	pair      tls.Certificate
	pool      *x509.CertPool
}

func newPKI(t *testing.T, dir string) pki {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der2, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	p := pki{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	for file, block := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "EC PRIVATE KEY", Bytes: der2}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p.pair, err = tls.LoadX509KeyPair(p.cert, p.key); err != nil {
		t.Fatal(err)
	}
	if p.pair.Leaf == nil {
		t.Fatal("no leaf")
	}
	p.pool.AddCert(p.pair.Leaf)
	return p
}

// open runs a server until the test ends. edit may change it before it runs.
func open(t *testing.T, c Config, handler http.Handler, edit func(*Server)) *Server {
	t.Helper()
	c.Addr = "127.0.0.1:0"
	if p := c.Problems(); p != nil {
		t.Fatal(p)
	}
	s, err := Listen(t.Context(), &c, handler, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("server ended with %v", err)
		}
	})
	return s
}

func TestMutualTLSLetsInWhoHasACertificateOnly(t *testing.T) {
	t.Parallel()
	ours, other := newPKI(t, t.TempDir()), newPKI(t, t.TempDir())
	c := Config{TLSCert: ours.cert, TLSKey: ours.key, TLSClientCA: ours.cert}
	d := newDoor(c)
	s := open(t, c, d, nil)
	send := func(certificate tls.Certificate) error {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: ours.pool, MinVersion: tls.VersionTLS12,
			// Sent whatever the server asks for: it is the server that has to refuse.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil },
		}}
		body, err := Sample(TypeMember, user, member)
		if err != nil {
			return err
		}
		resp, err := (&http.Client{Transport: transport}).Post("https://"+s.Addr().String()+Path, "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}
	if err := send(ours.pair); err != nil {
		t.Error(err)
	}
	if send(tls.Certificate{}) == nil || send(other.pair) == nil {
		t.Error("somebody without our certificate was let in")
	}
	if len(d.commands) != 1 {
		t.Errorf("commands %v", d.commands)
	}
}

func TestASlowSenderIsCutOff(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]string{
		"in the headers": "POST " + Path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bea",
		"in the body":    "POST " + Path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer open\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"type\"",
		"saying nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(token())
			s := open(t, token(), d, func(s *Server) {
				if s.http.ReadHeaderTimeout != headerTimeout || s.http.ReadTimeout != readTimeout {
					t.Error("a connection may be slow for ever")
				}
				s.http.ReadHeaderTimeout, s.http.ReadTimeout = 50*time.Millisecond, 100*time.Millisecond
			})
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, begin); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(bufio.NewReader(conn)) // ends when the server closes the connection
			if err != nil {
				t.Fatalf("still connected: %v", err)
			}
			if bytes.Contains(answer, []byte("204")) || len(d.commands) > 0 {
				t.Errorf("taken: %s", answer)
			}
			if name == "in the body" && !bytes.Contains(answer, []byte(" 408 ")) {
				t.Errorf("answer %q", answer)
			}
		})
	}
}

func TestAPortThatIsTakenIsToldByItsSetting(t *testing.T) {
	t.Parallel()
	s := open(t, token(), newDoor(token()), nil)
	c := token()
	c.Addr = s.Addr().String()
	if _, err := Listen(t.Context(), &c, nil, slog.New(slog.DiscardHandler)); err == nil || !bytes.Contains([]byte(err.Error()), []byte("WEBHOOK_ADDR")) {
		t.Errorf("error %v", err)
	}
}
