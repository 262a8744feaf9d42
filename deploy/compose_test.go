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

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
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

// project loads a compose file as docker compose does: validated against its
// schema, with an environment of nothing but what is given.
func project(t *testing.T, file string, env ...string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(env), cli.WithConsistency(true), cli.WithName("test"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

// composed are the compose files, each with what it is started with.
func composed(t *testing.T) map[string]*types.Project {
	t.Helper()
	env := []string{"SECRETS=/secrets", "RUN_AS=1000:1000", "MXSIM_API_KEY=key"}
	for _, role := range []string{"WORKER", "OPERATOR", "PUBLISHER", "SUBSCRIBER", "OAUTH"} {
		env = append(env, role+"_NKEY=U"+role)
	}
	return map[string]*types.Project{
		"compose.yaml": project(t, "compose.yaml"), "cluster.yaml": project(t, "cluster.yaml", env...),
	}
}

func TestComposeFilesMountWhatThereIsAndNameVersions(t *testing.T) {
	t.Parallel()
	for file, p := range composed(t) {
		for name, s := range p.Services {
			for _, v := range s.Volumes {
				if v.Type != types.VolumeTypeBind {
					continue
				}
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %s: %v", file, name, err)
				}
			}
			if !regexp.MustCompile(`:v?\d[\w.-]*$|^localhost/memberwatch:dev$`).MatchString(s.Image) {
				t.Errorf("%s: %s: image %q has no version", file, name, s.Image)
			}
			for _, port := range s.Ports {
				if port.HostIP != "127.0.0.1" {
					t.Errorf("%s: %s: port %d is open to the world", file, name, port.Target)
				}
			}
			if strings.Contains(s.Image, "memberwatch") && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"})) {
				t.Errorf("%s: %s may write to its file system, or has capabilities", file, name)
			}
		}
	}
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
	memberwatch, mxsim := settings(t, "memberwatch", "catalog", "--config"), settings(t, "mxsim", "--help")
	memberwatch = append(memberwatch, "SSL_CERT_FILE") // Go's own
	for file, p := range composed(t) {
		checked := 0
		for name, s := range p.Services {
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
					t.Errorf("%s: %s: there is no setting %s", file, name, variable)
				}
			}
		}
		if checked < 10 {
			t.Errorf("%s: found %d settings only", file, checked)
		}
	}
}

func TestComposeGivesNATSEveryVariableOfItsConfiguration(t *testing.T) {
	t.Parallel()
	all := composed(t)
	for file, needed := range map[string][]string{
		"compose.yaml": {"single.conf", "users-password.conf", "jetstream.conf"},
		"cluster.yaml": {"cluster.conf", "users-nkey.conf", "tls.conf", "jetstream.conf"},
	} {
		servers := 0
		for name, s := range all[file].Services {
			if !strings.HasPrefix(name, "nats") {
				continue
			}
			servers++
			for _, conf := range needed {
				text, err := os.ReadFile(filepath.Join("nats", conf))
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range regexp.MustCompile(`(?:password|nkey|name|routes|file|verify): \$(\w+)`).FindAllStringSubmatch(string(text), -1) {
					if v := s.Environment[m[1]]; v == nil || *v == "" {
						t.Errorf("%s: %s: %s needs %s", file, name, conf, m[1])
					}
				}
			}
		}
		if servers == 0 {
			t.Errorf("%s has no NATS server", file)
		}
	}
}

// value is a variable of a service; empty when it has none.
func value(s types.ServiceConfig, name string) string {
	if v := s.Environment[name]; v != nil {
		return *v
	}
	return ""
}

func TestComposeWorkersFinishTheirWorkAndAreScraped(t *testing.T) {
	t.Parallel()
	for file, scraped := range map[string][]string{
		"compose.yaml": {"mx:8081", "mx:8082"}, "cluster.yaml": {"memberwatch:8080"},
	} {
		p := composed(t)[file]
		workers := 0
		var addresses []string
		for name, s := range p.Services {
			if value(s, "TOPOLOGY") == "" {
				continue
			}
			workers += max(s.GetScale(), 1)
			limit, err := time.ParseDuration(value(s, "SHUTDOWN_TIMEOUT"))
			if err != nil {
				t.Fatal(err)
			}
			if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= limit {
				t.Errorf("%s: %s is killed within its SHUTDOWN_TIMEOUT of %s", file, name, limit)
			}
			_, port, err := net.SplitHostPort(value(s, "HTTP_ADDR"))
			if err != nil {
				t.Fatal(err)
			}
			if shared, ok := strings.CutPrefix(s.NetworkMode, types.ServicePrefix); ok {
				name = shared
			}
			addresses = append(addresses, name+":"+port)
		}
		if slices.Sort(addresses); workers != 2 || !slices.Equal(addresses, scraped) || !slices.Equal(targets(t, p), scraped) {
			t.Errorf("%s: %d workers at %q, Prometheus scrapes %q, want %q", file, workers, addresses, targets(t, p), scraped)
		}
	}
}

// targets is what a project's Prometheus scrapes.
func targets(t *testing.T, p *types.Project) (all []string) {
	t.Helper()
	var config struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
			DNS           []struct {
				Names []string
				Port  string
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	for _, argument := range p.Services["prometheus"].Command {
		if name, ok := strings.CutPrefix(argument, "--config.file=/etc/prometheus/"); ok {
			read(t, filepath.Join("prometheus", name), &config)
		}
	}
	for _, c := range config.ScrapeConfigs {
		for _, s := range c.StaticConfigs {
			all = append(all, s.Targets...)
		}
		for _, d := range c.DNS {
			for _, name := range d.Names {
				all = append(all, net.JoinHostPort(name, d.Port))
			}
		}
	}
	slices.Sort(all)
	return all
}
