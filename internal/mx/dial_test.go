package mx

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

func TestTheTimeOfACallBoundsTheLookUpOfAName(t *testing.T) {
	t.Parallel()
	client, err := New(Config{
		BaseURL: "https://mx.test", ClientID: "client", APIKey: "key", AcceptVersion: "v1",
		Timeout: 50 * time.Millisecond, MaxInFlight: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, ok := client.round.(*transport)
	if !ok {
		t.Skip("a proxy is set, which looks names up")
	}
	// Nobody answers, until long after the time of the call.
	unanswered, giveUp := context.WithTimeout(t.Context(), 20*time.Second)
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		<-unanswered.Done()
		return nil, errors.New("the resolver is not answered")
	}}
	tr.dial = (&net.Dialer{Timeout: client.timeout, Resolver: resolver}).DialContext
	for name, ctx := range map[string]context.Context{"ends": t.Context(), "never ends": context.WithoutCancel(t.Context())} {
		if _, err := client.ReadMember(ctx, "USR-1", "MBR-1"); KindOf(err) != Timeout {
			t.Errorf("a context that %s: error is %v, want a time-out", name, err)
		}
		if len(tr.slots) != 0 {
			t.Errorf("a context that %s: the call still holds its slot", name)
		}
	}
	giveUp()
}
