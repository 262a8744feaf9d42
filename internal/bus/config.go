package bus

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/memberwatch/memberwatch/events"
)

// Config holds the settings of the connection and of what is kept on NATS.
type Config struct {
	URL          string `env:"NATS_URL" desc:"Where NATS is, as nats://host:port, several parted by commas. Empty: a server inside the process; commands of this program then look at nats://127.0.0.1:4222."` // empty: the embedded server
	Creds        string `env:"NATS_CREDS" desc:"File with NATS credentials (JWT and key)."`
	NKeySeedFile string `env:"NATS_NKEY_SEED_FILE" desc:"File with an NKey seed, in place of NATS_CREDS."`
	TLSCA        string `env:"NATS_TLS_CA" desc:"File with the certificates of authorities that NATS' certificate may come from."`
	TLSCert      string `env:"NATS_TLS_CERT" desc:"File with the client certificate for NATS."`
	TLSKey       string `env:"NATS_TLS_KEY" desc:"File with the key of NATS_TLS_CERT."`

	SubjectPrefix  string        `env:"SUBJECT_PREFIX, default=mx" desc:"Name of the installation: first token of every subject, and in upper case of every stream."`
	StreamReplicas int           `env:"STREAM_REPLICAS, default=1" desc:"Copies of each stream: 1, 3 or 5."`
	Topology       string        `env:"TOPOLOGY, default=ensure" desc:"ensure creates the streams that are missing; verify refuses to start without them."`
	HistoryPerType int64         `env:"HISTORY_PER_TYPE, default=64" desc:"Events kept of each type and member."`
	FollowUpAfter  time.Duration `env:"FOLLOW_UP_AFTER, default=3s" desc:"How long after an event its member is read again, and from there on until it has settled; 0 never, at most 10s."`
}

// Values of TOPOLOGY.
const (
	TopologyEnsure = "ensure" // create what is missing, refuse what differs
	TopologyVerify = "verify" // refuse what is missing too: streams are managed elsewhere
)

// Problems returns everything that is wrong with c, each naming the setting and the fix.
func (c *Config) Problems() []error {
	var p []error
	bad := func(format string, args ...any) { p = append(p, fmt.Errorf(format, args...)) }
	if _, err := events.NewSubjects(c.SubjectPrefix); err != nil {
		bad("SUBJECT_PREFIX: %w", err)
	}
	if c.StreamReplicas < 1 || c.StreamReplicas > 5 || c.StreamReplicas%2 == 0 {
		bad("STREAM_REPLICAS: %d; give 1, 3 or 5", c.StreamReplicas)
	}
	if c.Topology != TopologyEnsure && c.Topology != TopologyVerify {
		bad("TOPOLOGY: %q; give %s or %s", c.Topology, TopologyEnsure, TopologyVerify)
	}
	if c.HistoryPerType < 1 {
		bad("HISTORY_PER_TYPE: %d; keep at least 1 event of each type and member", c.HistoryPerType)
	}
	if c.FollowUpAfter < 0 || c.FollowUpAfter > maxFollowUp {
		bad("FOLLOW_UP_AFTER: %s; give 0 (none) to %s", c.FollowUpAfter, maxFollowUp)
	}
	if c.Creds != "" && c.NKeySeedFile != "" {
		bad("NATS_CREDS and NATS_NKEY_SEED_FILE: give one of them")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("NATS_TLS_CERT and NATS_TLS_KEY: give both or neither")
	}
	return append(p, c.fileProblems()...)
}

// fileProblems reads the files, so that an unreadable one is named together with
// the rest, and by its setting. No error holds what is in a file.
func (c *Config) fileProblems() []error {
	var p []error
	bad := func(format string, args ...any) { p = append(p, fmt.Errorf(format, args...)) }
	if c.Creds != "" {
		if err := checkCreds(c.Creds); err != nil {
			bad("NATS_CREDS: %w: point it to a file with a user's JWT and seed that this user can read", err)
		}
	}
	if seed := (&seedFile{path: c.NKeySeedFile}); seed.path != "" {
		if err := seed.option(new(nats.Options)); err != nil {
			bad("%w: point it to a file with a user's seed (SU…) that this user can read", err)
		}
	}
	if c.TLSCA != "" {
		text, err := os.ReadFile(c.TLSCA)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s holds no certificate", c.TLSCA)
		}
		if err != nil {
			bad("NATS_TLS_CA: %w: point it to a file with certificates in PEM that this user can read", err)
		}
	}
	if c.TLSCert != "" && c.TLSKey != "" {
		if _, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey); err != nil {
			bad("NATS_TLS_CERT and NATS_TLS_KEY: %w: point them to a certificate and its key in PEM that this user can read", err)
		}
	}
	return p
}

// checkCreds says what keeps a file from being a user's credentials.
func checkCreds(path string) error {
	text, err := os.ReadFile(path) //nolint:gosec // The operator names it.
	if err != nil {
		return err //nolint:wrapcheck // It names the file.
	}
	defer clear(text)
	if token, err := nkeys.ParseDecoratedJWT(text); err != nil || strings.Count(token, ".") != 2 {
		return fmt.Errorf("%s holds no JWT", path)
	}
	key, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return fmt.Errorf("%s holds no user's seed", path)
	}
	key.Wipe()
	return nil
}

// Time limits. A question to NATS that is not answered in askTimeout is taken
// for unanswered; a message in hand that shows no sign of life for ackWait is
// handed to somebody else.
const (
	askTimeout  = 5 * time.Second
	ackWait     = 15 * time.Second
	maxFollowUp = 10 * time.Second // behind the first of a batch others wait for their time without a sign of life
)
