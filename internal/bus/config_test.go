package bus

import (
	"strings"
	"testing"
	"time"
)

func good() Config {
	return Config{SubjectPrefix: "mx", StreamReplicas: 1, Topology: TopologyEnsure, HistoryPerType: 64, FollowUpAfter: 3 * time.Second}
}

func TestConfigProblemsNameTheSetting(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string // no problem when empty
	}{
		"default":             {func(*Config) {}, ""},
		"three copies":        {func(c *Config) { c.StreamReplicas = 3 }, ""},
		"no follow-up":        {func(c *Config) { c.FollowUpAfter = 0 }, ""},
		"verify":              {func(c *Config) { c.Topology = TopologyVerify }, ""},
		"client certificate":  {func(c *Config) { c.TLSCert, c.TLSKey = "a", "b" }, ""},
		"two-token prefix":    {func(c *Config) { c.SubjectPrefix = "a.b" }, "SUBJECT_PREFIX"},
		"no prefix":           {func(c *Config) { c.SubjectPrefix = "" }, "SUBJECT_PREFIX"},
		"wildcard prefix":     {func(c *Config) { c.SubjectPrefix = "*" }, "SUBJECT_PREFIX"},
		"even copies":         {func(c *Config) { c.StreamReplicas = 2 }, "STREAM_REPLICAS"},
		"no copy":             {func(c *Config) { c.StreamReplicas = 0 }, "STREAM_REPLICAS"},
		"seven copies":        {func(c *Config) { c.StreamReplicas = 7 }, "STREAM_REPLICAS"},
		"unknown topology":    {func(c *Config) { c.Topology = "none" }, "TOPOLOGY"},
		"no history":          {func(c *Config) { c.HistoryPerType = 0 }, "HISTORY_PER_TYPE"},
		"unlimited history":   {func(c *Config) { c.HistoryPerType = -1 }, "HISTORY_PER_TYPE"},
		"negative follow-up":  {func(c *Config) { c.FollowUpAfter = -1 }, "FOLLOW_UP_AFTER"},
		"follow-up too late":  {func(c *Config) { c.FollowUpAfter = maxFollowUp + 1 }, "FOLLOW_UP_AFTER"},
		"two ways to log in":  {func(c *Config) { c.Creds, c.NKeySeedFile = "a", "b" }, "NATS_CREDS"},
		"certificate, no key": {func(c *Config) { c.TLSCert = "a" }, "NATS_TLS_KEY"},
		"key, no certificate": {func(c *Config) { c.TLSKey = "a" }, "NATS_TLS_CERT"},
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
		})
	}
}

func TestConfigProblemsAreAllToldAtOnce(t *testing.T) {
	t.Parallel()
	c := Config{FollowUpAfter: -1}
	if p := c.Problems(); len(p) != 5 {
		t.Errorf("%d problems: %v; want 5", len(p), p)
	}
}
