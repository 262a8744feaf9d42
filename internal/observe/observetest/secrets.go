package observetest

import (
	"bytes"
	"encoding/base64"
	"io"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// uriHost is in every OAuth URI that the simulator gives out, and nowhere else.
const uriHost = "oauth.mxsim.example"

// secrets are the texts of a simulated MX that may stand in nothing that the
// service writes about itself, by what they are.
func secrets() map[string]string {
	return map[string]string{
		"API key":            mxsim.DefaultAPIKey,
		"Basic header value": base64.StdEncoding.EncodeToString([]byte(mxsim.DefaultClientID + ":" + mxsim.DefaultAPIKey)),
		"OAuth URI":          uriHost,
	}
}

// FindSecret returns what kind of secret text holds, "" for none.
func FindSecret(text []byte) string {
	for what, secret := range secrets() {
		if bytes.Contains(text, []byte(secret)) {
			return what
		}
	}
	return ""
}

// ScanLog returns a writer for a logger at its most talkative level. It keeps
// nothing, and fails the test when a line holds a secret.
func ScanLog(tb testing.TB) io.Writer {
	tb.Helper()
	return &scan{tb}
}

type scan struct{ tb testing.TB }

// Write takes one line: that is how slog's handlers write.
func (s *scan) Write(line []byte) (int, error) {
	if what := FindSecret(line); what != "" {
		s.tb.Errorf("the log holds the %s: %s", what, line)
	}
	return len(line), nil
}
