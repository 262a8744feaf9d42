package bus_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// asked is a whole service that answers requests.
type asked struct {
	*refreshtest.Rig
	t *testing.T
}

// ask starts the API of every worker of a rig.
func ask(t *testing.T, r *refreshtest.Rig, edit func(*bus.APIOptions)) *asked {
	t.Helper()
	for _, w := range r.Workers {
		o := bus.APIOptions{Version: "v1.2.3", MaxInHand: 1000, Farewell: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
		if edit != nil {
			edit(&o)
		}
		startAPI(t, bus.NewAPI(w.Bus, w.Service, o))
	}
	a := &asked{r, t}
	r.Until("every worker answers", func() bool { return len(a.infos()) == len(r.Workers) })
	return a
}

// startAPI runs an API until the returned function is called, or the test ends.
func startAPI(t *testing.T, api *bus.API) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- api.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("API ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// infos asks every instance of the service for its description.
func (a *asked) infos() []micro.Info {
	a.t.Helper()
	inbox := a.NC.NewInbox()
	s, err := a.NC.SubscribeSync(inbox)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = s.Unsubscribe() }()
	if err := a.NC.PublishRequest("$SRV.INFO."+events.APIService, inbox, nil); err != nil {
		a.t.Fatal(err)
	}
	var all []micro.Info
	for {
		m, err := s.NextMsg(100 * time.Millisecond)
		if err != nil || len(m.Data) == 0 {
			return all
		}
		var i micro.Info
		if err := json.Unmarshal(m.Data, &i); err != nil {
			a.t.Fatal(err)
		}
		// An instance answers before it has all of its endpoints.
		if len(i.Endpoints) == 3 {
			all = append(all, i)
		}
	}
}

// send sends a request and returns the answer's code, "" when it is no error.
func (a *asked) send(endpoint string, request, response any) events.APICode {
	a.t.Helper()
	body, ok := request.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(request); err != nil {
			a.t.Fatal(err)
		}
	}
	m, err := a.NC.Request(a.Subjects.API(endpoint), body, 20*time.Second)
	if err != nil {
		a.t.Fatalf("%s: %v", endpoint, err)
	}
	code := events.APICode(m.Header.Get(micro.ErrorCodeHeader))
	if code == "" {
		if response != nil {
			if err := json.Unmarshal(m.Data, response); err != nil {
				a.t.Fatalf("%s: %v", m.Data, err)
			}
		}
		return ""
	}
	var e events.APIError
	if err := json.Unmarshal(m.Data, &e); err != nil || e.Code != code || e.Message != m.Header.Get(micro.ErrorHeader) {
		a.t.Errorf("code %s, header %q, body %s: %v", code, m.Header.Get(micro.ErrorHeader), m.Data, err)
	}
	if text, ok := response.(*string); ok {
		*text = e.Message
	}
	return code
}

func of(k events.Key) events.RefreshRequest {
	return events.RefreshRequest{Command: events.Command{User: k.User(), Member: k.Member()}}
}
