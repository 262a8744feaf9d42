package oracle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// event is what one message says. It lives as long as the message is looked at.
type event struct {
	token        string // its type without the prefixes
	user, member string
	id           string
	revision     uint64
	observed     time.Time
	now          state
	first        bool // previous is null
	previous     state
	hasPrevious  fields
	changed      fields
	uri          string // announcements only
	data         object
}

func (e event) key() string { return e.user + "/" + e.member }

// fields is a set of fields.
type fields uint32

func (f fields) has(id fieldID) bool { return f&(1<<id) != 0 }
func (f *fields) add(id fieldID)     { *f |= 1 << id }

// looksLikeWindow finds what may be the address of an OAuth window.
var looksLikeWindow = regexp.MustCompile(`(?i)https?:\\?/\\?/[^"]*(oauth|authorize|client_id|response_type)`)

// read takes a message apart and reports everything about its form. ok is false
// when too little could be read to follow the member's life.
func (c *checker) read(m message, announcement bool) (e event, ok bool) {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }

	if !c.readSubject(&e, m.subject, announcement) {
		wrong("subject %s is none of this stream's", m.subject)
		return e, false
	}
	c.checkHeader(m, e)
	attrs, err := parseObject(m.data)
	if err != nil {
		wrong("event %v", err)
		return e, false
	}
	if c.opts.Validate != nil {
		if err := c.opts.Validate(m.data); err != nil {
			c.blame(Schema, m, e.key(), "%v", err)
		}
	}
	if e.data, err = split(attrs.get("data")); err != nil {
		wrong("data %v", err)
		return e, false
	}
	readable := c.readData(&e, m, announcement)
	c.checkAttributes(&e, m, attrs)
	c.checkSecrets(m, e, attrs)
	return e, readable
}

// readSubject takes the type and the guids from a subject.
func (c *checker) readSubject(e *event, subject string, announcement bool) bool {
	kind := "events"
	if announcement {
		kind = "oauth"
	}
	rest, ok := strings.CutPrefix(subject, c.opts.Prefix+"."+kind+".member.")
	t := strings.Split(rest, ".")
	if !ok || len(t) != 3 || !isToken(t[1]) || !isToken(t[2]) || (t[0] == "oauth_required") != announcement {
		return false
	}
	e.token, e.user, e.member = t[0], t[1], t[2]
	return true
}

func (c *checker) checkHeader(m message, e event) {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }
	const want = "application/cloudevents+json"
	if got := m.header["Content-Type"]; !slices.Equal(got, []string{want}) {
		wrong("header Content-Type is %q, want %s", got, want)
	}
	for name := range m.header {
		switch lower := strings.ToLower(name); {
		case lower == "nats-msg-id" && m.stream == c.events:
			wrong("header %s parts the compare-and-swap from its answer", name)
		case strings.HasPrefix(lower, "ce-"):
			wrong("header %s makes some readers take the event for binary", name)
		}
	}
}

// checkAttributes holds the CloudEvents attributes against subject and data.
func (c *checker) checkAttributes(e *event, m message, attrs object) {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }
	for _, want := range []struct{ name, value string }{
		{"specversion", "1.0"},
		{"type", c.opts.EventTypePrefix + "member." + e.token},
		{"source", "/" + c.opts.Prefix + "/users/" + e.user + "/members/" + e.member},
		{"subject", e.member},
		{"datacontenttype", "application/json"},
		{"partitionkey", e.member},
		{"sequence", fmt.Sprintf("%020d", e.revision)},
	} {
		if got, ok := attrs.str(want.name); !ok || got != want.value {
			wrong("attribute %s is %s, want %q", want.name, shown(attrs.get(want.name)), want.value)
		}
	}
	e.id, _ = attrs.str("id")
	if e.id == "" {
		wrong("attribute id is %s, want a text", shown(attrs.get("id")))
	}
	if t, err := utc(attrs.get("time")); err != nil || !t.Equal(e.observed) {
		wrong("attribute time is %s, want observed_at, %s", shown(attrs.get("time")), e.observed.Format(time.RFC3339Nano))
	}
	schema, _ := attrs.str("dataschema")
	if u, err := url.Parse(schema); err != nil || !u.IsAbs() {
		wrong("attribute dataschema is %s, want an absolute URI", shown(attrs.get("dataschema")))
	}
	for _, name := range attrs.names {
		switch name {
		case "specversion", "type", "source", "subject", "datacontenttype", "partitionkey", "sequence", "id", "time", "dataschema", "data":
		case "correlationid", "reason", "traceparent", "tracestate":
			if s, ok := attrs.str(name); !ok || s == "" || name == "correlationid" && !isToken(s) {
				wrong("attribute %s is %s", name, shown(attrs.get(name)))
			}
		default:
			wrong("attribute %s is not in the contract", name)
		}
	}
}

// readData reads the data into e. It returns false when the state or the
// revision could not be read.
func (c *checker) readData(e *event, m message, announcement bool) bool {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }
	names := e.data.names
	if announcement && len(names) > 0 && names[len(names)-1] == "oauth_window_uri" {
		names = names[:len(names)-1]
		var ok bool
		if e.uri, ok = e.data.str("oauth_window_uri"); !ok || strings.TrimSpace(e.uri) == "" {
			wrong("oauth_window_uri is blank: want it absent, or a URI")
		}
	}
	if !slices.Equal(names, c.vocabulary.data) {
		wrong("data has the fields %s, want %s", strings.Join(names, " "), strings.Join(c.vocabulary.data, " "))
		return false
	}
	member, err := split(e.data.get("member"))
	if err != nil {
		wrong("member %v", err)
		return false
	}
	if !c.vocabulary.snapshotOrder(member.names) {
		wrong("member has the fields %s, which are not those of the contract in its order", strings.Join(member.names, " "))
		return false
	}
	for id, f := range c.vocabulary.fields {
		from, where := member, "member."
		if fieldID(id) >= snapshotFields {
			from, where = e.data, ""
		}
		if e.now[id], err = c.vocabulary.canonical(f.kind, from.get(f.name)); err != nil {
			wrong("%s%s %v", where, f.name, err)
		}
	}
	if got := plain(e.now[fGUID]); got != e.member {
		wrong("member.guid is %s, the subject says %s", got, e.member)
	}
	if got := plain(e.now[fUserGUID]); got != e.user {
		wrong("member.user_guid is %s, the subject says %s", got, e.user)
	}
	if s := plain(e.now[fStatus]); s != "" && !isStatus(s) {
		wrong("member.connection_status is %q, which is no status", s)
	}
	c.readChange(e, m)
	if e.revision, err = strconv.ParseUint(string(e.data.get("revision")), 10, 64); err != nil || e.revision == 0 {
		wrong("revision is %s, want 1 or more", e.data.get("revision"))
	}
	if e.observed, err = utc(e.data.get("observed_at")); err != nil {
		wrong("observed_at %v", err)
	}
	c.checkAction(e, m)
	return e.revision > 0
}

// readChange reads changed and previous.
func (c *checker) readChange(e *event, m message) {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }
	var changed []string
	if err := json.Unmarshal(e.data.get("changed"), &changed); err != nil || len(changed) == 0 {
		wrong("changed is %s, want the names of what changed", e.data.get("changed"))
	}
	for _, name := range changed {
		id, known := c.vocabulary.index[name]
		if !known || e.changed.has(id) {
			wrong("changed names %q, which is no field, or twice", name)
			continue
		}
		e.changed.add(id)
	}
	raw := e.data.get("previous")
	if e.first = string(raw) == "null"; e.first {
		return
	}
	previous, err := split(raw)
	if err != nil {
		wrong("previous %v", err)
		return
	}
	for i, name := range previous.names {
		id, known := c.vocabulary.index[name]
		if !known {
			wrong("previous has %q, which is no field", name)
			continue
		}
		e.hasPrevious.add(id)
		if e.previous[id], err = c.vocabulary.canonical(c.vocabulary.fields[id].kind, previous.values[i]); err != nil {
			wrong("previous.%s %v", name, err)
		}
	}
}

// checkAction holds the action against the state it follows from.
func (c *checker) checkAction(e *event, m message) {
	wrong := func(format string, args ...any) { c.blame(Form, m, e.key(), format, args...) }
	action, err := split(e.data.get("action"))
	actor, _ := action.str("actor")
	kind, _ := action.str("kind")
	if err != nil || !slices.Equal(action.names, []string{"actor", "kind"}) {
		wrong("action is %s, want an actor and a kind", shown(e.data.get("action")))
		return
	}
	if want := c.action(e.now); actor+"/"+kind != want {
		wrong("action is %s/%s, with connection_status %s, oauth_required %s, deleted %s it is %s", actor, kind,
			e.now[fStatus].Value(), e.now[fOAuthRequired].Value(), e.now[fDeleted].Value(), want)
	}
}

// action is who has to do what next about a member in state s, as actor/kind. Of a
// status that MX added later nothing is known, and so nothing is asked.
func (c *checker) action(s state) string {
	v := &c.vocabulary
	switch {
	case s[fDeleted] == v.yes:
		return actionNone
	case s[fOAuthRequired] == v.yes:
		return actionAuthorize
	}
	if want, known := v.actions[plain(s[fStatus])]; known {
		return want
	}
	return actionNone
}

// checkSecrets looks for what must be nowhere.
func (c *checker) checkSecrets(m message, e event, attrs object) {
	for i, secret := range c.opts.Secrets {
		if bytes.Contains(m.data, []byte(secret)) {
			c.blame(Form, m, e.key(), "holds secret number %d", i+1)
		}
	}
	look := func(where string, raw []byte) {
		if bytes.Contains(raw, []byte(":")) && looksLikeWindow.Match(raw) {
			c.blame(Form, m, e.key(), "%s holds what looks like an OAuth URI", where)
		}
	}
	for i, name := range attrs.names {
		if name != "data" && name != "dataschema" {
			look("attribute "+name, attrs.values[i])
		}
	}
	for i, name := range e.data.names {
		if name != "oauth_window_uri" && bytes.Contains(e.data.values[i], []byte("//")) {
			look(name, e.data.values[i])
		}
	}
}
