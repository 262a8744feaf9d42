package events

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Nearly every event that is read has the very form that [Event.AppendTo] gave it:
// fields in their order, no white space, texts without escapes. canonical reads
// that form from front to back and knows at each byte what may come next. At the
// first byte that is anything else it gives up, and encoding/json begins anew; so
// what it takes must say the same to encoding/json. The functions here stand beside
// those that write, in envelope.go and encode.go, line for line: what is added
// there is added here, and a test tells when it was not.

// canonical reads b if it has the form that this package writes.
func canonical(b []byte) (r received[Data], ok bool) {
	if bytes.IndexByte(b, '\\') >= 0 {
		return r, false // An escape is looked for first: found at the end, it would have cost all before it twice.
	}
	c := cursor{b: b}
	c.lit(`{"specversion":"1.0","id":`)
	r.SpecVersion = "1.0"
	r.ID = c.text()
	c.lit(`,"source":`)
	r.Source = c.text()
	c.lit(`,"type":`)
	r.Type = c.text()
	c.lit(`,"subject":`)
	c.quoted()
	c.lit(`,"datacontenttype":"application/json"`)
	r.DataContentType = "application/json"
	c.lit(`,"dataschema":`)
	c.quoted()
	if c.has(`,"time":`) {
		r.Time = c.time()
	}
	c.lit(`,"data":`)
	r.Data.readFrom(&c)
	if c.has(`,"correlationid":`) {
		r.CorrelationID = c.text()
	}
	c.lit(`,"partitionkey":`)
	c.quoted()
	if c.has(`,"reason":`) {
		r.Reason = c.text()
	}
	c.lit(`,"sequence":`)
	c.quoted()
	if c.has(`,"traceparent":`) {
		r.Traceparent = c.text()
	}
	if c.has(`,"tracestate":`) {
		r.Tracestate = c.text()
	}
	c.lit(`}`)
	if c.failed || c.pos < len(b) {
		return received[Data]{}, false
	}
	return r, true
}

func (d *Data) readFrom(c *cursor) {
	c.lit(`{"member":`)
	d.Member.readFrom(c)
	c.lit(`,"previous":`)
	if !c.has(`null`) {
		d.readPrevious(c)
	}
	c.lit(`,"changed":`)
	d.Changed = c.texts()
	c.lit(`,"action":{"actor":`)
	d.Action.Actor = Actor(c.text())
	c.lit(`,"kind":`)
	d.Action.Kind = ActionKind(c.text())
	c.lit(`},"oauth_required":`)
	d.OAuthRequired = c.flag()
	c.lit(`,"provisional":`)
	d.Provisional = c.flag()
	c.lit(`,"deleted":`)
	d.Deleted = c.flag()
	c.lit(`,"revision":`)
	d.Revision = c.uint()
	c.lit(`,"observed_at":`)
	d.ObservedAt = c.time()
	if c.has(`,"oauth_window_uri":`) {
		d.OAuthWindowURI = c.text()
	}
	c.lit(`}`)
}

func (d *Data) readPrevious(c *cursor) {
	d.Previous = map[string]json.RawMessage{}
	c.lit(`{`)
	for more := !c.has(`}`); more; more = c.more(`}`) {
		name := c.text()
		c.lit(`:`)
		from := c.pos
		c.value()
		d.Previous[name] = slices.Clone(c.b[from:c.pos])
	}
}

// memberValues is what a Member's pointers point into: one allocation, not fifteen.
type memberValues struct {
	id, userID, name                                   string
	institutionCode, institutionGUID                   string
	status, message                                    string
	aggregating, managed, manual, oauth, needs, paused bool
	aggregated, succeeded                              time.Time
}

func (m *Member) readFrom(c *cursor) {
	v := new(memberValues)
	c.lit(`{"guid":`)
	m.GUID = c.text()
	c.lit(`,"id":`)
	m.ID = c.optText(&v.id)
	c.lit(`,"user_guid":`)
	m.UserGUID = c.text()
	c.lit(`,"user_id":`)
	m.UserID = c.optText(&v.userID)
	c.lit(`,"name":`)
	m.Name = c.optText(&v.name)
	c.lit(`,"institution_code":`)
	m.InstitutionCode = c.optText(&v.institutionCode)
	c.lit(`,"institution_guid":`)
	m.InstitutionGUID = c.optText(&v.institutionGUID)
	c.lit(`,"connection_status":`)
	m.ConnectionStatus = (*Status)(c.optText(&v.status))
	c.lit(`,"connection_status_message":`)
	m.ConnectionStatusMessage = c.optText(&v.message)
	c.lit(`,"error":`)
	m.Error = c.optError()
	c.lit(`,"is_being_aggregated":`)
	m.IsBeingAggregated = c.optFlag(&v.aggregating)
	c.lit(`,"is_managed_by_user":`)
	m.IsManagedByUser = c.optFlag(&v.managed)
	c.lit(`,"is_manual":`)
	m.IsManual = c.optFlag(&v.manual)
	c.lit(`,"is_oauth":`)
	m.IsOAuth = c.optFlag(&v.oauth)
	c.lit(`,"needs_updated_credentials":`)
	m.NeedsUpdatedCredentials = c.optFlag(&v.needs)
	c.lit(`,"background_aggregation_is_disabled":`)
	m.BackgroundAggregationIsDisabled = c.optFlag(&v.paused)
	c.lit(`,"use_cases":`)
	m.UseCases = c.texts()
	c.lit(`,"aggregated_at":`)
	m.AggregatedAt = c.optTime(&v.aggregated)
	c.lit(`,"successfully_aggregated_at":`)
	m.SuccessfullyAggregatedAt = c.optTime(&v.succeeded)
	c.lit(`}`)
}

func (c *cursor) optError() *Error {
	if c.has(`null`) {
		return nil
	}
	e := new(Error)
	c.lit(`{"error_code":`)
	if !c.has(`null`) {
		e.Code = new(c.int())
	}
	c.lit(`,"error_type":`)
	e.Type = c.optText(new(string))
	c.lit(`,"error_message":`)
	e.Message = c.optText(new(string))
	c.lit(`,"user_message":`)
	e.UserMessage = c.optText(new(string))
	c.lit(`,"locale":`)
	e.Locale = c.optText(new(string))
	c.lit(`}`)
	return e
}

// cursor goes through JSON without a backslash, of a form that is known beforehand.
// The first byte that does not fit sticks: from then on nothing fits and every loop
// ends, so that it is enough to look at failed once, at the end.
type cursor struct {
	b      []byte
	pos    int
	failed bool
}

func (c *cursor) fail() { c.pos, c.failed = len(c.b), true }

// has passes s if it comes next.
func (c *cursor) has(s string) bool {
	if len(c.b)-c.pos < len(s) || string(c.b[c.pos:c.pos+len(s)]) != s {
		return false
	}
	c.pos += len(s)
	return true
}

// lit passes s, which must come next.
func (c *cursor) lit(s string) {
	if !c.has(s) {
		c.fail()
	}
}

// more passes what is between two elements, or the bracket behind the last.
func (c *cursor) more(bracket string) bool {
	if c.has(bracket) {
		return false
	}
	c.lit(`,`)
	return !c.failed
}

// peek returns the next byte, 0 at the end.
func (c *cursor) peek() byte {
	if c.pos < len(c.b) {
		return c.b[c.pos]
	}
	return 0
}

// quoted passes a string and returns what is between its quotes: characters that
// stand for themselves. What is no UTF-8 would be replaced by encoding/json.
func (c *cursor) quoted() []byte {
	c.lit(`"`)
	end := bytes.IndexByte(c.b[c.pos:], '"')
	if end < 0 {
		c.fail()
		return nil
	}
	text := c.b[c.pos : c.pos+end]
	c.pos += end + 1
	var seen byte // all bits of all bytes
	for _, b := range text {
		if b < ' ' {
			c.fail()
		}
		seen |= b
	}
	if seen >= utf8.RuneSelf && !utf8.Valid(text) {
		c.fail()
	}
	return text
}

// text reads a string. Each has memory of its own, as in the general way: to cut
// them from one copy of b would be a little faster, but who kept no more than an
// event's id, as package client does, would keep all of the event.
func (c *cursor) text() string { return string(c.quoted()) }

// optText reads a string into at, or null.
func (c *cursor) optText(at *string) *string {
	if c.has(`null`) {
		return nil
	}
	*at = c.text()
	return at
}

func (c *cursor) texts() []string {
	if c.has(`null`) {
		return nil
	}
	var room [8]string // most lists are shorter
	texts := room[:0]
	c.lit(`[`)
	for more := !c.has(`]`); more; more = c.more(`]`) {
		texts = append(texts, c.text())
	}
	return append([]string{}, texts...)
}

func (c *cursor) flag() bool {
	if c.has(`true`) {
		return true
	}
	c.lit(`false`)
	return false
}

func (c *cursor) optFlag(at *bool) *bool {
	if c.has(`null`) {
		return nil
	}
	*at = c.flag()
	return at
}

// time reads what the general way takes for a time: it asks the same parser.
func (c *cursor) time() (t time.Time) {
	if t.UnmarshalText(c.quoted()) != nil {
		c.fail()
	}
	return t
}

func (c *cursor) optTime(at *time.Time) *time.Time {
	if c.has(`null`) {
		return nil
	}
	*at = c.time()
	return at
}

// number passes an integer. A point or exponent stays behind, where it does not fit.
func (c *cursor) number() []byte {
	from := c.pos
	c.has(`-`)
	if !c.has(`0`) {
		digits := c.pos
		for '0' <= c.peek() && c.peek() <= '9' {
			c.pos++
		}
		if c.pos == digits {
			c.fail()
		}
	}
	return c.b[from:c.pos]
}

func (c *cursor) uint() uint64 {
	n, err := strconv.ParseUint(string(c.number()), 10, 64)
	if err != nil {
		c.fail()
	}
	return n
}

func (c *cursor) int() int {
	n, err := strconv.Atoi(string(c.number()))
	if err != nil {
		c.fail()
	}
	return n
}

// value passes a former value, which is one that a field of Member or Data can have.
func (c *cursor) value() {
	switch c.peek() {
	case '"':
		c.quoted()
	case '[':
		c.texts()
	case '{':
		c.optError()
	case 'n':
		c.lit(`null`)
	case 't', 'f':
		c.flag()
	default:
		c.number()
	}
}
