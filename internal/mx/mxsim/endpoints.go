package mxsim

import (
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// decide makes the answer to a call, as f wants it: this is when the state of
// the member is looked at.
func (c *call) decide(f *Fault) answer {
	if f != nil {
		if a, ok := f.answer(c); ok {
			return a
		}
	}
	if a, ok := c.authorized(); !ok {
		return a
	}
	method := http.MethodGet
	if c.endpoint == endpointAggregate {
		method = http.MethodPost
	}
	switch {
	case c.endpoint == endpointUnknown:
		return c.fail(http.StatusNotFound, "no such resource")
	case c.r.Method != method:
		return c.fail(http.StatusMethodNotAllowed, "no such method here")
	case c.endpoint == endpointUsers:
		return c.listUsers()
	case c.endpoint == endpointMembers:
		return c.listMembers()
	}
	if c.member == nil { // it may have come while we waited
		c.find()
	}
	if c.member == nil {
		return c.fail(http.StatusNotFound, "no such member")
	}
	return c.onMember(f)
}

// onMember decides the answer of an endpoint that is about one member.
func (c *call) onMember(f *Fault) answer {
	m := c.member
	m.mu.Lock()
	m.answers++
	a := answer{status: http.StatusOK, view: viewFull, form: form{nasty: c.cfg.Nasty, variant: m.variant(c.cfg.Seed)}}
	refusal := ""
	now := c.s.now()
	switch {
	case m.deleted:
		a.status, refusal = http.StatusNotFound, "no such member"
	case c.endpoint == endpointRead:
		m.read(now)
	case c.endpoint == endpointStatus:
		m.advance(now)
		a.view = viewStatus
	case c.endpoint == endpointOAuth:
		m.advance(now)
		a.view = viewURI
		a.status, refusal = c.newURI()
	case c.endpoint == endpointAggregate:
		m.advance(now)
		a.status, refusal = c.aggregate(now)
	}
	cur := m.cur
	if a.view == viewURI && refusal == "" {
		cur = new(*cur)
		cur.OAuthWindowURI = new(m.newURI(c.r.URL.Query()))
		if !blank(m.cur.OAuthWindowURI) { // what a read shows is the newest
			m.change(func(next *Member) { next.OAuthWindowURI = cur.OAuthWindowURI })
		}
	}
	m.mu.Unlock()

	if refusal != "" {
		return c.fail(a.status, refusal)
	}
	if f != nil && f.Kind == FaultWrongGUID {
		cur = new(*cur)
		cur.GUID = f.GUID
		if cur.GUID == "" {
			cur.GUID = syntheticGUID(m.guid, "somebody else")
		}
	}
	a.cur = cur
	a.contentType = jsonType
	a.pooled = buffers.Get().(*[]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	b := append((*a.pooled)[:0], `{"member":`...)
	b = appendMember(b, cur, a.view, a.form)
	a.body = append(b, '}')
	*a.pooled = a.body
	return a
}

// variant wants m.mu held.
func (m *member) variant(seed uint64) uint64 { return mix(seed ^ m.seq<<32 ^ m.answers) }

// newURI says why the member gets no URI, or nothing. It wants the member's
// lock held.
func (c *call) newURI() (status int, refusal string) {
	query := c.r.URL.Query()
	source := query.Get("referral_source")
	switch {
	case !isTrue(c.member.cur.IsOAuth):
		return http.StatusBadRequest, "the institution does not use OAuth"
	case source != "" && source != "BROWSER" && source != "APP":
		return http.StatusBadRequest, "referral_source is neither BROWSER nor APP"
	case query.Has("client_redirect_url") && source != "APP":
		return http.StatusBadRequest, "client_redirect_url needs referral_source APP"
	}
	return http.StatusOK, ""
}

// aggregate starts a job unless one runs or it is too soon, which MX answers
// alike. It wants the member's lock held.
func (c *call) aggregate(now time.Time) (status int, refusal string) {
	m := c.member
	running := isTrue(m.cur.IsBeingAggregated) || m.life != nil && m.life.running
	tooSoon := m.cur.AggregatedAt != nil && now.Before(m.cur.AggregatedAt.Add(c.cfg.AggregateInterval))
	switch {
	case !running && m.life != nil && m.life.otherJob:
		return http.StatusConflict, "another job is running"
	case !running && !tooSoon:
		m.start(c.cfg, now, "", "")
	}
	return http.StatusAccepted, ""
}

// page is one page of a list, as MX understands the query.
type page struct {
	number, size, total int
}

// pageOf reads the query: from page 1, of 25 unless 10 to 1000 are asked for.
// Anything else silently becomes 25, more than 1000 too.
func pageOf(query url.Values, total int) page {
	p := page{number: 1, size: 25, total: total}
	if n, err := strconv.Atoi(query.Get("page")); err == nil && n > 1 {
		p.number = n
	}
	if n, err := strconv.Atoi(query.Get("records_per_page")); err == nil && n >= 10 && n <= 1000 {
		p.size = n
	}
	return p
}

func (p page) pages() int { return max(1, (p.total+p.size-1)/p.size) }

func (p page) bounds() (from, to int) {
	if p.number > p.pages() {
		return p.total, p.total
	}
	from = min(p.total, (p.number-1)*p.size)
	return from, min(p.total, from+p.size)
}

func (p page) append(b []byte) []byte {
	b = append(b, `"pagination":{"current_page":`...)
	b = strconv.AppendInt(b, int64(p.number), 10)
	b = append(b, `,"per_page":`...)
	b = strconv.AppendInt(b, int64(p.size), 10)
	b = append(b, `,"total_entries":`...)
	b = strconv.AppendInt(b, int64(p.total), 10)
	b = append(b, `,"total_pages":`...)
	b = strconv.AppendInt(b, int64(p.pages()), 10)
	return append(b, '}')
}

func (c *call) listMembers() answer {
	d := &c.s.dir
	d.mu.RLock()
	if c.user == nil || c.user.deleted {
		d.mu.RUnlock()
		return c.fail(http.StatusNotFound, "no such user")
	}
	p := pageOf(c.r.URL.Query(), len(c.user.members))
	from, to := p.bounds()
	shown := append([]*member(nil), c.user.members[from:to]...)
	d.mu.RUnlock()

	now := c.s.now()
	b := []byte(`{"members":[`)
	for i, m := range shown {
		if i > 0 {
			b = append(b, ',')
		}
		m.mu.Lock()
		m.advance(now)
		m.answers++
		cur, variant := m.cur, m.variant(c.cfg.Seed)
		m.mu.Unlock()
		b = appendMember(b, cur, viewFull, form{nasty: c.cfg.Nasty, variant: variant})
	}
	b = p.append(append(b, ']', ','))
	return answer{status: http.StatusOK, contentType: jsonType, body: append(b, '}')}
}

func (c *call) listUsers() answer {
	query := c.r.URL.Query()
	d := &c.s.dir
	d.mu.RLock()
	defer d.mu.RUnlock()
	users := d.users
	if query.Has("id") || query.Has("email") || query.Has("is_disabled") {
		users = nil
		for _, u := range d.users {
			if u.matches(query) {
				users = append(users, u)
			}
		}
	}
	p := pageOf(query, len(users))
	from, to := p.bounds()
	b := []byte(`{"users":[`)
	for i, u := range users[from:to] {
		if i > 0 {
			b = append(b, ',')
		}
		o := object{b: append(b, '{')}
		o.text("email", u.Email)
		o.text("guid", &u.GUID)
		o.text("id", u.ID)
		o.flag("is_disabled", &u.IsDisabled)
		o.text("metadata", u.Metadata)
		b = append(o.b, '}')
	}
	b = p.append(append(b, ']', ','))
	return answer{status: http.StatusOK, contentType: jsonType, body: append(b, '}')}
}

func (u *user) matches(query url.Values) bool {
	same := func(name string, value *string) bool {
		return !query.Has(name) || value != nil && *value == query.Get(name)
	}
	return same("id", u.ID) && same("email", u.Email) &&
		(!query.Has("is_disabled") || strconv.FormatBool(u.IsDisabled) == query.Get("is_disabled"))
}
