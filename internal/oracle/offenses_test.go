package oracle_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/internal/oracle"
)

// The events of the clean story, by what they are.
const (
	first = iota
	pending
	disconnected
	settled
	raised
	renamed
	cleared
	deleted
	back
	authorized
	reauthorize
)

func TestOracleReportsEachKindOfOffense(t *testing.T) {
	t.Parallel()
	js := open(t)
	for i, tc := range []struct {
		name   string
		tamper func(s *story, e []*msg)
		opts   func(o *oracle.Options)
		inv    oracle.Invariant
		want   string // in the reason of the first offense
	}{
		// form
		{"a subject with too many tokens", func(_ *story, e []*msg) { e[first].subject += ".x" }, nil, oracle.Form, "is none of this stream's"},
		{"a subject of another type", func(_ *story, e []*msg) { e[first].subject = "mx.events.member.closed.USR-1.MBR-1" }, nil, oracle.Form, `attribute type is "member.connected", want "member.closed"`},
		{"a subject of another user", func(_ *story, e []*msg) { e[first].subject = "mx.events.member.connected.USR-9.MBR-1" }, nil, oracle.Form, "member.user_guid is USR-1, the subject says USR-9"},
		{"a subject of another member", func(_ *story, e []*msg) { e[first].subject = "mx.events.member.connected.USR-1.MBR-9" }, nil, oracle.Form, "member.guid is MBR-1, the subject says MBR-9"},
		{"an announcement among the events", func(s *story, _ []*msg) {
			s.announcements[0].subject = "mx.events.member.oauth_required.USR-2.MBR-2"
		}, nil, oracle.Form, "is none of this stream's"},
		{"no content type", func(_ *story, e []*msg) { e[first].header.Del("Content-Type") }, nil, oracle.Form, "header Content-Type is []"},
		{"an attribute header", func(_ *story, e []*msg) { e[first].header.Set("ce-id", "1") }, nil, oracle.Form, "header ce-id makes some readers"},
		{"a message id on an event", func(_ *story, e []*msg) { e[first].header.Set("Nats-Msg-Id", "1") }, nil, oracle.Form, "header Nats-Msg-Id parts"},
		{"another message id on an announcement", func(s *story, _ []*msg) { s.announcements[1].header.Set("Nats-Msg-Id", "1") }, nil, oracle.Form, `header Nats-Msg-Id is ["1"], want the id`},
		{"no JSON", func(_ *story, e []*msg) { e[first].raw = []byte("hello") }, nil, oracle.Form, "event is not valid JSON"},
		{"a field twice", func(_ *story, e []*msg) { e[first].raw = []byte(`{"id":"1","id":"2"}`) }, nil, oracle.Form, "has id twice"},
		{"no data", func(_ *story, e []*msg) { e[first].raw = []byte(`{"specversion":"1.0"}`) }, nil, oracle.Form, "data is not a JSON object"},
		{"a snapshot that is no object", func(_ *story, e []*msg) {
			e[first].raw = []byte(strings.Replace(string(e[first].bytes(t)), `"member":{`, `"member":[],"x":{`, 1))
		}, nil, oracle.Form, "data has the fields"},
		{"no guid", func(_ *story, e []*msg) { e[first].field("guid", nil) }, nil, oracle.Form, "member.guid is null"},
		{"use cases that are no list", func(_ *story, e []*msg) { e[first].field("use_cases", "PFM") }, nil, oracle.Form, `member.use_cases is "PFM", not an array of texts`},
		{"an error code that is no number", func(_ *story, e []*msg) { e[raised].field("error", fault{Code: "x"}) }, nil, oracle.Form, "member.error is no error"},
		{"a previous that is no object", func(_ *story, e []*msg) { e[renamed].data["previous"] = 1 }, nil, oracle.Form, "previous is not a JSON object"},
		{"nothing changed", func(_ *story, e []*msg) { e[renamed].data["changed"] = []string{} }, nil, oracle.Form, "changed is []"},
		{"another spec", func(_ *story, e []*msg) { e[first].attrs["specversion"] = "0.3" }, nil, oracle.Form, "attribute specversion"},
		{"another source", func(_ *story, e []*msg) { e[first].attrs["source"] = "/mx/members/MBR-1" }, nil, oracle.Form, "attribute source"},
		{"another subject attribute", func(_ *story, e []*msg) { e[first].attrs["subject"] = "USR-1" }, nil, oracle.Form, "attribute subject"},
		{"another partition", func(_ *story, e []*msg) { e[first].attrs["partitionkey"] = "USR-1" }, nil, oracle.Form, "attribute partitionkey"},
		{"a short sequence", func(_ *story, e []*msg) { e[first].attrs["sequence"] = "1" }, nil, oracle.Form, "attribute sequence"},
		{"no id", func(_ *story, e []*msg) { e[first].attrs["id"] = "" }, nil, oracle.Form, "attribute id"},
		{"no schema named", func(_ *story, e []*msg) { delete(e[first].attrs, "dataschema") }, nil, oracle.Form, "attribute dataschema is missing"},
		{"another time", func(_ *story, e []*msg) { e[first].attrs["time"] = "2026-01-01T00:00:00Z" }, nil, oracle.Form, "want observed_at"},
		{"a local time", func(_ *story, e []*msg) { e[first].data["observed_at"] = "2100-01-02T03:05:05+00:00" }, nil, oracle.Form, "not a time in UTC"},
		{"an empty correlation", func(_ *story, e []*msg) { e[first].attrs["correlationid"] = "" }, nil, oracle.Form, "attribute correlationid"},
		{"an attribute of one's own", func(_ *story, e []*msg) { e[first].attrs["color"] = "red" }, nil, oracle.Form, "attribute color is not in the contract"},
		{"metadata", func(_ *story, e []*msg) { e[first].member()["metadata"] = "{}" }, nil, oracle.Form, "are not those of the contract"},
		{"credentials", func(_ *story, e []*msg) { e[first].data["credentials"] = obj{} }, nil, oracle.Form, "data has the fields member previous changed action oauth_required provisional deleted revision observed_at credentials"},
		{"a snapshot without a field", func(_ *story, e []*msg) { delete(e[first].member(), "id") }, nil, oracle.Form, "are not those of the contract"},
		{"a snapshot in another order", func(_ *story, e []*msg) { e[first].members = slices.Sorted(slices.Values(memberOrder)) }, nil, oracle.Form, "are not those of the contract in its order"},
		{"data in another order", func(_ *story, e []*msg) { e[first].order = slices.Sorted(slices.Values(dataOrder)) }, nil, oracle.Form, "data has the fields action changed"},
		{"an error of another shape", func(_ *story, e []*msg) { e[raised].member()["error"] = obj{"error_code": 1} }, nil, oracle.Form, "member.error has the fields error_code"},
		{"a flag that is no flag", func(_ *story, e []*msg) { e[first].field("is_manual", "no") }, nil, oracle.Form, `member.is_manual is "no", not true or false`},
		{"a status that is none", func(_ *story, e []*msg) { e[first].field("connection_status", "so so") }, nil, oracle.Form, `is "so so", which is no status`},
		{"an action of another actor", func(_ *story, e []*msg) { e[first].data["action"] = obj{"actor": "none", "kind": "authorize"} }, nil, oracle.Form, "action is none/authorize"},
		{"an action of another status", func(s *story, _ []*msg) {
			s.happen("MBR-3", "challenged", obj{"connection_status": "CHALLENGED"}).data["action"] = obj{"actor": "none", "kind": "none"}
		}, nil, oracle.Form, `action is none/none, with connection_status "CHALLENGED", oauth_required false, deleted false it is user/answer_challenge`},
		{"an action that passes over the need", func(_ *story, e []*msg) {
			e[reauthorize].data["action"] = obj{"actor": "support", "kind": "contact_support"}
		}, nil, oracle.Form, "it is user/authorize"},
		{"an action about a deleted member", func(_ *story, e []*msg) {
			e[deleted].data["action"] = obj{"actor": "support", "kind": "contact_support"}
		}, nil, oracle.Form, "deleted true it is none/none"},
		{"an action with more to it", func(_ *story, e []*msg) {
			e[first].data["action"] = obj{"actor": "none", "kind": "none", "by": "today"}
		}, nil, oracle.Form, "want an actor and a kind"},
		{"use cases in no order", func(_ *story, e []*msg) { e[first].field("use_cases", []string{"PFM", "MONEY_MOVEMENT"}) }, nil, oracle.Form, `member.use_cases is ["PFM","MONEY_MOVEMENT"], not sorted`},
		{"a use case twice", func(_ *story, e []*msg) { e[first].field("use_cases", []string{"PFM", "PFM"}) }, nil, oracle.Form, "or has one twice"},
		{"revision zero", func(_ *story, e []*msg) { e[first].data["revision"] = 0 }, nil, oracle.Form, "revision is 0"},
		{"changed with a foreign name", func(_ *story, e []*msg) { e[renamed].data["changed"] = []string{"error", "id", "metadata"} }, nil, oracle.Form, `changed names "metadata"`},
		{"changed with a name twice", func(_ *story, e []*msg) { e[renamed].data["changed"] = []string{"error", "id", "id"} }, nil, oracle.Form, `changed names "id"`},
		{"previous with a foreign name", func(_ *story, e []*msg) { as[obj](e[renamed].data["previous"])["metadata"] = "" }, nil, oracle.Form, `previous has "metadata"`},
		{"a URI on the event stream", func(_ *story, e []*msg) { e[pending].data["oauth_window_uri"] = "https://x" }, nil, oracle.Form, "data has the fields"},
		{"a hidden URI on the event stream", func(_ *story, e []*msg) {
			e[first].field("connection_status_message", "Go to https://bank.example/oauth/authorize?client_id=1")
		}, nil, oracle.Form, "member holds what looks like an OAuth URI"},
		{"a URI in an attribute", func(_ *story, e []*msg) { e[first].attrs["reason"] = "HTTPS://bank.example/OAuth" }, nil, oracle.Form, "attribute reason holds what looks like an OAuth URI"},
		{"a blank URI announced", func(s *story, _ []*msg) { s.announcements[1].data["oauth_window_uri"] = " " }, nil, oracle.Form, "oauth_window_uri is blank"},
		{"a secret", func(_ *story, e []*msg) { e[first].attrs["reason"] = "hunter2" }, nil, oracle.Form, "holds secret number 1"},
		{"another type prefix", func(*story, []*msg) {}, func(o *oracle.Options) { o.EventTypePrefix = "com.example" }, oracle.Form, `want "com.example.member.connected"`},
		{"a breach of the schema", func(_ *story, e []*msg) { e[first].attrs["reason"] = "unschematic" }, nil, oracle.Schema, "does not match the schema"},

		// I2
		{"an id twice", func(_ *story, e []*msg) { e[disconnected].attrs["id"] = e[first].attrs["id"] }, nil, oracle.I2, "was on the stream before"},
		{"an event of a new wording only", func(s *story, _ []*msg) {
			s.happen(plainMember, "attributes_changed", obj{"connection_status_message": "Lost again"})
		}, nil, oracle.I2, "nothing compared differs"},
		{"an event of a reworded error only", func(s *story, _ []*msg) {
			s.happen(oauthMember, "error_raised", obj{"error": fault{2004, "MEMBER", "new", nil, nil}})
		}, nil, oracle.I2, "nothing compared differs"},
		{"an event of an aggregation's begin only", func(s *story, _ []*msg) {
			s.happen(plainMember, "attributes_changed", obj{"is_being_aggregated": true, "provisional": true})
		}, nil, oracle.I2, "nothing compared differs"},
		{"an event of an aggregation that is not compared", func(s *story, _ []*msg) {
			s.happen(plainMember, "aggregated", obj{"successfully_aggregated_at": "2026-02-01T00:00:00Z"})
		}, nil, oracle.I2, "nothing compared differs"},
		{"the same event again", func(s *story, e []*msg) {
			again := *e[back]
			again.attrs = maps.Clone(again.attrs)
			again.attrs["id"] = "other"
			s.events = append(s.events, &again)
		}, nil, oracle.I3, "revision 8 after revision 8"},

		// I3
		{"a lost event", func(s *story, _ []*msg) { s.events = slices.Delete(s.events, settled, settled+1) }, nil, oracle.I3, "revision 4 after revision 2 (#3): a gap"},
		{"a lost beginning", func(s *story, _ []*msg) { s.events = s.events[1:] }, nil, oracle.I3, "the first event has revision 2"},
		{"two events swapped", func(_ *story, e []*msg) { e[disconnected], e[settled] = e[settled], e[disconnected] }, nil, oracle.I3, "revision 3 after revision 1 (#1): a gap"},
		{"a lower revision on trimmed history", func(_ *story, e []*msg) { e[disconnected], e[settled] = e[settled], e[disconnected] }, func(o *oracle.Options) { o.Trimmed = true }, oracle.I3, "revision 2 after revision 3 (#3)"},
		{"no previous later on", func(_ *story, e []*msg) { e[renamed].data["previous"] = nil }, nil, oracle.I3, "previous is null at revision 1 and only there; this is revision 5"},
		{"previous at first sight", func(_ *story, e []*msg) { e[first].data["previous"] = obj{} }, nil, oracle.I3, "previous is null at revision 1 and only there; this is revision 1"},
		{"a field not named at first sight", func(_ *story, e []*msg) { e[first].data["changed"] = as[[]string](e[first].data["changed"])[1:] }, nil, oracle.I3, "at first sight guid is"},
		{"a null field named at first sight", func(_ *story, e []*msg) {
			e[first].data["changed"] = append(as[[]string](e[first].data["changed"]), "id")
		}, nil, oracle.I3, "at first sight id is null"},
		{"a false truth named at first sight", func(_ *story, e []*msg) {
			e[first].data["changed"] = append(as[[]string](e[first].data["changed"]), "deleted")
		}, nil, oracle.I3, "at first sight deleted is false"},
		{"deleted at first sight", func(s *story, _ []*msg) { s.happen("MBR-3", "discovered", obj{"deleted": true}) }, nil, oracle.I3, "deleted at first sight"},
		{"previous that was not", func(_ *story, e []*msg) { as[obj](e[disconnected].data["previous"])["connection_status"] = "CLOSED" }, nil, oracle.I3, `connection_status: previous says "CLOSED", it was "CONNECTED"`},
		{"a changed field without previous", func(_ *story, e []*msg) { delete(as[obj](e[raised].data["previous"]), "name") }, nil, oracle.I3, "name: changed names it: true, previous has it: false"},
		{"previous of an unchanged field", func(_ *story, e []*msg) { as[obj](e[raised].data["previous"])["id"] = nil }, nil, oracle.I3, "id: changed names it: false, previous has it: true"},
		{"a change that was none", func(_ *story, e []*msg) {
			e[renamed].data["changed"] = []string{"error", "id", "name"}
			as[obj](e[renamed].data["previous"])["name"] = "Bank"
		}, nil, oracle.I3, `name: changed names it, it was "Bank" and still is`},
		{"a change that is not named", func(_ *story, e []*msg) { e[renamed].field("is_manual", true) }, nil, oracle.I3, "is_manual: went from null to true, and changed does not name it"},
		{"a value that became unknown", func(s *story, _ []*msg) {
			s.happen(plainMember, "attributes_changed", obj{"id": "x", "use_cases": nil})
		}, nil, oracle.I3, "which means no information"},
		{"a time that went back", func(s *story, _ []*msg) {
			s.happen(plainMember, "attributes_changed", obj{"id": "x", "aggregated_at": "2026-01-02T00:00:00Z"})
		}, nil, oracle.I3, "aggregated_at: went back"},
		{"a deletion that changes more", func(s *story, _ []*msg) { s.happen(plainMember, "deleted", obj{"deleted": true, "id": "x"}) }, nil, oracle.I3, "a deletion changes deleted alone, this one id deleted"},
		{"a deletion that goes on aggregating", func(_ *story, e []*msg) { e[deleted].data["provisional"] = true }, nil, oracle.I3, "provisional is true with is_being_aggregated true, deleted true"},
		{"provisional without aggregation", func(_ *story, e []*msg) { e[disconnected].field("is_being_aggregated", false) }, nil, oracle.I3, "is_being_aggregated: changed names it"},
		{"the type of a lesser change", func(s *story, _ []*msg) {
			s.happen(plainMember, "attributes_changed", obj{"id": "x", "connection_status": "CLOSED"})
		}, nil, oracle.I3, "type is member.attributes_changed, the most significant change is member.closed"},
		{"a raised error taken for cleared", func(s *story, _ []*msg) {
			s.happen(plainMember, "error_cleared", obj{"error": fault{Code: 1}})
		}, nil, oracle.I3, "the most significant change is member.error_raised"},
		{"a status that collides with a type", func(s *story, _ []*msg) { s.happen(plainMember, "aggregated", obj{"connection_status": "AGGREGATED"}) }, nil, oracle.I3, "the most significant change is member.status_aggregated"},
		{"an aggregation hiding an attribute", func(s *story, _ []*msg) {
			s.happen(plainMember, "aggregated", obj{"id": "x", "successfully_aggregated_at": "2026-02-01T00:00:00Z"})
		}, func(o *oracle.Options) { o.Aggregated = true }, oracle.I3, "the most significant change is member.attributes_changed"},
		{"a status at first sight though switched off", func(*story, []*msg) {}, func(o *oracle.Options) { o.NoInitialEvents = true }, oracle.I3, "the most significant change is member.discovered"},
		{"an unknown member that comes back as discovered", func(_ *story, e []*msg) {
			e[back].subject = "mx.events.member.discovered.USR-1.MBR-1"
			e[back].attrs["type"] = "member.discovered"
		}, nil, oracle.I3, "type is member.discovered, the most significant change is member.status_deleted"},

		// I4
		{"a stale observation", func(_ *story, e []*msg) {
			e[disconnected].data["observed_at"], e[disconnected].attrs["time"] = "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
		}, nil, oracle.I4, "observed at 2026-01-01T00:00:00Z, before revision 1 was stored"},

		// I5
		{"no announcement", func(s *story, _ []*msg) { s.announcements = s.announcements[:1] }, nil, oracle.I5, "revision 3 began a need that is not announced"},
		{"an announcement of no need", func(s *story, e []*msg) { s.announcements = append(s.announcements, s.announce(e[back], "")) }, nil, oracle.I5, "oauth_required is false"},
		{"an announcement of another revision", func(s *story, _ []*msg) {
			s.announcements[1].data["revision"], s.announcements[1].attrs["sequence"] = 9, fmt.Sprintf("%020d", 9)
		}, nil, oracle.I5, "announces revision 9, which is not on the event stream"},
		{"an announcement after the need", func(s *story, _ []*msg) {
			e := s.happen(oauthMember, "attributes_changed", obj{"id": "x"})
			s.announcements = append(s.announcements, s.announce(e, ""))
		}, nil, oracle.I5, "announces revision 4, by which no need arose"},
		{"an announcement with other data", func(s *story, _ []*msg) { s.announcements[1].field("id", "x") }, nil, oracle.I5, "with other data than that event's"},
		{"an announcement of an unknown member", func(s *story, _ []*msg) {
			s.events = slices.DeleteFunc(s.events, func(m *msg) bool { return m.attrs["subject"] == oauthMember })
		}, nil, oracle.I5, "which is not on the event stream"},
		{"a need denied", func(s *story, _ []*msg) {
			s.happen("MBR-3", "pending", obj{"connection_status": "PENDING", "is_oauth": true})
		}, nil, oracle.I5, `oauth_required is false with is_oauth true, connection_status "PENDING"`},
		{"a need without OAuth", func(s *story, _ []*msg) {
			s.happen("MBR-3", "pending", obj{"connection_status": "PENDING", "oauth_required": true})
		}, nil, oracle.I5, "oauth_required is true with is_oauth false"},
		{"a need while connected", func(s *story, _ []*msg) {
			s.happen("MBR-3", "connected", obj{"connection_status": "CONNECTED", "is_oauth": true, "oauth_required": true})
		}, nil, oracle.I5, `oauth_required is true with is_oauth true, connection_status "CONNECTED"`},
		{"a need that a URI makes while aggregating", func(s *story, _ []*msg) {
			s.happen("MBR-3", "degraded", obj{"connection_status": "DEGRADED", "is_oauth": true, "oauth_required": true, "is_being_aggregated": true, "provisional": true})
		}, nil, oracle.I5, "is_being_aggregated true, deleted false; it was false"},
		{"an announcement with the event's id", func(s *story, e []*msg) {
			s.announcements[1].attrs["id"] = e[reauthorize].attrs["id"]
			s.announcements[1].header.Del("Nats-Msg-Id")
		}, nil, oracle.I2, "is on a stream already"},
		{"a need that ends with the URI", func(s *story, _ []*msg) {
			s.announce(s.happen("MBR-3", "degraded", obj{"connection_status": "DEGRADED", "is_oauth": true, "oauth_required": true}), "")
			s.happen("MBR-3", "attributes_changed", obj{"oauth_required": false})
		}, nil, oracle.I5, "it was true"},
		{"a need that survives a deletion", func(s *story, _ []*msg) { s.happen(oauthMember, "deleted", obj{"deleted": true}) }, nil, oracle.I5, "deleted true; it was true"},

		// I0, I1, I7
		{"a member that MX no longer knows", func(*story, []*msg) {}, func(o *oracle.Options) { o.Truth = maps.All(map[string][]byte{plainMember: nil}) }, oracle.I0, "MX answers 404"},
		{"a member never published", func(*story, []*msg) {}, func(o *oracle.Options) { o.Truth = maps.All(map[string][]byte{"MBR-3": []byte(`{}`)}) }, oracle.I0, "it was never published"},
		{"a last answer never published", func(*story, []*msg) {}, func(o *oracle.Options) {
			o.Reads = slices.Values(slices.Concat(reads(clean()), []oracle.Read{{Member: plainMember, Status: 200, Body: []byte(`{"guid":"MBR-1","connection_status":"CLOSED"}`)}}))
		}, oracle.I1, `connection_status: MX's last answer says "CLOSED", the last event "DELETED"`},
		{"a status that MX never said", func(*story, []*msg) {}, func(o *oracle.Options) { o.Reads = slices.Values(reads(clean())[1:]) }, oracle.I7, "MX has never answered with status CONNECTED"},
		{"a deletion after one 404", func(*story, []*msg) {}, func(o *oracle.Options) { o.Reads = slices.Values(slices.Delete(reads(clean()), 3, 4)) }, oracle.I7, "deletion 1 of the member, and MX has confirmed a 404 0 times"},
		{"a user that MX never named", func(*story, []*msg) {}, func(o *oracle.Options) {
			o.Reads = slices.Values(reads(clean().of("USR-9")))
		}, oracle.I7, "MX has never answered with user_guid USR-1"},
		{"another user at MX", func(*story, []*msg) {}, func(o *oracle.Options) { o.Truth = maps.All(clean().of("USR-9").truth()) }, oracle.I0, `user_guid: MX says "USR-9", the last event "USR-`},
		{"a member that MX never answered for", func(*story, []*msg) {}, func(o *oracle.Options) { o.Reads = slices.Values([]oracle.Read{}) }, oracle.I7, "never answered for this member"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := clean()
			tc.tamper(s, s.events)
			prefix := fmt.Sprintf("t%d", i)
			s.publish(t, js, prefix, 0)
			opts := options(clean(), prefix)
			opts.Truth, opts.Reads = nil, nil // A tampered story is not what MX has told: the rows that need them bring them.
			if tc.opts != nil {
				tc.opts(&opts)
			}
			r := check(t, js, opts)
			if r.OK() || r.Offenses[0].Invariant != tc.inv || !strings.Contains(r.Offenses[0].Reason, tc.want) {
				t.Errorf("verdict is\n%s\nwant first %s: …%s…", r, tc.inv, tc.want)
			}
		})
	}
}
