package oracle_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

// BenchmarkCheck measures what an event costs, on a stream of many members that
// go back and forth between two statuses.
func BenchmarkCheck(b *testing.B) {
	js, err := jetstream.New(embeddedtest.Connect(b, embeddedtest.Start(b)))
	if err != nil {
		b.Fatal(err)
	}
	for name, subject := range map[string]string{"MX_EVENTS": "mx.events.>", "MX_OAUTH": "mx.oauth.>"} {
		if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			b.Fatal(err)
		}
	}
	const members = 1000
	s := newStory()
	template := make([]string, 3)
	for i, status := range []string{"CONNECTED", "DISCONNECTED", "CONNECTED"} {
		m := s.happen(plainMember, strings.ToLower(status), obj{"connection_status": status, "name": "Bank", "connection_status_message": "Something went on with Bank"})
		template[i] = string(m.bytes(b))
	}
	for i := range b.N {
		member, round := strconv.Itoa(i%members), i/members
		body, status := template[0], "connected"
		if round > 0 {
			body = template[2-round%2]
			status = []string{"connected", "disconnected"}[round%2]
			old := 3 - round%2
			body = strings.NewReplacer(fmt.Sprintf(`"revision":%d`, old), fmt.Sprintf(`"revision":%d`, round+1),
				fmt.Sprintf("%020d", old), fmt.Sprintf("%020d", round+1), fmt.Sprintf("MBR-1-%d-", old), fmt.Sprintf("MBR-1-%d-", round+1)).Replace(body)
		}
		msg := nats.NewMsg("mx.events.member." + status + ".USR-" + member + ".MBR-" + member)
		msg.Header.Set("Content-Type", "application/cloudevents+json")
		msg.Data = []byte(strings.NewReplacer("MBR-1", "MBR-"+member, "USR-1", "USR-"+member).Replace(body))
		if _, err := js.PublishMsgAsync(msg); err != nil {
			b.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	b.ReportAllocs()
	b.ResetTimer()
	r, err := oracle.Check(b.Context(), js, oracle.Options{})
	if err != nil || !r.OK() || r.Events != b.N {
		b.Fatalf("verdict is %v\n%s", err, r)
	}
}
