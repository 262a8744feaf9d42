package deploy_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func connect(t *testing.T, addr string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("nats://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// service is one of compose.yaml.
type service struct {
	Image           string
	Entrypoint      []string
	Command         []string
	Environment     map[string]string
	Volumes         []string
	NetworkMode     string        `yaml:"network_mode"`
	DependsOn       any           `yaml:"depends_on"`
	StopGracePeriod time.Duration `yaml:"stop_grace_period"`
	ReadOnly        bool          `yaml:"read_only"`
}

func readCompose(t *testing.T) map[string]service {
	t.Helper()
	var file struct {
		Services map[string]service
		Volumes  map[string]any
	}
	read(t, "compose.yaml", &file)
	for name, s := range file.Services {
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if _, named := file.Volumes[source]; named {
				continue
			}
			if _, err := os.Stat(source); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, other := range dependencies(s) {
			if _, there := file.Services[other]; !there {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		if image := regexp.MustCompile(`\$\{\w+:-(.*)\}`).ReplaceAllString(s.Image, "$1"); !regexp.MustCompile(`:[\w.-]+$`).MatchString(image) {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
	}
	return file.Services
}

func dependencies(s service) []string {
	var all []string
	if shared, ok := strings.CutPrefix(s.NetworkMode, "service:"); ok {
		all = append(all, shared)
	}
	switch on := s.DependsOn.(type) {
	case []any:
		for _, name := range on {
			if text, ok := name.(string); ok {
				all = append(all, text)
			}
		}
	case map[string]any:
		for name := range on {
			all = append(all, name)
		}
	}
	return all
}

// settings are the variables that a program says it knows.
func settings(t *testing.T, program string, args ...string) []string {
	t.Helper()
	text := output(t, nil, filepath.Join(binaries, program), args...)
	known := regexp.MustCompile(`\b[A-Z][A-Z0-9_]{5,}\b`).FindAllString(text, -1)
	if len(known) < 10 {
		t.Fatalf("%s knows %q only", program, known)
	}
	return known
}

func TestComposeUsesOnlySettingsThatExist(t *testing.T) {
	t.Parallel()
	services := readCompose(t)
	memberwatch, mxsim := settings(t, "memberwatch", "catalog", "--config"), settings(t, "mxsim", "--help")
	checked := 0
	for name, s := range services {
		known := memberwatch
		switch {
		case !strings.Contains(s.Image, "memberwatch"):
			continue
		case slices.Contains(s.Entrypoint, "/mxsim"):
			known = mxsim
		}
		for variable := range s.Environment {
			checked++
			if !slices.Contains(known, variable) {
				t.Errorf("%s: there is no setting %s", name, variable)
			}
		}
	}
	if checked < 10 {
		t.Errorf("found %d settings only", checked)
	}
}

func TestComposeGivesNATSEveryVariableOfItsConfiguration(t *testing.T) {
	t.Parallel()
	have := readCompose(t)["nats"].Environment
	for _, file := range []string{"single.conf", "users-password.conf", "jetstream.conf"} {
		text, err := os.ReadFile(filepath.Join("nats", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`password: \$(\w+)`).FindAllStringSubmatch(string(text), -1) {
			if have[m[1]] == "" {
				t.Errorf("%s needs %s", file, m[1])
			}
		}
	}
}

func TestComposeWorkersFinishTheirWorkAndAreScraped(t *testing.T) {
	t.Parallel()
	services := readCompose(t)
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	read(t, "prometheus/prometheus.yaml", &prometheus)
	var targets, workers []string
	for _, c := range prometheus.ScrapeConfigs {
		for _, s := range c.StaticConfigs {
			targets = append(targets, s.Targets...)
		}
	}
	for name, s := range services {
		if s.Environment["TOPOLOGY"] == "" {
			continue
		}
		limit, err := time.ParseDuration(s.Environment["SHUTDOWN_TIMEOUT"])
		if err != nil {
			t.Fatal(err)
		}
		if s.StopGracePeriod <= limit {
			t.Errorf("%s is killed after %s, within its SHUTDOWN_TIMEOUT of %s", name, s.StopGracePeriod, limit)
		}
		if !s.ReadOnly {
			t.Errorf("%s may write to its file system", name)
		}
		_, port, err := net.SplitHostPort(s.Environment["HTTP_ADDR"])
		if err != nil {
			t.Fatal(err)
		}
		workers = append(workers, strings.TrimPrefix(s.NetworkMode, "service:")+":"+port)
	}
	slices.Sort(targets)
	slices.Sort(workers)
	if !slices.Equal(targets, workers) || len(workers) != 2 {
		t.Errorf("workers are %q, Prometheus scrapes %q", workers, targets)
	}
}
