package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/events/client"
)

// serve answers requests to an endpoint, each with what the golden file of that
// name says; ill has what it refuses with instead, if anything.
func (w *world) serve(endpoint string, ill *events.APIError) <-chan []byte {
	w.tb.Helper()
	asked := make(chan []byte, 10)
	golden, err := os.ReadFile("../testdata/golden/api." + endpoint + ".response.json")
	if err != nil {
		w.tb.Fatal(err)
	}
	_, err = w.nc.Subscribe(w.subjects.API(endpoint), func(m *nats.Msg) {
		asked <- m.Data
		answer := &nats.Msg{Data: golden}
		if ill != nil {
			answer.Header = nats.Header{"Nats-Service-Error-Code": {string(ill.Code)}, "Nats-Service-Error": {ill.Message}}
			answer.Data, _ = json.Marshal(ill)
		}
		if err := m.RespondMsg(answer); err != nil {
			w.tb.Error(err)
		}
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	return asked
}

func TestRequestsReturnWhatTheServiceAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for endpoint, call := range map[string]func(context.Context) (sent any, got string, err error){
		events.APIRefresh: func(ctx context.Context) (any, string, error) {
			r := events.RefreshRequest{Command: events.Command{User: "anna", Member: "riverbank"}, TimeoutMS: 2000}
			a, err := w.client.RequestRefresh(ctx, r)
			return r, string(a.Result.Outcome) + " " + string(*a.State.Member.ConnectionStatus), err
		},
		events.APIGet: func(ctx context.Context) (any, string, error) {
			r := events.GetRequest{User: "anna", Member: "riverbank"}
			a, err := w.client.Get(ctx, r)
			return r, string(a.EventType) + " " + string(*a.State.Member.ConnectionStatus), err
		},
		events.APIOAuthURI: func(ctx context.Context) (any, string, error) {
			r := events.OAuthURIRequest{User: "anna", Member: "riverbank", ReferralSource: events.ReferralApp}
			uri, err := w.client.OAuthURI(ctx, r)
			return r, uri[:len("https://mxbank.example/")], err
		},
	} {
		asked := w.serve(endpoint, nil)
		sent, got, err := call(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			events.APIRefresh: "changed PENDING", events.APIGet: "member.pending PENDING", events.APIOAuthURI: "https://mxbank.example/",
		}[endpoint]
		if got != want {
			t.Errorf("%s: got %q, want %q", endpoint, got, want)
		}
		body, err := json.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(body), string(receive(t, asked))); diff != "" {
			t.Errorf("%s was sent (-want +got):\n%s", endpoint, diff)
		}
	}
}

func TestRequestThatIsRefusedTellsItsCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.serve(events.APIGet, &events.APIError{Code: events.APINotFound, Message: "nothing is known of this member"})
	_, err := w.client.Get(t.Context(), events.GetRequest{User: "USR-1", Member: "MBR-1"})
	var refused *events.APIError
	if !errors.As(err, &refused) || refused.Code != events.APINotFound || refused.Message != "nothing is known of this member" {
		t.Errorf("refused with %v", err)
	}
}

func TestRequestTellsThatItIsBadOrThatNobodyIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := events.GetRequest{User: "USR-1", Member: "MBR-1"}
	if _, err := w.client.Get(t.Context(), good); !errors.Is(err, client.ErrNoService) {
		t.Errorf("without a service: %v", err)
	}
	asked := w.serve(events.APIOAuthURI, nil)
	if _, err := w.client.OAuthURI(t.Context(), events.OAuthURIRequest{User: "USR-1", Member: "a.b"}); err == nil || len(asked) > 0 {
		t.Errorf("a bad request: %v, sent %d times", err, len(asked))
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := w.nc.Subscribe(w.subjects.API(events.APIGet), func(*nats.Msg) { cancel() }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Get(ctx, good); !errors.Is(err, context.Canceled) {
		t.Errorf("without an answer: %v", err)
	}
}

func ExampleClient_Get() {
	nc, end := installation()
	defer end()
	answering(nc)

	c, err := client.New(nc, events.DefaultPrefix)
	if err != nil {
		panic(err)
	}
	known, err := c.Get(context.Background(), events.GetRequest{User: "anna", Member: "riverbank"})
	var refused *events.APIError
	switch {
	case errors.As(err, &refused) && refused.Code == events.APINotFound:
		fmt.Println("never refreshed")
	case err != nil:
		panic(err)
	default:
		fmt.Println(known.EventType, known.State.Action.Actor, known.State.Action.Kind)
	}
	// Output: member.pending user authorize
}

// answering answers requests for the last known state with the golden answer.
func answering(nc *nats.Conn) {
	golden, err := os.ReadFile("../testdata/golden/api.get.response.json")
	if err != nil {
		panic(err)
	}
	if _, err := nc.Subscribe("mx.api.member.get", func(m *nats.Msg) { _ = m.Respond(golden) }); err != nil {
		panic(err)
	}
}
