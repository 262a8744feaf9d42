package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/internal/bus"
)

// errIll: at least one check failed.
var errIll = errors.New("not everything is well")

// State is how a check ended.
type checkState string

// The states.
const (
	checkOK      checkState = "ok"
	checkWarning checkState = "warning" // worth to know, and no reason not to run
	checkFailed  checkState = "failed"
	checkSkipped checkState = "skipped" // cannot be told, because of an earlier one
)

// mark is how a state looks to a person.
func (s checkState) mark() string {
	switch s {
	case checkOK:
		return "✓"
	case checkWarning:
		return "!"
	case checkFailed:
		return "✗"
	case checkSkipped:
	}
	return "–"
}

// finding is what came of a check.
type finding struct {
	Check  string     `json:"check"`
	State  checkState `json:"state"`
	Detail string     `json:"detail,omitempty"`
	Fix    string     `json:"fix,omitempty"` // what to do, when it is not well
}

// The checks, in the order in which they are made.
const (
	checkSettings    = "settings"
	checkNATSDNS     = "nats dns"
	checkNATSTCP     = "nats tcp"
	checkNATSVersion = "nats version"
	checkNATSTLS     = "nats tls"
	checkNATSLogin   = "nats login"
	checkJetStream   = "jetstream"
	checkRights      = "permissions"
	checkTopology    = "topology"
	checkLimits      = "limits"
	checkNATSClock   = "nats clock"
	checkMXDNS       = "mx dns"
	checkMXReach     = "mx reach"
	checkMXClient    = "mx client"
	checkMXClock     = "mx clock"
	checkMXMembers   = "mx members"
)

// maxSkew is how far a clock may be off. Schedules, follow-ups and the lifetime
// of URIs are in seconds, and MX's Date has no fractions of one.
const maxSkew = 3 * time.Second

// doctor makes the checks and keeps what came of them.
type doctor struct {
	env      *program
	role     bus.Role
	now      func() time.Time
	report   func(finding) // called as each check ends
	findings []finding
}

func (d *doctor) note(check string, state checkState, fix, format string, args ...any) {
	f := finding{Check: check, State: state, Detail: veil(fmt.Sprintf(format, args...)), Fix: fix}
	d.findings = append(d.findings, f)
	d.report(f)
}

func (d *doctor) ok(check, format string, args ...any) { d.note(check, checkOK, "", format, args...) }

func (d *doctor) failed(check, fix, format string, args ...any) {
	d.note(check, checkFailed, fix, format, args...)
}

// skip notes checks that cannot be made.
func (d *doctor) skip(because string, checks ...string) {
	for _, c := range checks {
		d.note(c, checkSkipped, "", "%s", because)
	}
}

// well reports whether no check failed.
func (d *doctor) well() bool {
	for _, f := range d.findings {
		if f.State == checkFailed {
			return false
		}
	}
	return true
}

func (p *program) doctorCommand() *cobra.Command {
	var asJSON bool
	var role string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what keeps the service from working",
		Long: `doctor checks one thing after the other and says of each that is not well what to do:
the settings; NATS (name, port, TLS, login, version, JetStream, permissions, streams
and consumers, limits, clock); MX (name, connection, client id and key, version,
allow-list, limits, clock, and whether it knows the members that are known here).

Give it the environment of the service. It changes nothing: the right to publish is
tried with messages that NATS refuses to store. With the operator's credentials for
NATS give --as operator. It exits with 0 when no check failed, else with 1.`,
		Example: `  memberwatch doctor
  memberwatch doctor --as operator --json`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.doctor(c.Context(), bus.Role(role), asJSON) },
	}
	c.Flags().StringVar(&role, "as", string(bus.RoleWorker), "whose permissions to check: worker or operator")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object, when all checks are made")
	return c
}

func (p *program) doctor(ctx context.Context, role bus.Role, asJSON bool) error {
	if role != bus.RoleWorker && role != bus.RoleOperator {
		return usagef("--as: %.80q is neither worker nor operator", string(role))
	}
	d := &doctor{env: p, role: role, now: time.Now, report: p.printFinding}
	if asJSON {
		d.report = func(finding) {}
	}
	d.examine(ctx)
	if asJSON {
		raw, err := json.Marshal(struct {
			OK     bool      `json:"ok"`
			Checks []finding `json:"checks"`
		}{d.well(), d.findings})
		if err != nil {
			return fmt.Errorf("encoding findings: %w", err)
		}
		if err := p.printJSONLine(raw); err != nil {
			return err
		}
	}
	if !d.well() {
		return errIll
	}
	return nil
}

func (p *program) printFinding(f finding) {
	lines := strings.Split(printable(f.Detail, true), "\n")
	fmt.Fprintf(p.stdout, "%s %s %s\n", f.State.mark(), fit(f.Check, len(checkNATSVersion)+1), lines[0])
	for _, more := range lines[1:] {
		fmt.Fprintf(p.stdout, "    %s\n", strings.TrimSpace(more))
	}
	if f.Fix != "" {
		fmt.Fprintf(p.stdout, "    fix: %s\n", f.Fix)
	}
}

// examine makes all the checks.
func (d *doctor) examine(ctx context.Context) {
	c, err := loadConfig(ctx, d.env.env)
	if err != nil {
		_, problems, _ := strings.Cut(err.Error(), "\n")
		d.failed(checkSettings, "set what is named; memberwatch catalog --config lists all settings", "%s", problems)
	} else {
		d.ok(checkSettings, "can be read")
	}
	known := d.examineNATS(ctx, &c)
	d.examineMX(ctx, &c, known)
}
