package bus

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
)

func good() Config {
	return Config{SubjectPrefix: "mx", StreamReplicas: 1, Topology: TopologyEnsure, HistoryPerType: 64, FollowUpAfter: 3 * time.Second}
}

// credentials writes files as NATS is given them, and returns where each is, and
// what no error may repeat.
func credentials(t *testing.T) (files map[string]string, secrets []string) {
	t.Helper()
	seed := func(pair nkeys.KeyPair, err error) string {
		text, failed := pair.Seed()
		if err = errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	user, account := seed(nkeys.CreateUser()), seed(nkeys.CreateAccount())
	server := httptest.NewTLSServer(nil) // It has a certificate at hand.
	server.Close()
	pair := server.TLS.Certificates[0]
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := func(private any) string {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	jwt := "-----BEGIN NATS USER JWT-----\nhead.claims.signature\n------END NATS USER JWT------\n"
	dir := t.TempDir()
	files = map[string]string{"none": filepath.Join(dir, "none")}
	for name, text := range map[string]string{
		"user.nk": user, "account.nk": account, "user.jwt": jwt,
		"user.creds": jwt + "\n-----BEGIN USER NKEY SEED-----\n" + user + "\n------END USER NKEY SEED------\n",
		"cert.pem":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})),
		"key.pem":    key(pair.PrivateKey), "other.pem": key(other),
	} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files, []string{user, account, "claims"}
}

func TestConfigProblemsNameTheSetting(t *testing.T) {
	t.Parallel()
	f, secrets := credentials(t)
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // no problem when empty
	}{
		"default":              {func(*Config) {}, ""},
		"three copies":         {func(c *Config) { c.StreamReplicas = 3 }, ""},
		"no follow-up":         {func(c *Config) { c.FollowUpAfter = 0 }, ""},
		"verify":               {func(c *Config) { c.Topology = TopologyVerify }, ""},
		"two-token prefix":     {func(c *Config) { c.SubjectPrefix = "a.b" }, "SUBJECT_PREFIX"},
		"no prefix":            {func(c *Config) { c.SubjectPrefix = "" }, "SUBJECT_PREFIX"},
		"wildcard prefix":      {func(c *Config) { c.SubjectPrefix = "*" }, "SUBJECT_PREFIX"},
		"even copies":          {func(c *Config) { c.StreamReplicas = 2 }, "STREAM_REPLICAS"},
		"no copy":              {func(c *Config) { c.StreamReplicas = 0 }, "STREAM_REPLICAS"},
		"seven copies":         {func(c *Config) { c.StreamReplicas = 7 }, "STREAM_REPLICAS"},
		"unknown topology":     {func(c *Config) { c.Topology = "none" }, "TOPOLOGY"},
		"no history":           {func(c *Config) { c.HistoryPerType = 0 }, "HISTORY_PER_TYPE"},
		"unlimited history":    {func(c *Config) { c.HistoryPerType = -1 }, "HISTORY_PER_TYPE"},
		"negative follow-up":   {func(c *Config) { c.FollowUpAfter = -1 }, "FOLLOW_UP_AFTER"},
		"follow-up too late":   {func(c *Config) { c.FollowUpAfter = maxFollowUp + 1 }, "FOLLOW_UP_AFTER"},
		"two ways to log in":   {func(c *Config) { c.Creds, c.NKeySeedFile = f["user.creds"], f["user.nk"] }, "NATS_CREDS and NATS_NKEY_SEED_FILE"},
		"credentials":          {func(c *Config) { c.Creds = f["user.creds"] }, ""},
		"no credentials":       {func(c *Config) { c.Creds = f["none"] }, "NATS_CREDS: open "},
		"half of credentials":  {func(c *Config) { c.Creds = f["user.nk"] }, "NATS_CREDS: " + f["user.nk"] + " holds no JWT"},
		"the JWT alone":        {func(c *Config) { c.Creds = f["user.jwt"] }, "NATS_CREDS: " + f["user.jwt"] + " holds no user's seed"},
		"seed":                 {func(c *Config) { c.NKeySeedFile = f["user.nk"] }, ""},
		"no seed":              {func(c *Config) { c.NKeySeedFile = f["none"] }, "NATS_NKEY_SEED_FILE: open "},
		"an account's seed":    {func(c *Config) { c.NKeySeedFile = f["account.nk"] }, "NATS_NKEY_SEED_FILE: " + f["account.nk"]},
		"authority":            {func(c *Config) { c.TLSCA = f["cert.pem"] }, ""},
		"no authority":         {func(c *Config) { c.TLSCA = f["none"] }, "NATS_TLS_CA: open "},
		"no certificate in it": {func(c *Config) { c.TLSCA = f["key.pem"] }, "NATS_TLS_CA: " + f["key.pem"] + " holds no certificate"},
		"client certificate":   {func(c *Config) { c.TLSCert, c.TLSKey = f["cert.pem"], f["key.pem"] }, ""},
		"no file for it":       {func(c *Config) { c.TLSCert, c.TLSKey = f["cert.pem"], f["none"] }, "NATS_TLS_CERT and NATS_TLS_KEY: open "},
		"another's key":        {func(c *Config) { c.TLSCert, c.TLSKey = f["cert.pem"], f["other.pem"] }, "NATS_TLS_CERT and NATS_TLS_KEY: "},
		"certificate, no key":  {func(c *Config) { c.TLSCert = "a" }, "NATS_TLS_KEY"},
		"key, no certificate":  {func(c *Config) { c.TLSKey = "a" }, "NATS_TLS_CERT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good()
			tc.change(&c)
			p := c.Problems()
			switch {
			case tc.want == "" && len(p) > 0:
				t.Errorf("problems %v, want none", p)
			case tc.want != "" && (len(p) != 1 || !strings.Contains(p[0].Error(), tc.want)):
				t.Errorf("problems %v, want one about %s", p, tc.want)
			}
			for _, secret := range secrets {
				if strings.Contains(fmt.Sprint(p), secret) {
					t.Errorf("a problem tells what is in a file: %v", p)
				}
			}
		})
	}
}

func TestConfigProblemsAreAllToldAtOnce(t *testing.T) {
	t.Parallel()
	const none = "/nowhere/at/all"
	c := Config{FollowUpAfter: -1, Creds: none, TLSCA: none, TLSCert: none, TLSKey: none}
	if p := c.Problems(); len(p) != 8 {
		t.Errorf("%d problems: %v; want 8", len(p), p)
	}
}
