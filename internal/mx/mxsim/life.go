package mxsim

import (
	"fmt"
	"net/url"
	"slices"
	"time"
)

// life is what is planned for a member. The member's lock guards it.
type life struct {
	script   []*patch
	otherJob bool // a job that is not an aggregation runs

	// An aggregation, or what follows an authorization or an answer.
	running   bool
	outcome   string    // status to end in; empty: as is, or CONNECTED when transient
	readsLeft int       // reads that still show it running; -1: any number
	settleAt  time.Time // zero: never by itself
}

// The methods below want m.mu held.

func (m *member) plan() *life {
	if m.life == nil {
		m.life = &life{readsLeft: -1}
	}
	return m.life
}

// change stores a changed copy of the member's state. What a Member points to
// is shared with older copies: f replaces, it never writes through.
func (m *member) change(f func(*Member)) {
	next := *m.cur
	f(&next)
	next.Version++
	m.cur = &next
}

func (m *member) apply(p *patch) {
	m.change(p.apply)
	if p.has("other_job") {
		m.plan().otherJob = p.otherJob
	}
	if p.has("is_being_aggregated") && m.life != nil {
		m.life.running = false
	}
	if p.has("connection_status") {
		m.stop()
	}
}

// stop ends what start began, without the effect that settle has.
func (m *member) stop() {
	if m.life == nil || !m.life.running {
		return
	}
	m.life.running = false
	m.change(func(c *Member) { c.IsBeingAggregated = new(false) })
}

// advance lets time have its effect.
func (m *member) advance(now time.Time) {
	if l := m.life; l != nil && l.running && !l.settleAt.IsZero() && !now.Before(l.settleAt) {
		m.settle(l.settleAt)
	}
}

// read is what a read does to a member: one step of its script, or one read
// less until it settles.
func (m *member) read(now time.Time) {
	m.advance(now)
	l := m.life
	switch {
	case l == nil:
	case len(l.script) > 0:
		step := l.script[0]
		l.script = l.script[1:]
		m.apply(step)
	case l.running && l.readsLeft == 0:
		m.settle(now)
	case l.running && l.readsLeft > 0:
		l.readsLeft--
	}
}

// start begins an aggregation and, when status is not empty, shows it.
func (m *member) start(cfg *live, now time.Time, status, outcome string) {
	l := m.plan()
	l.running, l.outcome, l.readsLeft, l.settleAt = true, outcome, -1, time.Time{}
	if cfg.SettleReads > 0 {
		l.readsLeft = cfg.SettleReads
	}
	if cfg.SettleAfter > 0 {
		l.settleAt = now.Add(cfg.SettleAfter)
	}
	m.change(func(c *Member) {
		c.IsBeingAggregated = new(true)
		c.AggregatedAt = second(now)
		if status != "" {
			c.setStatus(status)
			c.Error = nil
			c.NeedsUpdatedCredentials = new(false)
			c.OAuthWindowURI = nil
		}
	})
}

// settle ends what start began.
func (m *member) settle(at time.Time) {
	l := m.plan()
	l.running = false
	m.change(func(c *Member) {
		c.IsBeingAggregated = new(false)
		switch {
		case l.outcome != "":
			c.setStatus(l.outcome)
		case !m.synthetic && (c.ConnectionStatus == nil || transient(*c.ConnectionStatus)):
			c.setStatus("CONNECTED")
		}
		if c.ConnectionStatus != nil && *c.ConnectionStatus == "CONNECTED" {
			c.SuccessfullyAggregatedAt = second(at)
		}
	})
}

// newURI is different at every call. query says how it was asked for.
func (m *member) newURI(query url.Values) string {
	m.uris++
	return oauthURI(m.guid, m.uris, query)
}

func oauthURI(memberGUID string, n uint64, query url.Values) string {
	sum := syntheticGUID(memberGUID, fmt.Sprint("uri", n))
	uri := "https://oauth.mxsim.example/authorize?response_type=code&scope=openid&state=" + sum[len("MBR-"):]
	if len(query) > 0 {
		uri += "&" + query.Encode()
	}
	return uri
}

func (c *Member) setStatus(status string) {
	c.ConnectionStatus = &status
	c.ConnectionStatusMessage = messageFor(&status, c.Name)
}

// second is t as MX tells it: no more precise than a second.
func second(t time.Time) *time.Time { return new(t.UTC().Truncate(time.Second)) }

// on runs f on a member that is alive, under its lock.
func (s *Server) on(guid string, f func(m *member, now time.Time) error) error {
	m, err := s.dir.known(guid)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deleted {
		return fmt.Errorf("member %q is deleted: %w", guid, ErrNotFound)
	}
	now := s.now()
	m.advance(now)
	return f(m, now)
}

// Set changes a member.
func (s *Server) Set(guid string, p Patch) error {
	checked, err := p.compile(false)
	if err != nil {
		return err
	}
	if checked.has("id") {
		return s.setWithID(guid, checked)
	}
	return s.on(guid, func(m *member, _ time.Time) error {
		m.apply(checked)
		return nil
	})
}

func (s *Server) setWithID(guid string, p *patch) error {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.members[guid]
	if m == nil {
		return fmt.Errorf("member %q: %w", guid, ErrNotFound)
	}
	if err := m.user.claim(m, p.from.ID); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deleted {
		return fmt.Errorf("member %q is deleted: %w", guid, ErrNotFound)
	}
	m.advance(s.now())
	if old := m.cur.ID; !blank(old) && m.user.byID[*old] == m {
		delete(m.user.byID, *old)
	}
	m.user.name(m, p.from.ID)
	m.apply(p)
	return nil
}

// Script plans what the next reads of a member see: one step is applied by
// each read, before it is answered. Reads that a fault answers do not count,
// nor do lists and the status endpoint. The last step lasts. A new script
// replaces what is left of an older one.
func (s *Server) Script(guid string, steps ...Patch) error {
	script := make([]*patch, 0, len(steps))
	for i, step := range steps {
		checked, err := step.compile(false)
		if err != nil {
			return fmt.Errorf("script step %d: %w", i+1, err)
		}
		if checked.has("id") {
			return fmt.Errorf("script step %d: %w: an id cannot change by script", i+1, ErrInvalid)
		}
		script = append(script, checked)
	}
	return s.on(guid, func(m *member, _ time.Time) error {
		m.plan().script = slices.Clip(script)
		return nil
	})
}

// Authorize is the user who authorizes an OAuth member: it becomes UPDATED, or
// CREATED when it never worked, aggregates, and settles in outcome (empty:
// CONNECTED).
func (s *Server) Authorize(guid, outcome string) error {
	return s.on(guid, func(m *member, now time.Time) error {
		if !isTrue(m.cur.IsOAuth) {
			return fmt.Errorf("%w: member %s does not use OAuth", ErrInvalid, guid)
		}
		status := "CREATED"
		if m.cur.SuccessfullyAggregatedAt != nil {
			status = "UPDATED"
		}
		m.start(s.live.Load(), now, status, outcome)
		return nil
	})
}

// AnswerChallenge is the user who answers an MFA question: a CHALLENGED member
// becomes RESUMED, and settles in outcome (empty: CONNECTED).
func (s *Server) AnswerChallenge(guid, outcome string) error {
	return s.on(guid, func(m *member, now time.Time) error {
		if !m.challenged() {
			return fmt.Errorf("%w: member %s is not CHALLENGED", ErrInvalid, guid)
		}
		m.start(s.live.Load(), now, "RESUMED", outcome)
		return nil
	})
}

// Expire is the user who does not answer: a CHALLENGED member becomes EXPIRED.
func (s *Server) Expire(guid string) error {
	return s.on(guid, func(m *member, _ time.Time) error {
		if !m.challenged() {
			return fmt.Errorf("%w: member %s is not CHALLENGED", ErrInvalid, guid)
		}
		m.stop()
		m.change(func(c *Member) { c.setStatus("EXPIRED") })
		return nil
	})
}

func (m *member) challenged() bool {
	return m.cur.ConnectionStatus != nil && *m.cur.ConnectionStatus == "CHALLENGED"
}

// Settle ends at once what an authorization, an answer or an aggregation
// began.
func (s *Server) Settle(guid string) error {
	return s.on(guid, func(m *member, now time.Time) error {
		if m.life == nil || !m.life.running {
			return fmt.Errorf("%w: nothing runs for member %s", ErrInvalid, guid)
		}
		m.settle(now)
		return nil
	})
}
