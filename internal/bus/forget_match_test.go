package bus

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestTracesAreFoundInEveryFormOfACommand(t *testing.T) {
	t.Parallel()
	one := Person{User: "USR-1", Member: "MBR-1", UserIDs: []string{"anna"}, MemberIDs: []string{"checking"}}
	all := Person{User: "USR-1", UserIDs: []string{"anna"}}
	for name, tc := range map[string]struct {
		subject      string
		header       nats.Header
		body         string
		ofOne, ofAll bool
	}{
		"subject, guids":           {"mx.commands.member.refresh.USR-1.MBR-1", nil, "", true, true},
		"subject, ids":             {"mx.commands.member.refresh.anna.checking", nil, "", true, true},
		"subject, another member":  {"mx.commands.member.refresh.USR-1.MBR-12", nil, "", false, true},
		"subject, another user":    {"mx.commands.member.refresh.USR-11.MBR-2", nil, "", false, false},
		"body, ids":                {"mx.commands.member.refresh", nil, `{"user":"anna","member":"checking"}`, true, true},
		"body, mixed":              {"mx.commands.member.refresh", nil, `{"user":"anna","member":"MBR-1"}`, true, true},
		"body, another's same id":  {"mx.commands.member.refresh", nil, `{"user":"bert","member":"checking"}`, false, false},
		"body, another member":     {"mx.commands.member.refresh", nil, `{"user":"anna","member":"savings"}`, false, true},
		"body that is not valid":   {"mx.commands.member.refresh", nil, `{"user":"anna","member":"checking","aggregate":"yes"}`, true, true},
		"body that is broken":      {"mx.commands.member.refresh", nil, `{"user":"USR-1","member":"MBR-1"`, true, true},
		"CloudEvent":               {"mx.commands.member.refresh", nil, `{"specversion":"1.0","id":"1","source":"/","type":"member.refresh","data":{"user":"anna","member":"checking"}}`, true, true},
		"CloudEvent, encoded":      {"mx.commands.member.refresh", nil, `{"specversion":"1.0","id":"1","source":"/","type":"member.refresh","data_base64":"eyJ1c2VyIjoiYW5uYSIsIm1lbWJlciI6ImNoZWNraW5nIn0="}`, true, true},
		"header":                   {"mx.commands.other", nats.Header{"Ce-Subject": {"about MBR-1."}}, "", true, false},
		"elsewhere":                {"mx.commands.other.MBR-1", nil, "", true, false},
		"event":                    {"mx.events.member.connected.USR-1.MBR-1", nil, "", true, true},
		"part of something longer": {"mx.commands.member.refresh", nil, `{"user":"XUSR-1","member":"MBR-1_2"}`, false, false},
		"nothing":                  {"mx.commands.member.refresh", nil, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := subjects(t)
			if got := newMatcher(s, one).inMessage(tc.subject, tc.header, []byte(tc.body)); got != tc.ofOne {
				t.Errorf("of the member: %t, want %t", got, tc.ofOne)
			}
			if got := newMatcher(s, all).inMessage(tc.subject, tc.header, []byte(tc.body)); got != tc.ofAll {
				t.Errorf("of the user: %t, want %t", got, tc.ofAll)
			}
		})
	}
}
