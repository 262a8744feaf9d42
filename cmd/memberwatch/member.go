package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
)

// errNoEvents: the service has never published anything about the member.
var errNoEvents = errors.New("nothing is known of the member")

// memberView is what the member command prints as JSON.
type memberView struct {
	Last    json.RawMessage `json:"last"` // the last event, as stored: the member's state
	History []revision      `json:"history"`
}

// revision is a row of a member's history.
type revision struct {
	Revision      uint64      `json:"revision"`
	Time          time.Time   `json:"time"`
	Type          events.Type `json:"type"`
	Changed       []string    `json:"changed"`
	CorrelationID string      `json:"correlationid,omitempty"`

	first bool // there is nothing before it
}

func (p *program) memberCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "member USER MEMBER",
		Short: "Show a member's last state and history",
		Long: `member prints what the service last knew of a member, and what led there. It asks
the event stream, not MX. USER and MEMBER are MX's guids, or your own ids once the
service has seen them.`,
		Example: `  memberwatch member USR-9f1 MBR-7c2
  memberwatch member anna checking --json`,
		Args: exactly("USER", "MEMBER"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := (events.Command{User: args[0], Member: args[1]}).Validate(); err != nil {
				return usagef("%w", err)
			}
			return p.member(c.Context(), args[0], args[1], asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as one JSON object: the last event as stored, and the history")
	return c
}

func (p *program) member(ctx context.Context, user, member string, asJSON bool) error {
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	k, err := c.key(ctx, user, member)
	if err != nil {
		return err
	}
	var view memberView
	var last events.Event
	for m, err := range c.read(ctx, window{stream: c.subjects.EventStream(), filters: []string{c.subjects.EventsOf(k)}}) {
		if err != nil {
			return err
		}
		if last, err = events.Decode(m.Data()); err != nil {
			return unreadable(m, err)
		}
		view.Last = m.Data()
		view.History = append(view.History, revision{last.Data.Revision, last.Time, last.Type, last.Data.Changed, last.CorrelationID, last.Data.Previous == nil})
	}
	if view.Last == nil {
		return fmt.Errorf("%w: no event of %s; refresh it first", errNoEvents, k)
	}
	if asJSON {
		raw, err := json.Marshal(view)
		if err != nil {
			return fmt.Errorf("encoding member: %w", err)
		}
		return p.printJSONLine(raw)
	}
	p.printState(&last)
	p.printHistory(view.History)
	return nil
}

func (p *program) printState(e *events.Event) {
	d, m := &e.Data, &e.Data.Member
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("member", e.Key.Member()+ownID(m.ID))
	row("user", e.Key.User()+ownID(m.UserID))
	row("name", name(d))
	row("status", status(d))
	if m.Error != nil {
		row("error", describeError(m.Error))
	}
	row("to do", action(d))
	if d.OAuthRequired {
		row("oauth", "the user must authorize; see memberwatch events --oauth --member "+e.Key.Member())
	}
	if m.SuccessfullyAggregatedAt != nil {
		row("aggregated", m.SuccessfullyAggregatedAt.Format(time.RFC3339))
	}
	row("observed", fmt.Sprintf("%s, revision %d", d.ObservedAt.Format(time.RFC3339), d.Revision))
	_ = w.Flush() // Output for a person.
}

func ownID(id *string) string {
	if id == nil || *id == "" {
		return ""
	}
	return " (" + *id + ")"
}

func status(d *events.Data) string {
	s := "none"
	if d.Member.ConnectionStatus != nil {
		s = string(*d.Member.ConnectionStatus)
	}
	if d.Deleted {
		return "deleted; was " + s
	}
	return s
}

func describeError(e *events.Error) string {
	var parts []string
	if e.Code != nil {
		parts = append(parts, strconv.Itoa(*e.Code))
	}
	for _, s := range []*string{e.Type, e.Message} {
		if s != nil && *s != "" {
			parts = append(parts, *s)
		}
	}
	return strings.Join(parts, " ")
}

func (p *program) printHistory(history []revision) {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nREVISION\tTIME\tTYPE\tCHANGED")
	for _, r := range history {
		changed := strings.Join(r.Changed, " ")
		if r.first {
			changed = "(first sight)"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", r.Revision, r.Time.Format(time.RFC3339Nano), r.Type, changed)
	}
	_ = w.Flush() // Output for a person.
}
