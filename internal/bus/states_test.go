package bus

import (
	"encoding/json"
	"testing"
)

// TestAnswersAreReadAsTheDecoderReadsThem compares what is found in an answer of
// the server with what decoding all of it gives.
func TestAnswersAreReadAsTheDecoderReadsThem(t *testing.T) {
	t.Parallel()
	const head = `{"type":"io.nats.jetstream.api.v1.stream_msg_get_response",`
	for _, c := range []struct {
		name, answer string
		found        bool // without the decoder
	}{
		{"a message", head + `"message":{"subject":"mx.events.connected.USR-1.MBR-1","seq":7,"data":"eyJhIjoiXCJzZXFcIjoxIn0=","time":"2026-03-14T09:26:53Z"}}`, true},
		{"one with headers", head + `"message":{"subject":"s","seq":18446744073709551615,"hdrs":"TkFUUy8xLjANCg0K","data":"e30=","time":"2026-03-14T09:26:53Z"}}`, true},
		{"one without data", head + `"message":{"subject":"s","seq":7,"time":"2026-03-14T09:26:53Z"}}`, false},
		{"spaces", head + ` "message": { "subject": "s", "seq": 7, "data": "e30=" } }`, false},
		{"no base64", head + `"message":{"subject":"s","seq":7,"data":"e3"}}`, false},
		{"cut short", head + `"message":{"subject":"s","seq":7,"data":"e30=`, false},
		{"no sequence", head + `"message":{"subject":"s","data":"e30="}}`, false},
		{"no message", head + `"error":{"code":404,"err_code":10037,"description":"no message found"}}`, false},
		{"nothing", ``, false},
	} {
		seq, data, ok := storedIn([]byte(c.answer))
		if ok != c.found {
			t.Errorf("%s: found %t, want %t", c.name, ok, c.found)
		}
		var want lastMessage
		if !ok {
			continue
		}
		if err := json.Unmarshal([]byte(c.answer), &want); err != nil {
			t.Fatal(err)
		}
		if seq != want.Message.Sequence || string(data) != string(want.Message.Data) {
			t.Errorf("%s: %d with %q, the decoder says %d with %q", c.name, seq, data, want.Message.Sequence, want.Message.Data)
		}
		if only, ok := sequenceIn([]byte(c.answer)); !ok || only != seq {
			t.Errorf("%s: sequence %d, want %d", c.name, only, seq)
		}
	}
}
