package nats_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What must not be read by those who may not.
const (
	eventBody    = "an-event"
	announceBody = "an-oauth-uri"
	letterBody   = "a-dead-letter"
	commandBody  = "a-command"
	stolenMember = "MBR-9"
)

// streams of the installation, and the durables on each.
var streams = map[string][]string{
	"MX_COMMANDS": {"memberwatch"}, "MX_BACKGROUND": {"memberwatch-background"}, "MX_EVENTS": {"memberwatch-follow", "subscriber"},
	"MX_OAUTH": {"oauth"}, "MX_DEADLETTERS": nil, "KV_MX_IDS": nil,
}

// furnish makes an installation with something to steal in each stream. No
// worker runs, so nothing moves by itself.
func furnish(t *testing.T, s *server.Server) (operator *user) {
	t.Helper()
	operator = connect(t, s, "operator")
	prepare(t, operator, settings(simulate(t), "NATS_URL="+serverURL(s, "operator")))
	worker := dial(t, s, nats.UserInfo("worker", passwords["worker"]), nats.CustomInboxPrefix("_INBOX_memberwatch"))
	for subject, body := range map[string]string{
		"mx.events.member.connected.USR-9.MBR-9":        eventBody,
		"mx.oauth.member.oauth_required.USR-9.MBR-9":    announceBody,
		"mx.deadletters.invalid":                        letterBody,
		"$KV.MX_IDS.key":                                "guids",
		"mx.background.at.confirm_deletion.USR-9.MBR-9": "waits",
	} {
		if _, err := worker.js.Publish(t.Context(), subject, []byte(body)); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	}
	if _, err := connect(t, s, "publisher").js.Publish(t.Context(), "mx.commands.member.refresh", []byte(commandBody)); err != nil {
		t.Fatal(err)
	}
	return operator
}

// census is all that can be told of the streams, save the durable that is left out.
func census(t *testing.T, operator *user, without string) map[string]string {
	t.Helper()
	all := map[string]string{}
	list := operator.js.ListStreams(t.Context())
	for info := range list.Info() {
		s, err := operator.js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		now, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		all[now.Config.Name] = fmt.Sprintf("%d to %d, %v, %+v", now.State.FirstSeq, now.State.LastSeq, now.State.Subjects, now.Config)
		consumers := s.ListConsumers(t.Context())
		for c := range consumers.Info() {
			if c.Name != without {
				all[now.Config.Name+" "+c.Name] = fmt.Sprintf("%d delivered, %d acknowledged, paused %t, %+v",
					c.Delivered.Consumer, c.AckFloor.Consumer, c.Paused, c.Config)
			}
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	if len(all) < len(streams) {
		t.Fatalf("census found %d things only", len(all))
	}
	return all
}

// attempt is a message that somebody sends who should not.
type attempt struct{ subject, body string }

// questions are ways to read or change stream, by the JetStream API.
func questions(stream string) []attempt {
	consumer := func(more string) string {
		return fmt.Sprintf(`{"stream_name":%q,"config":{"ack_policy":"none"%s}}`, stream, more)
	}
	all := []attempt{
		{"STREAM.INFO." + stream, `{"subjects_filter":">"}`},
		{"STREAM.MSG.GET." + stream, `{"seq":1}`},
		{"STREAM.MSG.GET." + stream, `{"last_by_subj":">"}`},
		{"DIRECT.GET." + stream, `{"seq":1}`},
		{"DIRECT.GET." + stream, `{"multi_last":[">"]}`},
		{"DIRECT.GET." + stream + ".mx.oauth.member.oauth_required.*.*", ""},
		{"STREAM.SNAPSHOT." + stream, `{"deliver_subject":"stolen.snapshot"}`},
		{"STREAM.PURGE." + stream, ""},
		{"STREAM.MSG.DELETE." + stream, `{"seq":1}`},
		{"STREAM.UPDATE." + stream, fmt.Sprintf(`{"name":%q,"subjects":["mx.>"],"republish":{"src":">","dest":"stolen.>"}}`, stream)},
		{"STREAM.DELETE." + stream, ""},
		{"STREAM.LEADER.STEPDOWN." + stream, ""},
		{"STREAM.CREATE.SPY", fmt.Sprintf(`{"name":"SPY","storage":"memory","mirror":{"name":%q}}`, stream)},
		{"STREAM.CREATE.SPY", fmt.Sprintf(`{"name":"SPY","storage":"memory","sources":[{"name":%q}]}`, stream)},
		{"CONSUMER.NAMES." + stream, ""},
		{"CONSUMER.LIST." + stream, ""},
		{"CONSUMER.CREATE." + stream, consumer("")},
		{"CONSUMER.CREATE." + stream, consumer(`,"deliver_subject":"stolen.push"`)},
		{"CONSUMER.CREATE." + stream + ".spy", consumer(`,"name":"spy"`)},
		{"CONSUMER.CREATE." + stream + ".spy", consumer(`,"name":"spy","filter_subjects":["mx.events.>","mx.oauth.>"]`)},
		{"CONSUMER.CREATE." + stream + ".spy.mx.oauth.>", consumer(`,"name":"spy","filter_subject":"mx.oauth.>"`)},
		{"CONSUMER.DURABLE.CREATE." + stream + ".spy", consumer(`,"durable_name":"spy"`)},
		{"CONSUMER.MSG.NEXT." + stream + ".spy", "1"},
	}
	for _, durable := range streams[stream] {
		on := stream + "." + durable
		all = append(all,
			attempt{"CONSUMER.INFO." + on, ""}, attempt{"CONSUMER.MSG.NEXT." + on, "1"},
			attempt{"CONSUMER.PAUSE." + on, `{"pause_until":"2100-01-01T00:00:00Z"}`},
			attempt{"CONSUMER.RESET." + on, `{"seq":1}`}, attempt{"CONSUMER.UNPIN." + on, `{"group":"g"}`},
			attempt{"CONSUMER.LEADER.STEPDOWN." + on, ""},
			attempt{"CONSUMER.CREATE." + on, consumer(fmt.Sprintf(`,"durable_name":%q,"deliver_subject":"stolen.push"`, durable))},
			attempt{"CONSUMER.DELETE." + on, ""},
		)
	}
	return all
}

// writes are messages to where others write, and acknowledgements of others' messages.
func writes() []attempt {
	all := []attempt{
		{"mx.events.member.deleted.USR-1.MBR-1", "forged"},
		{"mx.oauth.member.oauth_required.USR-1.MBR-1", "forged"},
		{"mx.background.at.confirm_deletion.USR-1.MBR-1", "forged"},
		{"mx.background.due.USR-1.MBR-1", "forged"},
		{"mx.deadletters.invalid", "forged"},
		{"mx.commands.member.other", "forged"},
		{"mx.results.member.refresh.forged", "forged"},
		{"$KV.MX_IDS.key", "forged"},
		{"$SYS.REQ.SERVER.PING", ""},
		{"$SRV.PING.memberwatch.1", ""},
	}
	for stream, durables := range streams {
		for _, durable := range durables {
			all = append(all, attempt{"$JS.ACK." + stream + "." + durable + ".1.1.1.1.0", "+TERM"})
		}
	}
	return all
}

// everything is every attempt there is.
func everything() []attempt {
	all := append(writes(), attempt{"mx.commands.member.refresh", "forged"}, attempt{"mx.commands.member.refresh.USR-1.MBR-1", ""})
	for _, endpoint := range []string{"refresh", "get", "oauth_uri"} {
		all = append(all, attempt{"mx.api.member." + endpoint, `{"user":"USR-9","member":"MBR-9"}`})
	}
	for _, api := range []string{"$JS.API.", "JS.MX.API."} {
		for _, general := range []string{"INFO", "STREAM.NAMES", "STREAM.LIST", "ACCOUNT.PURGE.MX", "META.LEADER.STEPDOWN"} {
			all = append(all, attempt{api + general, ""})
		}
		for stream := range streams {
			for _, q := range questions(stream) {
				all = append(all, attempt{api + q.subject, q.body})
			}
		}
	}
	return all
}

// heard is all that a user hears, whatever it was meant for.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func listen(t *testing.T, u *user) *heard {
	t.Helper()
	h := &heard{}
	if _, err := u.Subscribe(">", func(m *nats.Msg) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprintf(&h.text, "%s %v %s\n", m.Subject, m.Header, m.Data)
	}); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func TestOthersReachNothingButTheirOwnByAnyRoad(t *testing.T) {
	for role, may := range map[string]struct {
		do      func(subject string) bool
		read    string // what this role may read
		durable string // that this role may advance
	}{
		"publisher": {do: func(s string) bool { return strings.HasPrefix(s, "mx.commands.member.refresh") }},
		"subscriber": {
			do: func(s string) bool {
				return strings.HasSuffix(s, ".MX_EVENTS.subscriber") && strings.HasPrefix(s, "JS.MX.API.CONSUMER.")
			},
			read:    eventBody,
			durable: "subscriber",
		},
		"oauth": {
			do: func(s string) bool {
				return strings.HasSuffix(s, ".MX_OAUTH.oauth") && strings.HasPrefix(s, "JS.MX.API.CONSUMER.")
			},
			read:    announceBody,
			durable: "oauth",
		},
	} {
		t.Run(role, func(t *testing.T) {
			s := start(t, load(t, "single.conf"), nil)
			operator := furnish(t, s)
			u := dial(t, s, nats.UserInfo(role, passwords[role]), nats.NoEcho())
			ears := listen(t, u)
			before := census(t, operator, may.durable)
			for _, a := range everything() {
				if may.do(a.subject) {
					continue
				}
				if err := u.PublishRequest(a.subject, "answer.to."+a.subject, []byte(a.body)); err != nil {
					t.Fatal(err)
				}
			}
			// What is allowed, with the answer sent to where only others may write.
			own := map[string]attempt{
				"publisher":  {"mx.commands.member.refresh", "real"},
				"subscriber": {"JS.MX.API.CONSUMER.MSG.NEXT.MX_EVENTS.subscriber", "1"},
				"oauth":      {"JS.MX.API.CONSUMER.MSG.NEXT.MX_OAUTH.oauth", "1"},
			}[role]
			for _, w := range writes() {
				if err := u.PublishRequest(own.subject, w.subject, []byte(own.body)); err != nil {
					t.Fatal(err)
				}
			}
			if err := u.PublishRequest("$JS.API.STREAM.NAMES", "answer.last", nil); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all answers have come", func() bool { return strings.Contains(ears.String(), "answer.last") })
			if may.read != "" {
				eventually(t, "own stream is heard", func() bool { return strings.Contains(ears.String(), may.read) })
			}
			after := census(t, operator, may.durable)
			if role == "publisher" {
				before["MX_COMMANDS"], after["MX_COMMANDS"] = "", "" // its own commands
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("%s has changed (-before +after):\n%s", role, diff)
			}
			for line := range strings.Lines(ears.String()) {
				for _, secret := range []string{eventBody, announceBody, letterBody, commandBody, stolenMember} {
					if strings.Contains(line, secret) && (may.read == "" || !strings.Contains(line, may.read)) {
						t.Errorf("%s has read %q: %s", role, secret, line)
					}
				}
			}
		})
	}
}

func TestWorkerAndOperatorAreRefusedWhatIsNotTheirWork(t *testing.T) {
	s := start(t, load(t, "single.conf"), nil)
	operator := furnish(t, s)
	before := census(t, operator, "")

	var others []attempt
	for _, stream := range []string{"MX_COMMANDS", "MX_DEADLETTERS"} {
		others = append(others, questions(stream)...)
	}
	for _, verb := range []string{"STREAM.DELETE", "STREAM.UPDATE", "STREAM.SNAPSHOT", "CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST"} {
		for stream := range streams {
			others = append(others, attempt{verb + "." + stream, ""})
		}
	}
	for _, stream := range []string{"MX_COMMANDS", "MX_EVENTS", "MX_OAUTH", "MX_DEADLETTERS", "KV_MX_IDS"} {
		others = append(others, attempt{"STREAM.PURGE." + stream, ""}, attempt{"STREAM.MSG.DELETE." + stream, `{"seq":1}`})
	}
	others = append(others, attempt{"CONSUMER.CREATE.MX_OAUTH.spy.mx.oauth.>", ""}, attempt{"CONSUMER.MSG.NEXT.MX_OAUTH.oauth", "1"})

	ofWorker := []attempt{
		{"mx.commands.member.other", "forged"},
		{"mx.background.chain.sweep.other", "forged"},
		{"mx.background.at.chain.USR-1.MBR-1", "forged"},
		{"mx.background.at.other.USR-1.MBR-1", "forged"},
		{"$SYS.REQ.SERVER.PING", ""},
	}
	for _, a := range others {
		if a.subject != "STREAM.INFO.MX_COMMANDS" && a.subject != "STREAM.INFO.MX_DEADLETTERS" &&
			!strings.HasSuffix(a.subject, "MX_COMMANDS.memberwatch") || strings.Contains(a.subject, "CREATE") {
			ofWorker = append(ofWorker, attempt{"$JS.API." + a.subject, a.body})
		}
	}
	var ofOperator []attempt
	for _, a := range writes() {
		if !strings.HasPrefix(a.subject, "mx.commands.") && !strings.HasPrefix(a.subject, "$SRV.") {
			ofOperator = append(ofOperator, a)
		}
	}
	for _, who := range []struct {
		*user
		name      string
		publish   []attempt
		subscribe []string
	}{
		{
			dial(t, s, nats.UserInfo("worker", passwords["worker"]), nats.CustomInboxPrefix("_INBOX_memberwatch")),
			"worker", ofWorker,
			[]string{">", "mx.>", "mx.oauth.>", "mx.commands.>", "_INBOX.>", "$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "$KV.>"},
		},
		{operator, "operator", ofOperator, []string{">", "mx.oauth.>", "_INBOX_memberwatch.>", "$SYS.>"}},
	} {
		for _, a := range who.publish {
			if err := who.PublishRequest(a.subject, who.NewInbox(), []byte(a.body)); err != nil {
				t.Fatal(err)
			}
		}
		for _, subject := range who.subscribe {
			if _, err := who.Subscribe(subject, func(*nats.Msg) {}); err != nil {
				t.Fatal(err)
			}
		}
		if err := who.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
		eventually(t, who.name+" hears of every refusal", func() bool {
			who.mu.Lock()
			defer who.mu.Unlock()
			return len(who.refused) >= len(who.publish)+len(who.subscribe)
		})
	}
	if diff := cmp.Diff(before, census(t, operator, "")); diff != "" {
		t.Errorf("something has changed (-before +after):\n%s", diff)
	}
}

func TestUnknownUsersAreRefused(t *testing.T) {
	s := start(t, load(t, "single.conf"), nil)
	for name, option := range map[string]nats.Option{
		"nobody":         nats.Name("nobody"),
		"wrong password": nats.UserInfo("worker", "wrong"),
		"wrong user":     nats.UserInfo("stranger", passwords["worker"]),
	} {
		if nc, err := nats.Connect(s.ClientURL(), option); err == nil {
			nc.Close()
			t.Errorf("%s is let in", name)
		}
	}
}
