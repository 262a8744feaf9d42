package oracle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// obj is a JSON object; how its fields are ordered is decided when it is written.
type obj = map[string]any

// fault is an error as the contract writes it.
type fault struct {
	Code        any `json:"error_code"`
	Type        any `json:"error_type"`
	Message     any `json:"error_message"`
	UserMessage any `json:"user_message"`
	Locale      any `json:"locale"`
}

// The orders of the contract, written down here once more.
var (
	memberOrder = strings.Fields(`guid id user_guid user_id name institution_code institution_guid connection_status
		connection_status_message error is_being_aggregated is_managed_by_user is_manual is_oauth needs_updated_credentials
		background_aggregation_is_disabled use_cases aggregated_at successfully_aggregated_at`)
	besides   = strings.Fields("oauth_required provisional deleted")
	dataOrder = strings.Fields("member previous changed action oauth_required provisional deleted revision observed_at oauth_window_uri")
)

// as is v, which a test knows to be a T.
func as[T any](v any) T {
	x, ok := v.(T)
	if !ok {
		panic(fmt.Sprintf("%v is a %T", v, v))
	}
	return x
}

// msg is a message that a test may tamper with before it is published.
type msg struct {
	subject string
	header  nats.Header
	attrs   obj
	data    obj
	order   []string // of the data
	members []string // the order of the snapshot
	raw     []byte   // instead of all that
}

func (m *msg) member() obj { return as[obj](m.data["member"]) }

// field sets a field of the snapshot or beside it.
func (m *msg) field(name string, v any) {
	if slices.Contains(besides, name) {
		m.data[name] = v
		return
	}
	m.member()[name] = v
}

// bytes writes the message as the service would.
func (m *msg) bytes(tb testing.TB) []byte {
	tb.Helper()
	if m.raw != nil {
		return m.raw
	}
	data := maps.Clone(m.data)
	data["member"] = write(tb, m.member(), m.members)
	attrs := maps.Clone(m.attrs)
	attrs["data"] = write(tb, data, m.order)
	return write(tb, attrs, []string{"specversion", "id", "source", "type"})
}

// write writes an object: the fields in order first, then any others by name.
func write(tb testing.TB, o obj, order []string) json.RawMessage {
	tb.Helper()
	names := slices.DeleteFunc(slices.Clone(order), func(name string) bool { _, ok := o[name]; return !ok })
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(order, name) {
			names = append(names, name)
		}
	}
	var b strings.Builder
	for i, name := range names {
		raw, err := json.Marshal(o[name])
		if err != nil {
			tb.Fatal(err)
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, raw)
	}
	return json.RawMessage("{" + b.String() + "}")
}

// story is what is on the two streams of an installation, and what MX says.
type story struct {
	events        []*msg
	announcements []*msg
	now           map[string]obj // by member guid: the last state, with the three besides
	revision      map[string]int
	observed      time.Time
}

func newStory() *story {
	// Later than any message is stored, as an observation is later than the event before.
	return &story{now: map[string]obj{}, revision: map[string]int{}, observed: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func user(member string) string { return strings.Replace(member, "MBR", "USR", 1) }

// happen adds the event of a change. The first of a member begins with nothing known.
func (s *story) happen(member, token string, change obj) *msg {
	was, known := s.now[member]
	is := maps.Clone(was)
	if !known {
		is = obj{"guid": member, "user_guid": user(member), "oauth_required": false, "provisional": false, "deleted": false}
		for _, name := range memberOrder {
			if _, ok := is[name]; !ok {
				is[name] = nil
			}
		}
		is["is_oauth"], is["is_being_aggregated"] = false, false
	}
	maps.Copy(is, change)
	s.now[member] = is
	s.revision[member]++
	s.observed = s.observed.Add(time.Minute)

	changed, previous := []string{}, obj{}
	for _, name := range slices.Concat(memberOrder, besides) {
		switch {
		case !known && is[name] != nil && is[name] != false, !known && is[name] == false && !slices.Contains(besides, name):
			changed = append(changed, name)
		case known && fmt.Sprint(was[name]) != fmt.Sprint(is[name]):
			changed = append(changed, name)
			previous[name] = was[name]
		}
	}
	m := message(s, member, token, is, changed)
	if known {
		m.data["previous"] = previous
	}
	m.subject = "mx.events.member." + token + "." + user(member) + "." + member
	s.events = append(s.events, m)
	return m
}

func message(s *story, member, token string, is obj, changed []string) *msg {
	revision, observed := s.revision[member], s.observed.Format(time.RFC3339Nano)
	snapshot := obj{}
	for _, name := range memberOrder {
		snapshot[name] = is[name]
	}
	return &msg{
		header: nats.Header{"Content-Type": {"application/cloudevents+json"}},
		attrs: obj{
			"specversion": "1.0", "id": fmt.Sprintf("%s-%d-%s", member, revision, token),
			"source": "/mx/users/" + user(member) + "/members/" + member, "type": "member." + token, "subject": member,
			"time": observed, "datacontenttype": "application/json", "dataschema": "https://example.com/v1/member." + token + ".json",
			"partitionkey": member, "sequence": fmt.Sprintf("%020d", revision), "correlationid": "c-1",
		},
		data: obj{
			"member": snapshot, "previous": nil, "changed": changed, "action": actionFor(is),
			"oauth_required": is["oauth_required"], "provisional": is["provisional"], "deleted": is["deleted"],
			"revision": revision, "observed_at": observed,
		},
		order: dataOrder, members: memberOrder,
	}
}

// actionFor is the action of the states that the stories come to.
func actionFor(is obj) obj {
	actor, kind := "none", "none"
	switch {
	case is["deleted"] == true:
	case is["oauth_required"] == true, is["connection_status"] == "PENDING":
		actor, kind = "user", "authorize"
	case is["connection_status"] == "DISCONNECTED":
		actor, kind = "support", "contact_support"
	case is["connection_status"] == "DEGRADED":
		kind = "wait"
	}
	return obj{"actor": actor, "kind": kind}
}

// announce adds the announcement of the need that the member's last event began.
func (s *story) announce(e *msg, uri string) *msg {
	member := as[string](e.attrs["subject"])
	a := &msg{
		subject: "mx.oauth.member.oauth_required." + user(member) + "." + member,
		header:  nats.Header{"Content-Type": {"application/cloudevents+json"}},
		attrs:   maps.Clone(e.attrs), data: maps.Clone(e.data), order: e.order, members: e.members,
	}
	a.data["member"] = maps.Clone(e.member())
	a.attrs["id"] = as[string](a.attrs["id"]) + "-announced"
	a.attrs["type"] = "member.oauth_required"
	a.header.Set("Nats-Msg-Id", as[string](a.attrs["id"]))
	if uri != "" {
		a.data["oauth_window_uri"] = uri
	}
	s.announcements = append(s.announcements, a)
	return a
}

const (
	plainMember = "MBR-1"
	oauthMember = "MBR-2"
)

// clean is a story in which every promise is kept.
func clean() *story {
	s := newStory()
	down := fault{3000, "MEMBER", "down", nil, "en"}
	reworded := down
	reworded.Message = "still down"

	s.happen(plainMember, "connected", obj{
		"connection_status": "CONNECTED", "connection_status_message": "Connected to AT&T Bank", "name": "AT&T Bank",
		"use_cases": []string{"MONEY_MOVEMENT", "PFM"}, "aggregated_at": "2026-01-01T00:00:00Z",
	})
	need := s.happen(oauthMember, "pending", obj{"connection_status": "PENDING", "is_oauth": true, "oauth_required": true})
	s.happen(plainMember, "disconnected", obj{"connection_status": "DISCONNECTED", "connection_status_message": "Lost", "is_being_aggregated": true, "provisional": true})
	s.happen(plainMember, "attributes_changed", obj{"is_being_aggregated": false, "provisional": false})
	s.happen(plainMember, "error_raised", obj{"error": down, "name": "Bank", "aggregated_at": "2026-01-02T00:00:00.5Z"})
	s.happen(plainMember, "attributes_changed", obj{"error": reworded, "id": "mine"})
	s.happen(plainMember, "error_cleared", obj{"error": nil, "is_being_aggregated": true, "provisional": true})
	s.happen(plainMember, "deleted", obj{"deleted": true}).data["provisional"] = false
	s.now[plainMember]["provisional"] = false
	s.happen(plainMember, "status_deleted", obj{"deleted": false, "connection_status": "DELETED", "is_being_aggregated": false})
	s.announce(need, "https://bank.example/oauth/authorize?client_id=1")
	s.happen(oauthMember, "connected", obj{"connection_status": "CONNECTED", "oauth_required": false})
	again := s.happen(oauthMember, "error_raised", obj{
		"error":          fault{2004, "MEMBER", nil, nil, nil},
		"oauth_required": true,
	})
	s.announce(again, "")
	return s
}

// of has MX know the members by another user; the events stay.
func (s *story) of(user string) *story {
	for _, is := range s.now {
		is["user_guid"] = user
	}
	return s
}

// truth is what MX answers when the story is over.
func (s *story) truth() map[string][]byte {
	all := map[string][]byte{}
	for member, is := range s.now {
		answer := obj{"metadata": "{", "most_recent_job_guid": 7}
		for _, name := range memberOrder {
			answer[name] = is[name]
		}
		raw, err := json.Marshal(obj{"member": answer})
		if err != nil {
			panic(err)
		}
		all[member] = raw
	}
	return all
}

// publish makes the streams and puts the story on them.
func (s *story) publish(t *testing.T, js jetstream.JetStream, prefix string, maxAge time.Duration) {
	t.Helper()
	streams := map[string]jetstream.StreamConfig{
		"_EVENTS": {Subjects: []string{prefix + ".events.>"}},
		"_OAUTH":  {Subjects: []string{prefix + ".oauth.>"}, MaxAge: maxAge, Duplicates: maxAge, MaxMsgsPerSubject: 1},
	}
	for name, cfg := range streams {
		cfg.Name = strings.ToUpper(prefix) + name
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range slices.Concat(s.events, s.announcements) {
		out := nats.NewMsg(strings.Replace(m.subject, "mx.", prefix+".", 1))
		out.Header = m.header
		out.Data = []byte(strings.ReplaceAll(string(m.bytes(t)), `"/mx/`, `"/`+prefix+`/`))
		if _, err := js.PublishMsg(t.Context(), out); err != nil {
			t.Fatal(err)
		}
	}
}
