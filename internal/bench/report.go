//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/memberwatch/memberwatch/internal/oracle"
)

// report collects what the rounds measured.
type report struct {
	Machine machine  `json:"machine"`
	Rows    []*row   `json:"rows"`
	Scale   []sizing `json:"scale,omitempty"` // with -scale
	Notes   []string `json:"notes,omitempty"` // faults of the loop
	Oracle  verdict  `json:"oracle"`
}

// machine is what the numbers depend on and may be told.
type machine struct {
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
}

// verdict sums up what the oracle read.
type verdict struct {
	Checks  int `json:"checks"`
	Events  int `json:"events"`
	Members int `json:"members"`
}

// row is one measured quantity.
type row struct {
	Scenario    string    `json:"scenario"`
	Name        string    `json:"name"`
	Unit        string    `json:"unit,omitempty"`
	Memberwatch []float64 `json:"memberwatch"` // one value for each round
	Loop        []float64 `json:"loop"`
	Ratio       *float64  `json:"ratio,omitempty"` // median of the rounds' ratios, memberwatch : loop
	Target      *target   `json:"target,omitempty"`
	Met         *bool     `json:"met,omitempty"`
}

// target is what a row should come to.
type target struct {
	OfRatio bool    `json:"of_ratio"` // else of memberwatch's own value
	AtLeast bool    `json:"at_least"` // else at most
	Limit   float64 `json:"limit"`
	Aim     float64 `json:"aim"`
}

// targets are the contract's, by scenario and name.
func targets(scenario, name string) *target {
	switch scenario + ": " + name {
	case "A: throughput", "A cold: throughput":
		return &target{OfRatio: true, AtLeast: true, Limit: 1, Aim: 1.2}
	case "A: the same with follow-up reads", "A cold: the same with follow-up reads":
		return &target{OfRatio: true, Limit: 1.1, Aim: 0.9}
	case "A: peak memory (VmHWM)", "A cold: peak memory (VmHWM)":
		return &target{Limit: 30, Aim: 30}
	case "A: tracing while it is off, of worker CPU":
		return &target{Limit: 2, Aim: 2}
	case "B: share of what 256 in flight allow":
		return &target{AtLeast: true, Limit: 82, Aim: 86}
	case "B: added to MX's time, p99":
		return &target{Limit: 5, Aim: 2}
	case "C: reads per command":
		return &target{Limit: 0.5, Aim: 0.5}
	case "C: events out of turn", "C: events that repeat the last one", "C: members whose last event is wrong":
		return &target{}
	case "E: beside : alone, p50":
		return &target{Limit: 3, Aim: 3}
	case "D: messages written per change":
		return &target{Limit: 1, Aim: 1}
	}
	return nil
}

func newReport() *report {
	return &report{Machine: machine{runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH}}
}

// add notes a value that a round measured.
func (r *report) add(scenario, name, unit string, c *contender, value float64) {
	i := slices.IndexFunc(r.Rows, func(o *row) bool { return o.Scenario == scenario && o.Name == name })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, &row{Scenario: scenario, Name: name, Unit: unit, Target: targets(scenario, name)})
	}
	if c.isProduct() {
		r.Rows[i].Memberwatch = append(r.Rows[i].Memberwatch, value)
	} else {
		r.Rows[i].Loop = append(r.Rows[i].Loop, value)
	}
}

func (r *report) note(what string) { r.Notes = append(r.Notes, what) }

func (r *report) judged(o oracle.Report) {
	r.Oracle.Checks++
	r.Oracle.Events += o.Events
	r.Oracle.Members += o.Members
}

// conclude computes ratios and holds them against the targets.
func (r *report) conclude() {
	for _, o := range r.Rows {
		var ratios []float64
		for i := range min(len(o.Memberwatch), len(o.Loop)) {
			if o.Loop[i] > 0 {
				ratios = append(ratios, o.Memberwatch[i]/o.Loop[i])
			}
		}
		if len(ratios) > 0 {
			o.Ratio = new(median(ratios))
		}
		t := o.Target
		if t == nil || len(o.Memberwatch) == 0 || t.OfRatio && o.Ratio == nil {
			continue
		}
		value := median(o.Memberwatch)
		if t.OfRatio {
			value = *o.Ratio
		}
		o.Met = new(value <= t.Limit)
		if t.AtLeast {
			o.Met = new(value >= t.Limit)
		}
	}
	slices.SortStableFunc(r.Rows, func(a, b *row) int { return strings.Compare(a.Scenario, b.Scenario) })
}

// median of values; the mean of the middle two if their number is even.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return math.NaN()
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// titles say what each scenario is, for b's sizes.
func (s *size) titles() map[string]string {
	return map[string]string{
		"A": fmt.Sprintf("%s commands over as many members, half of them changed, %d in flight, MX at once; members known to the process",
			count(s.members), s.inFlight),
		"A cold":  "the same with a worker that was just restarted",
		"B":       fmt.Sprintf("MX takes %s, %d in flight", slowMX, wideInFlight),
		"B paced": fmt.Sprintf("what the steady stream of %d/s costs, where every hand-over is a wake-up", pacedRate),
		"C": fmt.Sprintf("%s commands on %d members at %s/s, %d in flight, MX takes %s, each member changes every %s until the last eighth",
			count(s.hotCommands), hotMembers, count(hotRate), s.inFlight, hotMX, hotChange),
		"E": fmt.Sprintf("a sweep finds %s members new, MX at once, %d in flight; then MX takes %s, and one finds half of them changed",
			count(s.walkMembers), s.inFlight, slowMX),
		"D": "messages written to all streams and buckets but the queue, in A",
	}
}

// write prints the report for people.
func (r *report) write(out io.Writer, titles map[string]string) {
	m := r.Machine
	fmt.Fprintf(out, "%d cores, %s, %s/%s; medians of the rounds; the loop is a worker without guards and without follow-up reads\n",
		m.Cores, m.Go, m.OS, m.Arch)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	scenario := ""
	for _, o := range r.Rows {
		if o.Scenario != scenario {
			_ = t.Flush()
			scenario = o.Scenario
			fmt.Fprintf(out, "\n%s: %s\n", scenario, titles[scenario])
			fmt.Fprintln(t, "\tmemberwatch\tloop\tratio\ttarget\taim\t\t")
		}
		name := o.Name
		if o.Unit != "" {
			name += ", " + o.Unit
		}
		fmt.Fprintf(t, "%-40s\t%s\t%s\t%s\t%s\n", name, number(o.Memberwatch), number(o.Loop), o.ratio(), o.goal())
	}
	_ = t.Flush()
	fmt.Fprintln(out)
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	if r.Oracle.Checks > 0 {
		fmt.Fprintf(out, "oracle: every promise kept in %s events of %d runs\n", count(r.Oracle.Events), r.Oracle.Checks)
	}
}

func (o *row) ratio() string {
	if o.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%.2f×", *o.Ratio)
}

// goal is the last columns: target, aim, and whether the target is met.
func (o *row) goal() string {
	t := o.Target
	if t == nil {
		return "\t\t\t"
	}
	sign, unit := "≤ ", ""
	if t.AtLeast {
		sign = "≥ "
	}
	if t.OfRatio {
		unit = "×"
	}
	word := ""
	if o.Met != nil {
		word = map[bool]string{true: "met", false: "missed"}[*o.Met]
	}
	aim := ""
	if t.Aim != t.Limit {
		aim = trim(t.Aim) + unit
	}
	return sign + trim(t.Limit) + unit + "\t" + aim + "\t" + word + "\t"
}

func number(values []float64) string {
	switch v := median(values); {
	case math.IsNaN(v):
		return ""
	case v >= 1000:
		return count(int(math.Round(v)))
	case v == math.Trunc(v):
		return trim(v)
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
}

func trim(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// count writes n with a comma for each thousand.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// encode writes the report for programs.
func (r *report) encode() ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding report: %w", err)
	}
	return append(text, '\n'), nil
}
