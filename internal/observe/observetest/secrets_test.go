package observetest_test

import (
	"log/slog"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe/observetest"
)

// observed is a test that only counts its failures.
type observed struct {
	testing.TB
	failures int
}

func (o *observed) Errorf(string, ...any) { o.failures++ }

func TestScanFindsEachSecretInALog(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"nothing of interest":                              0,
		"key " + mxsim.DefaultAPIKey + ".":                 1,
		"Authorization: Basic c2ltLWNsaWVudDpzaW0ta2V5":    1,
		"https://oauth.mxsim.example/authorize?state=0815": 1,
	} {
		o := &observed{TB: t}
		slog.New(slog.NewJSONHandler(observetest.ScanLog(o), nil)).Info("called", "text", text)
		if o.failures != want {
			t.Errorf("%q: %d failures, want %d", text, o.failures, want)
		}
	}
}
