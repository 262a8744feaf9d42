package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func TestCommandsAreNamedAsTheProgramWasStarted(t *testing.T) {
	t.Parallel()
	cached := "/home/a/.cache/go-build/ad/" + strings.Repeat("0a", 32) + "-d/memberwatch"
	moved := "/var/cache/go/ad/" + strings.Repeat("0a", 32) + "-d/memberwatch"
	for name, tc := range map[string]struct {
		arg0, executable string
		starts           []string
		inClone          bool
		want             string
	}{
		"by name":                           {"memberwatch", "/usr/bin/memberwatch", []string{"memberwatch"}, false, "memberwatch"},
		"by another name":                   {"mw", "/usr/bin/memberwatch", []string{"mw"}, false, "mw"},
		"by a path, found by name":          {"/usr/bin/memberwatch", "/usr/bin/memberwatch", []string{"memberwatch", "/usr/bin/memberwatch"}, false, "memberwatch"},
		"by a path":                         {"./bin/memberwatch", "/src/bin/memberwatch", []string{"./bin/memberwatch"}, true, "./bin/memberwatch"},
		"by a path with a space":            {"./my bin/memberwatch", "/my bin/memberwatch", []string{"./my bin/memberwatch"}, false, "'./my bin/memberwatch'"},
		"by a path with a quote":            {"/it's/memberwatch", "/it's/memberwatch", []string{"/it's/memberwatch"}, false, `'/it'\''s/memberwatch'`},
		"go run":                            {"/tmp/go-build31/b001/exe/memberwatch", "/tmp/go-build31/b001/exe/memberwatch", nil, true, "go run ./cmd/memberwatch"},
		"go run, cached":                    {cached, cached, []string{cached}, true, "go run ./cmd/memberwatch"},
		"go run, cached elsewhere":          {moved, moved, []string{moved}, true, "go run ./cmd/memberwatch"},
		"go run, elsewhere":                 {cached, cached, []string{cached}, false, cached},
		"another name than it was given":    {"nonsense", "/usr/bin/memberwatch", nil, false, "/usr/bin/memberwatch"},
		"another path than it was given":    {"./gone", "/usr/bin/memberwatch", nil, false, "/usr/bin/memberwatch"},
		"a file that is not known":          {"memberwatch", "", nil, false, "memberwatch"},
		"a clone, and no go run":            {"memberwatch", "/src/memberwatch", []string{"memberwatch"}, true, "memberwatch"},
		"a directory that looks like go's?": {"./go-builder/memberwatch", "/go-builder/memberwatch", []string{"./go-builder/memberwatch"}, true, "./go-builder/memberwatch"},
	} {
		l := launch{tc.arg0, tc.executable, func(s string) bool { return slices.Contains(tc.starts, s) }, tc.inClone}
		if got := l.command(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestThisLaunchKnowsItsOwnFile(t *testing.T) {
	t.Parallel()
	l := thisLaunch()
	if l.executable == "" || !l.starts(l.executable) || l.starts("go") || l.starts("no such file") {
		t.Errorf("%+v", l)
	}
}

func TestDevInvitesWithCommandsForItsOwnNATS(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env          map[string]string
		nats, prefix string
		want         string
	}{
		"where commands look anyway": {nil, localNATS, "mx", "  ./mw events --follow\n"},
		"elsewhere":                  {nil, "nats://127.0.0.1:1", "acme", "  NATS_URL=nats://127.0.0.1:1 SUBJECT_PREFIX=acme ./mw events --follow\n"},
		// dev runs its own NATS all the same; the commands would go to the other.
		"the shell names another": {map[string]string{"NATS_URL": "nats://nats"}, localNATS, "mx", "  NATS_URL=nats://127.0.0.1:4222 ./mw events --follow\n"},
	} {
		subjects, err := events.NewSubjects(tc.prefix)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		p := &program{env: envconfig.MapLookuper(tc.env), stdout: &out}
		m := mxsim.Member{GUID: "MBR-1", UserGUID: "USR-1", ID: new("a"), ConnectionStatus: new("CONNECTED")}
		p.invite("./mw", serving{nats: tc.nats}, &mxsim.Server{URL: "http://sim"}, subjects, []mxsim.Member{m, m, m})
		if !strings.Contains(out.String(), tc.want) {
			t.Errorf("%s: lacks %q:\n%s", name, tc.want, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(strings.TrimSpace(line), "memberwatch ") {
				t.Errorf("%s: a name that nothing can be found by: %s", name, line)
			}
		}
	}
}
