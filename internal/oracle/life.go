package oracle

import (
	"strings"
	"time"
)

// life is what is kept of a member: its last event, and its last need to authorize.
type life struct {
	revision  uint64
	seq       uint64
	stored    time.Time
	state     state
	need      need
	deletions int // events that said so
}

// need is an event by which the need to authorize arose.
type need struct {
	revision  uint64 // 0: there was none
	seq       uint64
	stored    time.Time
	data      uint64 // hash of the event's data
	announced bool
}

// slack is how much earlier than it was an observation may seem, from rounding.
const slack = time.Millisecond

// follow holds an event against the one before and makes it the last.
func (c *checker) follow(l *life, m message, e event) {
	before := c.before(l, m, e)
	if e.first {
		c.checkFirst(m, e)
	} else {
		c.checkChange(m, e, before)
	}
	c.checkType(m, e, before)
	c.checkNeed(m, e, before)
	if c.opts.SameClock && l.revision > 0 && e.observed.Before(l.stored.Add(-slack)) {
		c.blame(I4, m, e.key(), "observed at %s, before revision %d was stored at %s",
			e.observed.Format(time.RFC3339Nano), l.revision, l.stored.UTC().Format(time.RFC3339Nano))
	}
	if e.now[fOAuthRequired] == c.vocabulary.yes && (e.first || before[fOAuthRequired] != c.vocabulary.yes) {
		c.report.Needs++
		l.need = need{revision: e.revision, seq: m.seq, stored: m.stored, data: c.hash(e.data)}
	}
	l.revision, l.seq, l.stored, l.state = e.revision, m.seq, m.stored, e.now
}

// before checks the revision and returns what the member was before e: its last
// event when there is one and nothing is missing between, else what e says itself.
func (c *checker) before(l *life, m message, e event) state {
	wrong := func(format string, args ...any) { c.blame(I3, m, e.key(), format, args...) }
	next := e.revision == l.revision+1
	switch {
	case e.revision <= l.revision:
		wrong("revision %d after revision %d (#%d)", e.revision, l.revision, l.seq)
	case !next && !c.opts.Trimmed && l.revision == 0:
		wrong("the first event has revision %d", e.revision)
	case !next && !c.opts.Trimmed:
		wrong("revision %d after revision %d (#%d): a gap", e.revision, l.revision, l.seq)
	}
	if e.first != (e.revision == 1) {
		wrong("previous is null at revision 1 and only there; this is revision %d", e.revision)
	}
	if l.revision > 0 && next || e.first {
		return l.state
	}
	was := e.now
	for id := range was {
		if e.hasPrevious.has(fieldID(id)) {
			was[id] = e.previous[id]
		}
	}
	return was
}

// checkFirst checks that changed names all that is known at first sight.
func (c *checker) checkFirst(m message, e event) {
	for id, f := range c.vocabulary.fields {
		known := e.now[id] != c.vocabulary.null && (fieldID(id) < snapshotFields || e.now[id] == c.vocabulary.yes)
		if known != e.changed.has(fieldID(id)) {
			c.blame(I3, m, e.key(), "at first sight %s is %s, and changed names it: %t", f.name, e.now[id].Value(), e.changed.has(fieldID(id)))
		}
	}
	if e.now[fDeleted] == c.vocabulary.yes {
		c.blame(I3, m, e.key(), "deleted at first sight")
	}
}

// checkChange checks that previous and changed fold one state into the next.
func (c *checker) checkChange(m message, e event, before state) {
	wrong := func(format string, args ...any) { c.blame(I3, m, e.key(), format, args...) }
	deletion := e.token == "deleted"
	for i, f := range c.vocabulary.fields {
		id := fieldID(i)
		was, is := before[id], e.now[id]
		switch named := e.changed.has(id); {
		case named != e.hasPrevious.has(id):
			wrong("%s: changed names it: %t, previous has it: %t", f.name, named, !named)
		case named && e.previous[id] != was:
			wrong("%s: previous says %s, it was %s", f.name, e.previous[id].Value(), was.Value())
		case named && was == is:
			wrong("%s: changed names it, it was %s and still is", f.name, was.Value())
		case deletion && (id == fOAuthRequired || id == fProvisional):
			// A deletion ends both, unnamed.
		case !named && was != is:
			wrong("%s: went from %s to %s, and changed does not name it", f.name, was.Value(), is.Value())
		}
		if is == c.vocabulary.null && was != c.vocabulary.null && id != fError && (f.kind != text || id == fStatus) {
			wrong("%s: went from %s to null, which means no information", f.name, was.Value())
		}
		if f.kind == instant && is != was && moment(is).Before(moment(was)) {
			wrong("%s: went back from %s to %s", f.name, was.Value(), is.Value())
		}
	}
	if deletion && e.changed != 1<<fDeleted {
		wrong("a deletion changes deleted alone, this one %s", c.names(e.changed))
	}
}

func (c *checker) names(set fields) string {
	var names []string
	for id, f := range c.vocabulary.fields {
		if set.has(fieldID(id)) {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, " ")
}

// checkType checks that there was a reason for the event, and that its type is
// the most significant one.
func (c *checker) checkType(m message, e event, before state) {
	want := c.expected(e, before)
	switch {
	case want == "":
		c.blame(I2, m, e.key(), "nothing compared differs from the event before; changed is %s", c.names(e.changed))
	case want != e.token:
		c.blame(I3, m, e.key(), "type is member.%s, the most significant change is member.%s", e.token, want)
	}
	v := &c.vocabulary
	if provisional := e.now[fIsBeingAggregated] == v.yes && e.now[fDeleted] != v.yes; provisional != (e.now[fProvisional] == v.yes) {
		c.blame(I3, m, e.key(), "provisional is %s with is_being_aggregated %s, deleted %s",
			e.now[fProvisional].Value(), e.now[fIsBeingAggregated].Value(), e.now[fDeleted].Value())
	}
}

// expected is the type token of an event, "" when nothing happened.
func (c *checker) expected(e event, before state) string {
	v := &c.vocabulary
	status := "discovered"
	if s := plain(e.now[fStatus]); s != "" && (!e.first || !c.opts.NoInitialEvents) {
		status = v.statusToken(s)
	}
	wasDeleted, isDeleted := before[fDeleted] == v.yes, e.now[fDeleted] == v.yes
	switch {
	case e.first:
		return status
	case isDeleted && !wasDeleted:
		return "deleted"
	case wasDeleted && !isDeleted, before[fStatus] != e.now[fStatus]:
		return status
	}
	if before[fError] != e.now[fError] {
		was, is := compared(before[fError]), compared(e.now[fError])
		switch {
		case was == is:
		case is.is:
			return "error_raised"
		default:
			return "error_cleared"
		}
	}
	for id, f := range v.fields {
		if f.attribute && before[id] != e.now[id] {
			return "attributes_changed"
		}
	}
	if before[fProvisional] == v.yes && e.now[fProvisional] == v.no {
		return "attributes_changed"
	}
	if c.opts.Aggregated && moment(e.now[fSuccessfullyAggregatedAt]).After(moment(before[fSuccessfullyAggregatedAt])) {
		return "aggregated"
	}
	return ""
}
