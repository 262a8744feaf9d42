package mx

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Where a user comes from when MX sends them to a bank; the values of OAUTH_REFERRAL_SOURCE.
const (
	ReferralBrowser = "BROWSER"
	ReferralApp     = "APP"
)

// maxInFlightLimit is about twice the 2,000 connections per address that MX names in its oldest description of a 429: a
// larger pool can only be a mistake.
const maxInFlightLimit = 4096

// minTimeout is less than any exchange takes that leaves the machine: below, nearly every call would fail, and nothing
// would tell that MX is well.
const minTimeout = 10 * time.Millisecond

// Config is what the client is told from outside, by go-envconfig.
type Config struct {
	// BaseURL is the API's root. MX's integration host is the default; production is https://api.mx.com. Keys belong
	// to one of the two.
	BaseURL string `env:"MX_BASE_URL, default=https://int-api.mx.com" desc:"Root of the MX Platform API; production is https://api.mx.com. Keys belong to one of the two."`
	// ClientID and the key are the user and password of HTTP Basic.
	ClientID string `env:"MX_CLIENT_ID" desc:"Client id of your MX client. Required."`
	// APIKey is the key itself. Either it or APIKeyFile.
	APIKey Secret `env:"MX_API_KEY" desc:"Key of your MX client. Required, unless MX_API_KEY_FILE is set."`
	// APIKeyFile names a file that holds the key, read again about once a second and upon a 401, so that a key can be
	// rotated without a restart. White space around the key is ignored.
	APIKeyFile string `env:"MX_API_KEY_FILE" desc:"File with the key, read again about once a second and upon a 401, so that a key can be rotated without a restart."`
	// AcceptVersion is sent as Accept-Version; without a valid one MX answers 406.
	AcceptVersion string `env:"MX_ACCEPT_VERSION, default=v20250224" desc:"Version of the API, sent as Accept-Version."`
	// Timeout bounds one call from beginning to last byte.
	Timeout time.Duration `env:"MX_TIMEOUT, default=10s" desc:"How long one call may take from beginning to last byte."`
	// MaxInFlight is how many calls run at once at most, and the size of the connection pool.
	MaxInFlight int `env:"MX_MAX_IN_FLIGHT, default=64" desc:"Calls at once, at most, of this process."`
	// RateLimit is calls per second, 0 for no limit. The caller's desk enforces it; here it is only checked.
	RateLimit float64 `env:"MX_RATE_LIMIT, default=0" desc:"Reads begun per second, at most, of this process; 0 no limit."`
	// ReferralSource is BROWSER, APP or empty (not sent). APP in a browser breaks the bank's flow.
	ReferralSource string `env:"OAUTH_REFERRAL_SOURCE" desc:"Where the user comes from when MX sends them to the bank: BROWSER, APP or empty (not told)."`
	// ClientRedirectURL is where the user lands afterwards; MX heeds it only with APP.
	ClientRedirectURL string `env:"OAUTH_CLIENT_REDIRECT_URL" desc:"Where the user lands afterwards; only with OAUTH_REFERRAL_SOURCE=APP."`
}

// Problems returns everything that is wrong, each error naming the variable and the fix and none a value that could be
// secret. It reads the key file, so that an unreadable one is named together with the rest.
func (c *Config) Problems() []error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if _, err := parseBase(c.BaseURL); err != nil {
		problem("MX_BASE_URL: %w", err)
	}
	switch {
	case c.ClientID == "":
		problem("MX_CLIENT_ID: missing: set it to the client id of your MX client")
	case strings.ContainsFunc(c.ClientID, func(r rune) bool { return r == ':' || r <= ' ' || r == 0x7f }):
		problem("MX_CLIENT_ID: holds a colon, a space or a control character: HTTP Basic cannot carry it, copy it again from MX")
	}
	switch {
	case c.APIKey == "" && c.APIKeyFile == "":
		problem("MX_API_KEY: missing: set it, or MX_API_KEY_FILE, to the key of your MX client")
	case c.APIKey != "" && c.APIKeyFile != "":
		problem("MX_API_KEY: set together with MX_API_KEY_FILE: keep one of the two")
	case c.APIKeyFile != "":
		if _, err := readKey(c.APIKeyFile); err != nil {
			problem("MX_API_KEY_FILE: %w: point it to a readable file that holds the key alone", err)
		}
	default:
		if err := checkKey(strings.TrimSpace(string(c.APIKey))); err != nil {
			problem("MX_API_KEY: %w: copy it again from MX", err)
		}
	}
	if c.AcceptVersion == "" || strings.ContainsFunc(c.AcceptVersion, func(r rune) bool { return r <= ' ' || r > '~' }) {
		problem("MX_ACCEPT_VERSION: missing or not a version: set it to one that MX names, such as v20250224")
	}
	if c.Timeout < minTimeout {
		problem("MX_TIMEOUT: %s is less than a call may take: set it to at least %s, such as 10s", c.Timeout, minTimeout)
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > maxInFlightLimit {
		problem("MX_MAX_IN_FLIGHT: %d is out of range: set it to 1 to %d", c.MaxInFlight, maxInFlightLimit)
	}
	if c.RateLimit < 0 || math.IsNaN(c.RateLimit) || math.IsInf(c.RateLimit, 0) {
		problem("MX_RATE_LIMIT: must be 0 (no limit) or a number of calls per second")
	}
	if err := checkReferral(c.ReferralSource, c.ClientRedirectURL); err != nil {
		problem("%w", err)
	}
	return problems
}

// parseBase parses the API's root. Its errors do not hold the text, which may have a password in it.
func parseBase(raw string) (*url.URL, error) {
	const fix = "set it to a URL such as https://int-api.mx.com"
	raw = strings.TrimSpace(raw)
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return nil, errors.New("empty: " + fix)
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("not a URL with a host: " + fix)
	case u.Port() != "" && !isPort(u.Port()):
		return nil, errors.New("has a port beyond 65535: " + fix)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawPath != "":
		return nil, errors.New("holds more than scheme, host and a plain path: " + fix + " and credentials to MX_CLIENT_ID and MX_API_KEY")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return nil, errors.New("not https: the key would travel in the clear; use https (http is for 127.0.0.1, ::1 and localhost only)")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// checkReferral reports what MX would not accept or silently ignore in a request for an OAuth window URI.
func checkReferral(source, redirect string) error {
	switch source {
	case "", ReferralBrowser, ReferralApp:
	default:
		return errors.New("OAUTH_REFERRAL_SOURCE: must be BROWSER, APP or empty")
	}
	if redirect == "" {
		return nil
	}
	if source != ReferralApp {
		return errors.New("OAUTH_CLIENT_REDIRECT_URL: heeded by MX only with OAUTH_REFERRAL_SOURCE=APP: set that too, or drop the URL")
	}
	// An app's own scheme is the usual case, so any absolute URL will do.
	if u, err := url.Parse(redirect); err != nil || u.Scheme == "" {
		return errors.New("OAUTH_CLIENT_REDIRECT_URL: not an absolute URL: set it to one such as myapp://connected")
	}
	return nil
}
