package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memberwatch/memberwatch/events"
)

// errNoJSON: what is stored cannot even be printed.
var errNoJSON = errors.New("no JSON")

// eventsQuery is what the flags of the events command say.
type eventsQuery struct {
	types        []string
	user, member string
	since        string
	json         bool
	follow       bool
	oauth        bool
}

func (p *program) eventsCommand() *cobra.Command {
	var q eventsQuery
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what happened to members",
		Long: `events prints the events on the event stream, oldest first, and ends at the
present end unless told to --follow. Ctrl-C ends it then.

With --oauth it shows the announcements instead: the only place where an OAuth URI
is. Whoever sees one can act in the user's place until it is used.`,
		Example: `  memberwatch events --since 1h
  memberwatch events --type disconnected --type deleted --follow
  memberwatch events --member MBR-7c2 --json
  memberwatch events --oauth --follow`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return p.events(c.Context(), &q) },
	}
	f := c.Flags()
	f.StringArrayVar(&q.types, "type", nil, "only this type, as connected or member.connected; may be given again")
	f.StringVar(&q.user, "user", "", "only members of this user (guid; your own id when --member is given too)")
	f.StringVar(&q.member, "member", "", "only this member (guid; your own id when --user is given too)")
	f.StringVar(&q.since, "since", "", "only since a time (RFC 3339), or so long ago (1h)")
	f.BoolVar(&q.json, "json", false, "one CloudEvent a line, as stored")
	f.BoolVar(&q.follow, "follow", false, "go on as events come")
	f.BoolVar(&q.oauth, "oauth", false, "announcements with their URIs, instead of events")
	return c
}

func (p *program) events(ctx context.Context, q *eventsQuery) error {
	since, err := parseSince(q.since, time.Now())
	if err != nil {
		return err
	}
	types, err := parseTypes(q.types)
	if err != nil {
		return err
	}
	if err := q.check(); err != nil {
		return err
	}
	c, err := p.session(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if q.user != "" && q.member != "" {
		k, err := c.key(ctx, q.user, q.member)
		if err != nil {
			return err
		}
		q.user, q.member = k.User(), k.Member()
	}
	w := window{stream: c.subjects.EventStream(), filters: filters(c.subjects.Events(), types, q.user, q.member), since: since, follow: q.follow}
	if q.oauth {
		w.stream, w.filters = c.subjects.OAuthStream(), filters(c.subjects.OAuth(), nil, q.user, q.member)
	}
	out := newLines(p.stdout, p.env.Lookup)
	for m, err := range c.read(ctx, w) {
		if err != nil {
			return err
		}
		if q.json {
			if !json.Valid(m.Data()) {
				fmt.Fprintln(p.stderr, unreadable(m, errNoJSON)) // The others are as they are, here and below.
				continue
			}
			if err := p.printJSONLine(m.Data()); err != nil {
				return err
			}
			continue
		}
		e, err := events.Decode(m.Data())
		if err != nil {
			fmt.Fprintln(p.stderr, unreadable(m, err))
			continue
		}
		out.event(&e)
		if err := unwritten(p.stdout); err != nil {
			return err // With --follow nobody would learn of it.
		}
	}
	return nil
}

// check finds filters that could match nothing.
func (q *eventsQuery) check() error {
	if q.oauth && len(q.types) > 0 {
		return usagef("--oauth: announcements have one type only; leave out --type")
	}
	for _, f := range []struct {
		flag, value, other, guid string
		is                       func(string) bool
	}{
		{"--user", q.user, q.member, "USR-…", events.IsUserGUID},
		{"--member", q.member, q.user, "MBR-…", events.IsMemberGUID},
	} {
		switch {
		case f.value == "":
		case f.is(f.value) && !events.ValidToken(f.value):
			return usagef("%s: %.80q is not a guid", f.flag, f.value)
		case !f.is(f.value) && f.other == "":
			return usagef("%s: %.80q is not a guid (%s); your own ids mean something only with both --user and --member", f.flag, f.value, f.guid)
		}
	}
	return nil
}

// parseSince reads a time, or how long before now it was. Empty is zero.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usagef("--since: %.80q is neither a duration such as 1h nor a time such as 2026-03-01T12:00:00Z", s)
	}
	return t, nil
}

// parseTypes reads types with or without "member." in front. One that the
// catalog does not have is allowed: MX may add a status at any time.
func parseTypes(names []string) ([]string, error) {
	var tokens []string
	for _, n := range names {
		token := strings.TrimPrefix(n, "member.")
		if !events.ValidToken(token) {
			return nil, usagef("--type: %.80q is no event type; see memberwatch catalog", n)
		}
		if events.Type("member."+token) == events.TypeOAuthRequired {
			return nil, usagef("--type: %s is not on the event stream; use --oauth", n)
		}
		tokens = append(tokens, token)
	}
	slices.Sort(tokens)
	return slices.Compact(tokens), nil
}

// filters narrows a stream's filter, which ends in three tokens for type, user
// and member, to those given.
func filters(all string, types []string, user, member string) []string {
	tokens := strings.Split(all, ".")
	front, last := tokens[:len(tokens)-3], tokens[len(tokens)-3:]
	if len(types) == 0 {
		types = last[:1]
	}
	var out []string
	for _, t := range types {
		narrow := []string{t, last[1], last[2]}
		if user != "" {
			narrow[1] = user
		}
		if member != "" {
			narrow[2] = member
		}
		out = append(out, strings.Join(slices.Concat(front, narrow), "."))
	}
	return out
}

// printJSONLine prints one JSON value on one line.
func (p *program) printJSONLine(raw []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return fmt.Errorf("printing what is no JSON: %w", err)
	}
	b.WriteByte('\n')
	_, err := p.stdout.Write(b.Bytes())
	return err
}
