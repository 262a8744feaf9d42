package oracle

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// answers is what MX answered of one member.
type answers struct {
	statuses map[string]bool
	users    map[string]bool // user_guids
	last     []byte          // the last member object; nil when a 404 came after it

	// 404s in a row mean one deletion, if they are two at least.
	gone   int       // since the last 200
	goneAt time.Time // the first of them; zero when not known
	pairs  int       // in all rows
	rows   int       // of two or more

	// With EveryRead.
	said    map[said]bool
	asked   []asked // by time
	undated bool    // of some the time is not known
}

// said is what an answer says of what comes and goes.
type said struct {
	gone   bool
	status string // "" for no information
	fault  sameFault
	vague  bool // the error could not be read
	window bool // a URI, or nobody knows
}

// asked is a read, and what it was answered.
type asked struct {
	at time.Time
	said
}

// takeReads keeps what the checks need of MX's answers.
func (c *checker) takeReads(reads iter.Seq[Read]) {
	c.served = map[string]*answers{}
	for r := range reads {
		a := c.served[r.Member]
		if a == nil {
			a = &answers{statuses: map[string]bool{}, users: map[string]bool{}, said: map[said]bool{}}
			c.served[r.Member] = a
		}
		switch r.Status {
		case 404:
			if a.gone++; a.gone == 1 {
				a.goneAt = r.At
			}
			a.last = nil
			c.keep(a, r.At, said{gone: true})
		case 200:
			c.takeMember(a, r)
		}
	}
	for _, a := range c.served {
		a.endOfRow()
		slices.SortStableFunc(a.asked, func(x, y asked) int { return x.at.Compare(y.at) })
	}
}

// takeMember keeps what the checks need of an answer with a member. Nonsense with
// 200 is no answer, nor is another member's.
func (c *checker) takeMember(a *answers, r Read) {
	m, err := parseObject(unwrap(r.Body))
	if guid, _ := m.str("guid"); err != nil || guid != r.Member {
		return
	}
	a.last = unwrap(r.Body)
	// A read that began before the one with the first 404 says nothing of what came after.
	if r.At.IsZero() || !r.At.Before(a.goneAt) {
		a.endOfRow()
	}
	s, _ := m.str("connection_status")
	if s != "" {
		a.statuses[s] = true
	}
	if !isStatus(s) {
		s = "" // which no event can say
	}
	if user, ok := m.str("user_guid"); ok {
		a.users[user] = true
	}
	f, ok := saidFault(m.get("error"))
	there, told := offersWindow(m)
	c.keep(a, r.At, said{status: s, fault: f, vague: !ok, window: there || !told})
}

func (c *checker) keep(a *answers, at time.Time, s said) {
	if !c.opts.EveryRead {
		return
	}
	a.said[s] = true
	a.undated = a.undated || at.IsZero()
	if c.opts.SameClock && !a.undated {
		a.asked = append(a.asked, asked{at, s})
	}
}

// endOfRow ends a row of 404s.
func (a *answers) endOfRow() {
	a.pairs += a.gone / confirmed
	if a.gone >= confirmed {
		a.rows++
	}
	a.gone = 0
}

// confirmed is how many answers of 404 make a deletion.
const confirmed = 2

// unwrap takes the member out of the envelope that MX puts around it.
func unwrap(body []byte) []byte {
	if o, err := parseObject(body); err == nil && o.get("member") != nil {
		return o.get("member")
	}
	return body
}

// checkServed checks that MX has said what an event says. before is when the
// member's event before was stored, zero for the first.
func (c *checker) checkServed(l *life, m message, e event, before time.Time) {
	wrong := func(format string, args ...any) { c.blame(I7, m, e.key(), format, args...) }
	a := c.served[e.member]
	if a == nil {
		wrong("MX has never answered for this member")
		return
	}
	if status := plain(e.now[fStatus]); status != "" && !a.statuses[status] {
		wrong("MX has never answered with status %s", status)
	}
	if len(a.users) > 0 && !a.users[e.user] {
		wrong("MX has never answered with user_guid %s", e.user)
	}
	if e.token == "deleted" {
		l.deletions++
		// In a summary the 404s of several deletions may stand in one row.
		enough := a.pairs
		if c.opts.EveryRead {
			enough = a.rows
		}
		if l.deletions > enough {
			wrong("deletion %d of the member, and MX has confirmed a 404 %d times", l.deletions, enough)
		}
	}
	if !c.opts.EveryRead {
		return
	}
	c.checkSaid(m, e, a)
	if c.opts.SameClock && !a.undated {
		c.checkAsked(m, e, a, before)
	}
}

// checkSaid checks that MX has given the error and the URI that an event rests on.
func (c *checker) checkSaid(m message, e event, a *answers) {
	if is := compared(e.now[fError]); !a.ever(func(s said) bool { return s.hasFault(is) }) {
		c.blame(I7, m, e.key(), "MX has never answered with error %s", is)
	}
	if must, _ := c.needs(e.now); must || e.now[fOAuthRequired] != c.vocabulary.yes {
		return
	}
	// The need rests on a URI: of this read, or of an earlier one with the same trouble.
	if !a.ever(func(s said) bool { return s.window && s.tells(e) }) {
		c.blame(I5, m, e.key(), "oauth_required is true with connection_status %s, error %s, and MX gave no URI with them",
			e.now[fStatus].Value(), compared(e.now[fError]))
	}
}

// checkAsked checks that the read which an event tells of began after the event
// before was stored. Which read it was no event says: any that tells the same will do.
func (c *checker) checkAsked(m message, e event, a *answers, before time.Time) {
	first, _ := slices.BinarySearchFunc(a.asked, before.Add(-slack), func(r asked, t time.Time) int { return r.at.Compare(t) })
	for _, r := range a.asked[first:] {
		if r.at.After(e.observed.Add(slack)) {
			break
		}
		if r.tells(e) {
			return
		}
	}
	c.blame(I4, m, e.key(), "MX gave no such answer to a read that began after the event before was stored at %s and before %s, when this one was observed",
		before.UTC().Format(time.RFC3339Nano), e.observed.Format(time.RFC3339Nano))
}

func (a *answers) ever(holds func(said) bool) bool {
	for s := range a.said {
		if holds(s) {
			return true
		}
	}
	return false
}

// hasFault reports whether f may be read from an answer.
func (s said) hasFault(f sameFault) bool { return !s.gone && (s.vague || s.fault == f) }

// tells reports whether e may tell of an answer. No status keeps the one before.
func (s said) tells(e event) bool {
	if s.gone || e.token == "deleted" {
		return s.gone && e.token == "deleted"
	}
	return (s.status == "" || s.status == plain(e.now[fStatus])) && s.hasFault(compared(e.now[fError]))
}

// checkLastReads holds each member's last state against MX's last answer.
func (c *checker) checkLastReads() {
	for _, guid := range slices.Sorted(maps.Keys(c.served)) {
		if a := c.served[guid]; a.last != nil && (c.opts.Member == "" || c.opts.Member == guid) {
			c.compare(I1, guid, a.last, "MX's last answer")
		}
	}
}
