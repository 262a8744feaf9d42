package mx_test

import (
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/mx"
)

func TestConfigFromTheEnvironmentNeedsOnlyCredentials(t *testing.T) {
	t.Parallel()
	var c mx.Config
	err := envconfig.ProcessWith(t.Context(), &envconfig.Config{Target: &c, Lookuper: envconfig.MapLookuper(map[string]string{
		"MX_CLIENT_ID": clientID, "MX_API_KEY": apiKey,
	})})
	if err != nil {
		t.Fatal(err)
	}
	want := mx.Config{
		BaseURL: "https://int-api.mx.com", ClientID: clientID, APIKey: apiKey, AcceptVersion: "v20250224",
		Timeout: 10 * time.Second, MaxInFlight: 64,
	}
	if c != want {
		t.Errorf("config is %+v, want %+v", c, want)
	}
	if problems := c.Problems(); len(problems) != 0 {
		t.Errorf("problems are %v", problems)
	}
	if host := newClient(t, c).Host(); host != "int-api.mx.com" {
		t.Errorf("host is %s", host)
	}
}

func TestProblemsNameTheVariableAndNoSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	for file, text := range map[string]string{empty: " \n", large: strings.Repeat("5ecret", 1000)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*mx.Config)
		want   []string // the variables, in order
	}{
		{"none", func(*mx.Config) {}, nil},
		{"http on loopback", func(c *mx.Config) { c.BaseURL = "http://127.8.9.1:80" }, nil},
		{"http on loopback, version 6", func(c *mx.Config) { c.BaseURL = "http://[::1]:80/" }, nil},
		{"http on localhost", func(c *mx.Config) { c.BaseURL = "http://localhost" }, nil},
		{"http", func(c *mx.Config) { c.BaseURL = "http://int-api.mx.com" }, []string{"MX_BASE_URL"}},
		{"http on a name that looks local", func(c *mx.Config) { c.BaseURL = "http://localhost.evil.test" }, []string{"MX_BASE_URL"}},
		{"http on a private address", func(c *mx.Config) { c.BaseURL = "http://10.0.0.1" }, []string{"MX_BASE_URL"}},
		{"spaces around it", func(c *mx.Config) { c.BaseURL = " https://api.mx.com\n" }, nil},
		{"the last port", func(c *mx.Config) { c.BaseURL = "https://x.test:65535" }, nil},
		{"a port too far", func(c *mx.Config) { c.BaseURL = "https://x.test:65536" }, []string{"MX_BASE_URL"}},
		{"a port that is no number", func(c *mx.Config) { c.BaseURL = "https://x.test:https" }, []string{"MX_BASE_URL"}},
		{"no url", func(c *mx.Config) { c.BaseURL = "" }, []string{"MX_BASE_URL"}},
		{"no host", func(c *mx.Config) { c.BaseURL = "https:///x" }, []string{"MX_BASE_URL"}},
		{"no scheme", func(c *mx.Config) { c.BaseURL = "int-api.mx.com" }, []string{"MX_BASE_URL"}},
		{"bad url", func(c *mx.Config) { c.BaseURL = "https://5ecret:%zz@x" }, []string{"MX_BASE_URL"}},
		{"password in the url", func(c *mx.Config) { c.BaseURL = "https://u:5ecret@x.test" }, []string{"MX_BASE_URL"}},
		{"query in the url", func(c *mx.Config) { c.BaseURL = "https://x.test?key=5ecret" }, []string{"MX_BASE_URL"}},
		{"ftp", func(c *mx.Config) { c.BaseURL = "ftp://127.0.0.1" }, []string{"MX_BASE_URL"}},
		{"no credentials", func(c *mx.Config) { c.ClientID, c.APIKey = "", "" }, []string{"MX_CLIENT_ID", "MX_API_KEY"}},
		{"colon in the id", func(c *mx.Config) { c.ClientID = "id:5ecret" }, []string{"MX_CLIENT_ID"}},
		{"line break in the id", func(c *mx.Config) { c.ClientID = "5ecret\n" }, []string{"MX_CLIENT_ID"}},
		{"line break in the key", func(c *mx.Config) { c.APIKey = "5ec\nret" }, []string{"MX_API_KEY"}},
		{"blank key", func(c *mx.Config) { c.APIKey = " " }, []string{"MX_API_KEY"}},
		{"key twice", func(c *mx.Config) { c.APIKeyFile = empty }, []string{"MX_API_KEY"}},
		{"key with a byte order mark", func(c *mx.Config) { c.APIKey = "\ufeff5ecret" }, []string{"MX_API_KEY"}},
		{"key file missing", func(c *mx.Config) { c.APIKey, c.APIKeyFile = "", filepath.Join(dir, "none") }, []string{"MX_API_KEY_FILE"}},
		{"key file empty", func(c *mx.Config) { c.APIKey, c.APIKeyFile = "", empty }, []string{"MX_API_KEY_FILE"}},
		{"key file large", func(c *mx.Config) { c.APIKey, c.APIKeyFile = "", large }, []string{"MX_API_KEY_FILE"}},
		{"key file a directory", func(c *mx.Config) { c.APIKey, c.APIKeyFile = "", dir }, []string{"MX_API_KEY_FILE"}},
		{"no version", func(c *mx.Config) { c.AcceptVersion = "" }, []string{"MX_ACCEPT_VERSION"}},
		{"version with a line break", func(c *mx.Config) { c.AcceptVersion = "v1\r\nX: y" }, []string{"MX_ACCEPT_VERSION"}},
		{"no time", func(c *mx.Config) { c.Timeout = 0 }, []string{"MX_TIMEOUT"}},
		{"negative time", func(c *mx.Config) { c.Timeout = -1 }, []string{"MX_TIMEOUT"}},
		{"hardly any time", func(c *mx.Config) { c.Timeout = 9 * time.Millisecond }, []string{"MX_TIMEOUT"}},
		{"just enough time", func(c *mx.Config) { c.Timeout = 100 * time.Millisecond }, nil},
		{"no connections", func(c *mx.Config) { c.MaxInFlight = 0 }, []string{"MX_MAX_IN_FLIGHT"}},
		{"too many connections", func(c *mx.Config) { c.MaxInFlight = 4097 }, []string{"MX_MAX_IN_FLIGHT"}},
		{"most connections", func(c *mx.Config) { c.MaxInFlight = 4096 }, nil},
		{"negative rate", func(c *mx.Config) { c.RateLimit = -1 }, []string{"MX_RATE_LIMIT"}},
		{"no rate at all", func(c *mx.Config) { c.RateLimit = math.NaN() }, []string{"MX_RATE_LIMIT"}},
		{"endless rate", func(c *mx.Config) { c.RateLimit = math.Inf(1) }, []string{"MX_RATE_LIMIT"}},
		{"unknown source", func(c *mx.Config) { c.ReferralSource = "WEB" }, []string{"OAUTH_REFERRAL_SOURCE"}},
		{"redirect without source", func(c *mx.Config) { c.ClientRedirectURL = "myapp://x" }, []string{"OAUTH_CLIENT_REDIRECT_URL"}},
		{"redirect that is none", func(c *mx.Config) { c.ReferralSource, c.ClientRedirectURL = "APP", "x" }, []string{"OAUTH_CLIENT_REDIRECT_URL"}},
		{"app with redirect", func(c *mx.Config) { c.ReferralSource, c.ClientRedirectURL = "APP", "myapp://x" }, nil},
		{"everything", func(c *mx.Config) { *c = mx.Config{RateLimit: -1, ReferralSource: "x"} }, []string{
			"MX_BASE_URL", "MX_CLIENT_ID", "MX_API_KEY", "MX_ACCEPT_VERSION", "MX_TIMEOUT", "MX_MAX_IN_FLIGHT", "MX_RATE_LIMIT", "OAUTH_REFERRAL_SOURCE",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			changed := config("https://int-api.mx.com")
			c.change(&changed)
			var got []string
			for _, err := range changed.Problems() {
				name, _, _ := strings.Cut(err.Error(), ":")
				got = append(got, name)
				if strings.Contains(err.Error(), "5ec") || strings.Contains(err.Error(), apiKey) {
					t.Errorf("a secret is in %q", err)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("problems are with %v, want %v", got, c.want)
			}
			client, err := mx.New(changed)
			if (err == nil) != (len(c.want) == 0) {
				t.Errorf("New says %v", err)
			}
			if client != nil {
				client.Close()
			}
		})
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(" first\n")
	c := config("")
	c.APIKey, c.APIKeyFile = "", file
	accepted := map[string]bool{"first": true, "second": true, "third": true}
	var sent []string
	c.BaseURL = serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := r.BasicAuth()
		sent = append(sent, key)
		if !accepted[key] {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, member1)
	})
	now := time.Unix(1_700_000_000, 0)
	client := newClient(t, c, mx.WithClock(func() time.Time { return now }))
	read := func(want ...string) error {
		t.Helper()
		sent = nil
		_, err := client.ReadMember(t.Context(), "USR-1", "MBR-1")
		if !slices.Equal(sent, want) {
			t.Errorf("keys sent are %v, want %v", sent, want)
		}
		return err
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	must(read("first"))
	write("second")
	must(read("first")) // Not looked at yet.
	now = now.Add(time.Second)
	must(read("second"))

	// A key that was revoked before we looked is replaced within the call.
	write("third")
	accepted["second"] = false
	must(read("second", "third"))

	// A file that is gone for a moment, or half written, changes nothing.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	must(read("third"))
	write("")
	now = now.Add(time.Minute)
	must(read("third"))

	// When the key is refused the error tells that the file is the reason why there is no better one.
	accepted["third"] = false
	if err := read("third"); mx.KindOf(err) != mx.Unauthorized || !strings.Contains(err.Error(), "MX_API_KEY_FILE") {
		t.Errorf("error is %v", err)
	}
	write("third")
	if err := read("third"); mx.KindOf(err) != mx.Unauthorized {
		t.Errorf("error is %v", err)
	}
}
