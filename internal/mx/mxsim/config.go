package mxsim

import (
	"encoding/base64"
	"slices"
	"time"
)

// Credentials that a simulator accepts when its Config names none.
const (
	DefaultClientID = "sim-client"
	DefaultAPIKey   = "sim-key"
)

// defaultVersion is the API version that MX requires since 12 August 2026.
const defaultVersion = "v20250224"

// defaultLogLimit bounds the journal in mode LogAll: 200,000 answers take
// about 40 MB, and more than that no oracle wants to read at once.
const defaultLogLimit = 200_000

// LogMode says how much of what it answered the simulator remembers.
type LogMode string

// The modes of the journal. The empty mode is LogOff.
const (
	LogOff  LogMode = "off"  // nothing
	LogLast LogMode = "last" // the last answer of each member
	LogAll  LogMode = "all"  // the last Config.LogLimit answers
)

// Config is what a simulator starts with. All but Seed, LogLimit and Now can
// be changed while it runs; see [Server.Configure].
type Config struct {
	// ClientID and APIKey are the Basic credentials that are accepted.
	// Empty: DefaultClientID and DefaultAPIKey.
	ClientID, APIKey string

	// AcceptVersions are the accepted values of Accept-Version. Empty: the
	// one that MX requires.
	AcceptVersions []string

	// Seed decides every guid, every URI and every nasty form.
	Seed uint64

	// Nasty varies the form of answers wherever MX is undocumented.
	Nasty bool

	// Latency delays every answer of the MX API, before it is decided.
	Latency time.Duration

	// SettleReads and SettleAfter end what [Server.Authorize],
	// [Server.AnswerChallenge] and an aggregation begin: after so many reads
	// that still showed the transient state, or so much time, whichever comes
	// first. With both zero it goes on until [Server.Settle].
	SettleReads int
	SettleAfter time.Duration

	// AggregateInterval is how long after the start of a job another wish to
	// aggregate is "too soon": answered with 202 and otherwise ignored.
	AggregateInterval time.Duration

	// Log is the mode of the journal and LogLimit its bound in mode LogAll
	// (0: 200,000 answers).
	Log      LogMode
	LogLimit int

	// Now is the clock. It must not be nil.
	Now func() time.Time
}

// live is a Config in force, with what is derived from it.
type live struct {
	Config
	basic string // the only Authorization header that is accepted
}

func newLive(cfg Config) *live {
	if cfg.ClientID == "" {
		cfg.ClientID = DefaultClientID
	}
	if cfg.APIKey == "" {
		cfg.APIKey = DefaultAPIKey
	}
	if len(cfg.AcceptVersions) == 0 {
		cfg.AcceptVersions = []string{defaultVersion}
	}
	if cfg.LogLimit <= 0 {
		cfg.LogLimit = defaultLogLimit
	}
	if cfg.Log == "" {
		cfg.Log = LogOff
	}
	cfg.AcceptVersions = slices.Clone(cfg.AcceptVersions)
	token := base64.StdEncoding.EncodeToString([]byte(cfg.ClientID + ":" + cfg.APIKey))
	return &live{Config: cfg, basic: "Basic " + token}
}

// Configure changes the configuration in force. Seed, LogLimit and Now keep
// the values they had, and the mode of the journal is left to
// [Server.SetLog].
func (s *Server) Configure(change func(*Config)) {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	before := s.live.Load().Config
	after := before
	change(&after)
	after.Seed, after.LogLimit, after.Now, after.Log = before.Seed, before.LogLimit, before.Now, before.Log
	s.live.Store(newLive(after))
}
