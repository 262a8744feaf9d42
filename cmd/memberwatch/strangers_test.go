package main

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/settings"
)

func TestVariablesThatLookLikeSettingsAreFound(t *testing.T) {
	t.Parallel()
	var known []string
	for _, s := range settings.Of(new(config).parts()...) {
		known = append(known, s.Name)
	}
	var names []string
	want := []stranger{}
	for name, near := range map[string]string{
		"MX_CLIENTID":       "MX_CLIENT_ID",
		"MX_APIKEY_FILE":    "MX_API_KEY_FILE",
		"MX_APIKEYFILE":     "MX_API_KEY_FILE",
		"MX_API_KEYS":       "MX_API_KEY",
		"MX_M_A_XINFLIGHT":  "MX_MAX_IN_FLIGHT",
		"MX_TIMEUOT":        "MX_TIMEOUT",
		"MX_SOMETHING_ELSE": "",
		"OAUTH_URL_TTL":     "OAUTH_URI_TTL",
		"OAUTH_":            "",
		"WEBHOOK_ADDRESS":   "",
		"WEBHOOK_PASSWRD":   "WEBHOOK_PASSWORD",
		"DELETE_LIMITS":     "DELETE_LIMIT",
		"NATS_URLS":         "NATS_URL",
		"NATS_URI":          "NATS_URL",
		"NATS_CRED":         "NATS_CREDS",
		"NATS_TLSCA":        "NATS_TLS_CA",
	} {
		names, want = append(names, name), append(want, stranger{name, near})
	}
	slices.SortFunc(want, func(a, b stranger) int { return strings.Compare(a.name, b.name) })
	names = append(names, known...)
	names = append(names,
		// Kubernetes, for services that are called so
		"NATS_PORT", "NATS_SERVICE_HOST", "NATS_SERVICE_PORT", "NATS_SERVICE_PORT_CLIENT", "NATS_PORT_4222_TCP", "NATS_PORT_4222_TCP_ADDR",
		"NATS_PORT_4222_TCP_PORT", "NATS_PORT_4222_TCP_PROTO", "MX_SERVICE_HOST", "MX_SERVICE_PORT", "MX_SERVICE_PORT_HTTP", "MX_PORT", "MX_PORT_80_TCP",
		"MX_SIM_SERVICE_HOST", "WEBHOOK_PORT_443_TCP_ADDR", "OAUTH_PORT_53_UDP", "NATS_CREDS_SERVICE_HOST",
		// NATS' own and others'
		"NATS_USER", "NATS_PASSWORD", "NATS_CONTEXT", "NATS_SERVER", "NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_HOST", "NATS_NKEY", "NATS_VERSION",
		// nothing like ours
		"PATH", "MXSIM_ADDR", "OTEL_EXPORTER_OTLP_ENDPOINTS", "XMX_CLIENT_ID", "mx_client_id", "MX", "STATE_CACHES", "LOG_LEVELS",
	)
	if diff := cmp.Diff(want, strangers(names, known), cmp.AllowUnexported(stranger{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDistanceCountsSlips(t *testing.T) {
	t.Parallel()
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"abc", ""}: 3, {"", "abc"}: 3, {"abc", "abc"}: 0, {"abc", "abd"}: 1, {"abc", "ac"}: 1, {"ac", "abc"}: 1, {"kitten", "sitting"}: 3, {"ab", "ba"}: 2,
	} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("%q: %d, want %d", pair, got, want)
		}
	}
}

// named is an environment that tells its names.
type named map[string]string

// Lookup implements envconfig.Lookuper.
func (n named) Lookup(name string) (string, bool) {
	v, ok := n[name]
	return v, ok
}

// Names is as that of system.
func (n named) Names() []string { return slices.Collect(maps.Keys(n)) }

func TestServiceWarnsOnceOfUnknownSettings(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end() // What is told comes before anything is begun.
	for name, tc := range map[string]struct {
		args []string
		env  envconfig.Lookuper
		want string // in what is logged; empty: no warning
	}{
		"serve":                {[]string{"serve"}, named{"MX_CLIENTID": "hunter2"}, `"name":"MX_CLIENTID","fix":"did you mean MX_CLIENT_ID?"`},
		"serve, as text":       {[]string{"serve"}, named{"MX_CLIENTID": "hunter2", "LOG_FORMAT": "text"}, `name=MX_CLIENTID`},
		"dev":                  {[]string{"dev", "--nats", "nowhere"}, named{"WEBHOOK_X": "hunter2"}, `"name":"WEBHOOK_X","fix":"memberwatch catalog --config lists all settings"`},
		"nothing unknown":      {[]string{"serve"}, named{"MX_CLIENT_ID": "hunter2", "PATH": "/bin"}, ""},
		"not filled in":        {[]string{"serve"}, named{"MX_CLIENTID": ""}, ""},
		"only errors":          {[]string{"serve"}, named{"MX_CLIENTID": "hunter2", "LOG_LEVEL": "error"}, ""},
		"another command":      {[]string{"events"}, named{"MX_CLIENTID": "hunter2", "NATS_URL": "not a url"}, ""},
		"names cannot be told": {[]string{"serve"}, envconfig.MapLookuper(named{"MX_CLIENTID": "hunter2"}), ""},
	} {
		var logs bytes.Buffer
		if err := run(ended, tc.args, tc.env, &logs, &logs); err == nil {
			t.Errorf("%s: no error", name)
		}
		warnings := 0
		if tc.want != "" {
			warnings = 1
		}
		if strings.Count(logs.String(), "unknown setting") != warnings || !strings.Contains(logs.String(), tc.want) || strings.Contains(logs.String(), "hunter2") {
			t.Errorf("%s: logged %q, want %d of %q", name, logs.String(), warnings, tc.want)
		}
	}
}

func TestSystemTellsItsNames(t *testing.T) {
	t.Setenv("MX_CLIENTID", "x=y")
	if !slices.Contains(system{}.Names(), "MX_CLIENTID") {
		t.Error("a variable is missing")
	}
}
