package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Config is what the package is told from outside, by go-envconfig. MX has to be
// told the same: webhooks are set up with MX's support.
type Config struct {
	// Addr is where MX's webhooks are taken, as host:port. Empty: nowhere.
	Addr string `env:"WEBHOOK_ADDR" desc:"Where MX's webhooks are taken, as host:port, at the path /webhooks/mx. Empty: nowhere."`
	// User and Password are those of HTTP Basic.
	User     string `env:"WEBHOOK_USER" desc:"User that MX's webhooks come with (HTTP Basic)."`
	Password Secret `env:"WEBHOOK_PASSWORD" desc:"Password of WEBHOOK_USER."`
	// Token is accepted in place of user and password.
	Token Secret `env:"WEBHOOK_TOKEN" desc:"Bearer token that webhooks may come with, in place of user and password."`
	// TLSCert and TLSKey are read anew for every connection, so that they can be
	// renewed without a restart.
	TLSCert string `env:"WEBHOOK_TLS_CERT" desc:"File with the certificate chain of the webhook port; read anew for every connection."`
	TLSKey  string `env:"WEBHOOK_TLS_KEY" desc:"File with the key of WEBHOOK_TLS_CERT."`
	// TLSClientCA, when set, is who must have signed the sender's certificate.
	TLSClientCA string `env:"WEBHOOK_TLS_CLIENT_CA" desc:"File with the certificates of authorities that senders' certificates must come from (mutual TLS)."`
	// BehindProxy says that something in front ends TLS. Without it, plain HTTP is
	// served on the loopback interface alone: a password in the clear is none.
	BehindProxy bool `env:"WEBHOOK_BEHIND_PROXY, default=false" desc:"Whether a proxy in front ends TLS, so that plain HTTP may be served beyond this machine."`
}

// Enabled reports whether webhooks are taken at all.
func (c *Config) Enabled() bool { return c.Addr != "" }

// Problems returns everything that is wrong, each error naming the variable and
// the fix and none a secret. It reads the files, so that an unreadable one is
// named together with the rest. Nothing is wrong while webhooks are off.
func (c *Config) Problems() []error {
	if !c.Enabled() {
		return nil
	}
	var p []error
	bad := func(format string, args ...any) { p = append(p, fmt.Errorf(format, args...)) }
	host, port, err := net.SplitHostPort(c.Addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	switch {
	case err != nil:
		bad("WEBHOOK_ADDR: %q is not host:port: set it to an address such as :8443 or 127.0.0.1:8081", c.Addr)
	case c.TLSCert == "" && !c.BehindProxy && !isLoopback(host):
		bad("WEBHOOK_ADDR: %q would take passwords in the clear: set WEBHOOK_TLS_CERT, or WEBHOOK_BEHIND_PROXY=true where a proxy ends TLS", c.Addr)
	}
	switch {
	case c.User == "" && c.Password == "" && c.Token == "" && c.TLSClientCA == "":
		bad("WEBHOOK_ADDR: anybody could send webhooks: set WEBHOOK_USER and WEBHOOK_PASSWORD, WEBHOOK_TOKEN, or WEBHOOK_TLS_CLIENT_CA")
	case (c.User == "") != (c.Password == ""):
		bad("WEBHOOK_USER and WEBHOOK_PASSWORD: give both or neither")
	}
	if strings.ContainsFunc(c.User, func(r rune) bool { return r == ':' || isControl(r) }) {
		bad("WEBHOOK_USER: holds a colon or a control character, which HTTP Basic cannot carry")
	}
	if strings.ContainsFunc(string(c.Password), isControl) {
		bad("WEBHOOK_PASSWORD: holds a control character, such as a line break at its end")
	}
	if strings.ContainsFunc(string(c.Token), func(r rune) bool { return r <= ' ' || r > '~' }) {
		bad("WEBHOOK_TOKEN: holds a space or a character that a header cannot carry, such as a line break at its end")
	}
	return append(p, c.tlsProblems()...)
}

func (c *Config) tlsProblems() []error {
	var p []error
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		p = append(p, errors.New("WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY: give both or neither"))
	case c.TLSCert != "":
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			p = append(p, fmt.Errorf("WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY: %w", err))
		}
	case c.TLSClientCA != "":
		p = append(p, errors.New("WEBHOOK_TLS_CLIENT_CA: needs WEBHOOK_TLS_CERT and WEBHOOK_TLS_KEY"))
	}
	if c.TLSClientCA != "" {
		if _, err := readAuthorities(c.TLSClientCA); err != nil {
			p = append(p, fmt.Errorf("WEBHOOK_TLS_CLIENT_CA: %w", err))
		}
	}
	return p
}

// tls returns the port's TLS configuration, nil for plain HTTP.
func (c *Config) tls() (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // No TLS is an answer.
	}
	t := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
			if err != nil {
				return nil, fmt.Errorf("loading certificate (WEBHOOK_TLS_CERT): %w", err)
			}
			return &pair, nil
		},
	}
	if c.TLSClientCA == "" {
		return t, nil
	}
	pool, err := readAuthorities(c.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("reading WEBHOOK_TLS_CLIENT_CA: %w", err)
	}
	t.ClientAuth, t.ClientCAs = tls.RequireAndVerifyClientCert, pool
	return t, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // The operator names it.
	if err != nil {
		return nil, err //nolint:wrapcheck // It names the file.
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
