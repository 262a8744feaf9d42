package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/settings"
)

func TestEverySettingHasAMeaning(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range settings.Of(new(config).parts()...) {
		if !strings.HasSuffix(s.Meaning, ".") {
			t.Errorf("%s: desc is %q, want a sentence", s.Name, s.Meaning)
		}
		if seen[s.Name] {
			t.Errorf("%s belongs to two configurations", s.Name)
		}
		seen[s.Name] = true
		secret := strings.Contains(s.Name, "KEY") && !strings.HasSuffix(s.Name, "_FILE") && !strings.HasSuffix(s.Name, "_TLS_KEY") ||
			strings.HasSuffix(s.Name, "_PASSWORD") || strings.HasSuffix(s.Name, "_TOKEN")
		if secret && !s.Secret {
			t.Errorf("%s is not a secret", s.Name)
		}
	}
	for _, name := range []string{"MX_API_KEY", "NATS_URL", "DATA_DIR", "FOLLOW_UP_AFTER", "HTTP_ADDR"} {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestSettingsAreReadWithTheirDefaults(t *testing.T) {
	t.Parallel()
	c, err := loadConfig(t.Context(), envconfig.MapLookuper(map[string]string{
		"MX_CLIENT_ID": "client", "MX_API_KEY": "key", "MX_MAX_IN_FLIGHT": "7", "FOLLOW_UP_AFTER": "2s", "REFRESH_EVERY": "90m",
		"INITIAL_EVENTS": "", "STREAM_REPLICAS": "", // as one that nobody filled in
	}))
	if err != nil {
		t.Fatal(err)
	}
	if c.MX.BaseURL != "https://int-api.mx.com" || c.Bus.FollowUpAfter != 2*time.Second || c.Local.DataDir != "data" {
		t.Errorf("read %v", c)
	}
	if c.Refresh.MaxInFlight != 7 {
		t.Errorf("refresh may have %d in flight, want 7", c.Refresh.MaxInFlight)
	}
	if c.Refresh.FollowUpAfter != 2*time.Second || c.Refresh.RefreshEvery != 90*time.Minute {
		t.Errorf("refresh has follow-ups after %s and periods of %s", c.Refresh.FollowUpAfter, c.Refresh.RefreshEvery)
	}
	if !c.Refresh.InitialEvents || c.Bus.StreamReplicas != 1 {
		t.Error("an empty variable counts as set")
	}
}

func TestUnreadableSettingCountsAsNotSet(t *testing.T) {
	t.Parallel()
	var c config
	problems := settings.Read(t.Context(), envconfig.MapLookuper(map[string]string{
		"STREAM_REPLICAS": "x", "HISTORY_PER_TYPE": "9", "TOPOLOGY": "verify", "MX_MAX_IN_FLIGHT": "1e3",
	}), c.parts()...)
	var got []string
	for _, p := range problems {
		got = append(got, p.Error())
	}
	want := []string{`MX_MAX_IN_FLIGHT: "1e3" is not a whole number`, `STREAM_REPLICAS: "x" is not a whole number`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if c.Bus.StreamReplicas != 1 || c.Bus.HistoryPerType != 9 || c.Bus.Topology != "verify" || c.MX.MaxInFlight != 64 {
		t.Errorf("read %+v", c.Bus)
	}
}

func TestNATSURLsAreCheckedWithoutBeingRepeated(t *testing.T) {
	t.Parallel()
	for list, ok := range map[string]bool{
		"": true, "nats://a:4222": true, "a:4222": true, "a": true, "nats://u:p@a:4222, tls://b": true, "ws://a": true, "wss://a:65535": true,
		"http://u:hunter2@a": false, "natsx://a": false, "a:65536": false, "nats://hunter:hunter2@a:99999": false, "a:4222,b:port": false,
		"nats://u:hunter 2@a": false, "nats://": false, "a,,b": false, "nats://hunter2:hunter2:hunter2": false,
	} {
		problems := natsURLProblems(list)
		if (len(problems) == 0) != ok {
			t.Errorf("%q: %v", list, problems)
		}
		for _, p := range problems {
			if strings.Contains(p.Error(), "hunter") {
				t.Errorf("%q: %v", list, p)
			}
		}
	}
}

func TestTheEmbeddedServerNeedsAPortThatThereIs(t *testing.T) {
	t.Parallel()
	for listen, ok := range map[string]bool{"127.0.0.1:4222": true, ":0": true, "127.0.0.1:65536": false, "127.0.0.1:nats": false, "127.0.0.1:": false, "here": false} {
		c := localConfig{DataDir: "data", Listen: listen}
		if problems := c.Problems(); (len(problems) == 0) != ok {
			t.Errorf("%q: %v", listen, problems)
		}
	}
}

// The topology commands need no key, so they make no client to ask for the host.
func TestTopologyAndServiceAgreeOnTheHost(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"https://int-api.mx.com", "http://127.0.0.1:8085", "https://api.mx.com/", "http://[::1]:80", " https://api.mx.com \n"} {
		client, err := mx.New(mx.Config{BaseURL: base, ClientID: "c", APIKey: "k", AcceptVersion: "v1", Timeout: time.Second, MaxInFlight: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := mxHost(base); err != nil || got != client.Host() {
			t.Errorf("%s: %q, %v, want %q", base, got, err, client.Host())
		}
	}
	for _, base := range []string{"", "int-api.mx.com", "https://"} {
		if host, err := mxHost(base); err == nil {
			t.Errorf("%q has host %q", base, host)
		}
	}
}
