package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/observe"
	"github.com/memberwatch/memberwatch/internal/settings"
)

// system is the environment of the process. Unlike others it can be asked for all names.
type system struct{ envconfig.Lookuper }

// Names returns the names of all variables.
func (system) Names() []string {
	var names []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	return names
}

// warning has c name the variables that look like settings and are none before it
// begins: a setting with a slip in its name is a default that nobody chose. It is
// no error, because the environment belongs to others, too.
func (p *program) warning(c *cobra.Command) *cobra.Command {
	c.PreRun = func(c *cobra.Command, _ []string) { p.warnOfStrangers(c.Context()) }
	return c
}

func (p *program) warnOfStrangers(ctx context.Context) {
	all, ok := p.env.(interface{ Names() []string })
	if !ok {
		return
	}
	var o observe.Config
	_ = settings.Read(ctx, p.env, &o) // What is wrong with them is told when the command begins.
	log, err := observe.NewLogger(o, p.stderr)
	if err != nil {
		log = slog.New(slog.NewTextHandler(p.stderr, nil))
	}
	var known []string
	for _, s := range settings.Of(new(config).parts()...) {
		known = append(known, s.Name)
	}
	set := settings.Given(p.env)
	for _, s := range strangers(all.Names(), known) {
		if _, ok := set.Lookup(s.name); !ok {
			continue
		}
		fix := "memberwatch catalog --config lists all settings"
		if s.near != "" {
			fix = fmt.Sprintf("did you mean %s?", s.near)
		}
		log.WarnContext(ctx, "unknown setting", "name", s.name, "fix", fix) // The value may be a secret.
	}
}

// stranger is a variable that looks like a setting and is none.
type stranger struct{ name, near string }

// service is what Kubernetes and Docker set for each service or link there is: one
// that is called mx or webhook is likely enough.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
var service = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// strangers returns those of names that look like one of known, in order.
func strangers(names, known []string) []stranger {
	ours := []string{"MX_", "OAUTH_", "WEBHOOK_", "DELETE_"} // No other software is known to begin names so.
	var all []stranger
	for _, name := range slices.Sorted(slices.Values(names)) {
		if slices.Contains(known, name) || service.MatchString(name) {
			continue
		}
		begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		near := nearest(name, known)
		// Others name variables NATS_, too: such a one must be a slip to be worth a word.
		if slices.ContainsFunc(ours, begins) || begins("NATS_") && near != "" {
			all = append(all, stranger{name, near})
		}
	}
	return all
}

// maxSlips is how many letters may be wrong, missing or too many in what is still
// the name of something else.
const maxSlips = 2

// nearest returns the known name that name is a slip for, empty when there is none.
func nearest(name string, known []string) string {
	best, slips := "", maxSlips+1
	for _, k := range known {
		d := distance(name, k)
		if strings.ReplaceAll(name, "_", "") == strings.ReplaceAll(k, "_", "") {
			d = 0
		}
		if d < slips {
			best, slips = k, d
		}
	}
	return best
}

// distance is how many letters have to be put in, taken out or replaced to make b
// of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of the letters of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(replaced, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
