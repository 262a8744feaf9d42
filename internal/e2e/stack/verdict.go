package stack

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

// Durable consumers of the service: of commands, and of events to follow up.
const (
	worker     = "memberwatch"
	follower   = "memberwatch-follow"
	background = "memberwatch-background"
)

// secrets are the texts that must stand in no log and no event.
func secrets() map[string]string {
	return map[string]string{
		"API key":            APIKey,
		"webhook password":   HookPassword,
		"Basic header value": base64.StdEncoding.EncodeToString([]byte(ClientID + ":" + APIKey)),
	}
}

// uriHost is in every OAuth URI that the simulator gives out, and nowhere else.
const uriHost = "oauth.mxsim.example"

// CheckLogs fails the test if anything that the stack's programs wrote holds a secret.
func CheckLogs(tb testing.TB, s Stack) {
	tb.Helper()
	forbidden := secrets()
	forbidden["OAuth URI"] = uriHost
	outputs := s.Outputs()
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		for line := range strings.Lines(outputs[name]) {
			for what, secret := range forbidden {
				if strings.Contains(line, secret) {
					tb.Errorf("%s wrote the %s: %s", name, what, line)
				}
			}
		}
	}
}

// Quiet waits until the service has nothing left to do: no command, nothing in
// the slow lane, and every event followed up.
func (c *Customer) Quiet(tb testing.TB) {
	tb.Helper()
	inARow := 0
	what := ""
	defer func() {
		if tb.Failed() && what != "" {
			tb.Log("what was left: " + what)
		}
	}()
	Eventually(tb, "the service has nothing left to do", func() bool {
		if what = c.outstanding(tb.Context()); what != "" {
			inARow = 0
			return false
		}
		inARow++ // what has just left one queue may be about to enter the next
		return inARow > 2
	})
}

// outstanding says what the service still has to do, or that it cannot be told.
func (c *Customer) outstanding(ctx context.Context) string {
	for _, queue := range []struct{ stream, consumer string }{
		{c.subjects.CommandStream(), worker}, {c.subjects.BackgroundStream(), background},
	} {
		s, err := c.js.Stream(ctx, queue.stream)
		if err != nil {
			return err.Error()
		}
		waiting, err := c.waiting(ctx, s, queue.consumer)
		if err != nil {
			return err.Error()
		}
		if waiting > 0 {
			state := s.CachedInfo().State
			return fmt.Sprintf("%d of %d messages on %s, the first is #%d; %s", waiting, state.Msgs, queue.stream, state.FirstSeq, consumersOf(ctx, s))
		}
	}
	cons, err := c.js.Consumer(ctx, c.subjects.EventStream(), follower)
	if err != nil {
		return err.Error()
	}
	if i := cons.CachedInfo(); i.NumPending > 0 || i.NumAckPending > 0 {
		return fmt.Sprintf("%d events to follow up, %d in hand", i.NumPending, i.NumAckPending)
	}
	return ""
}

// waiting is how many messages of a queue are work that is left to do. Those are
// none: the next reads of members that are on their way to another state, which
// will be events of their own if MX makes anything of them; the records and ticks
// of walks over all members; and the residue. A nats-server that is killed, or
// cannot write, forgets that it has removed a message; it knows that the message
// was acknowledged, and gives it to nobody. Whether such a command was really
// done is for the oracle to see.
func (c *Customer) waiting(ctx context.Context, s jetstream.Stream, consumer string) (n uint64, err error) {
	if s.CachedInfo().State.Msgs == 0 {
		return 0, nil
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(">"))
	if err != nil {
		return 0, err //nolint:wrapcheck // It says enough to who waits.
	}
	lane := c.subjects.Prefix() + ".background."
	var handed uint64 // messages that are the consumer's to hand out
	for subject, messages := range info.State.Subjects {
		rest, slow := strings.CutPrefix(subject, lane)
		switch {
		case !slow || strings.HasPrefix(rest, "due."):
			handed += messages
		case !strings.HasPrefix(rest, "at.settle.") && !strings.HasPrefix(rest, "at.chain.") && !strings.HasPrefix(rest, "chain."):
			n += messages
		}
	}
	if handed == 0 {
		return n, nil
	}
	cons, err := s.Consumer(ctx, consumer)
	if err != nil {
		return 0, err //nolint:wrapcheck // As above.
	}
	if i := cons.CachedInfo(); i.NumPending == 0 && i.NumAckPending == 0 {
		return n, nil
	}
	return n + handed, nil
}

// Residue is how many commands that were done are still on the command stream.
func (c *Customer) Residue(tb testing.TB) uint64 {
	tb.Helper()
	s, err := c.js.Stream(tb.Context(), c.subjects.CommandStream())
	if err != nil {
		tb.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// consumersOf tells how far the consumers of a stream are.
func consumersOf(ctx context.Context, s jetstream.Stream) string {
	var b strings.Builder
	list := s.ListConsumers(ctx)
	for i := range list.Info() {
		fmt.Fprintf(&b, "%s has %d to deliver, %d in hand, delivered #%d (%d), acknowledged all to #%d; ",
			i.Name, i.NumPending, i.NumAckPending, i.Delivered.Stream, i.Delivered.Consumer, i.AckFloor.Stream)
	}
	return b.String()
}

// JudgeAsIs is what [Judge] says without a last refresh: when the service has
// nothing left to do, and each change of a member was followed by a command for
// it, then what it has said last is what MX says now. A command that was lost shows.
func JudgeAsIs(tb testing.TB, s Stack, c *Customer, validate func([]byte) error) oracle.Report {
	tb.Helper()
	c.Quiet(tb)
	return c.check(tb, s, validate, s.Sim().Truths(tb))
}

// Judge lets the oracle read all that was published and hold it against what the
// simulator answered; then it refreshes every member and has the last states held
// against what MX is now. It returns the last report.
func Judge(tb testing.TB, s Stack, c *Customer, validate func([]byte) error) oracle.Report {
	tb.Helper()
	c.Quiet(tb)
	c.check(tb, s, validate, nil)

	var commands []events.Command
	for _, r := range s.Sim().Members(tb) {
		commands = append(commands, events.Command{User: r.UserGUID, Member: r.GUID})
	}
	ids := c.RefreshAll(tb, "last", len(commands), func(i int) events.Command { return commands[i] })
	c.Results(tb, ids, len(ids))
	c.Quiet(tb)
	return c.check(tb, s, validate, s.Sim().Truths(tb))
}

func (c *Customer) check(tb testing.TB, s Stack, validate func([]byte) error, truths []Truth) oracle.Report {
	tb.Helper()
	opts := oracle.Options{
		SameClock: true, Validate: validate, Secrets: slices.Collect(maps.Values(secrets())),
		Reads: s.Sim().Reads(tb), EveryRead: true,
	}
	if truths != nil {
		opts.Truth = func(yield func(string, []byte) bool) {
			for _, t := range truths {
				member := []byte(t.Member)
				if string(member) == "null" {
					member = nil
				}
				if !yield(t.MemberGUID, member) {
					return
				}
			}
		}
	}
	var report oracle.Report
	Eventually(tb, "the oracle can read everything", func() bool { // a cluster may still be choosing leaders
		var err error
		if report, err = oracle.Check(tb.Context(), c.js, opts); err != nil {
			tb.Logf("asking the oracle: %v", err)
		}
		return err == nil
	})
	if !report.OK() {
		tb.Errorf("the oracle: %s", report)
	}
	return report
}
