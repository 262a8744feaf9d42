package bus_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func TestTheServiceDescribesItself(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{Workers: 2}), nil)
	i := a.infos()[0]
	if i.Name != "memberwatch" || i.Version != "1.2.3" || i.Description == "" || i.Metadata["subject_prefix"] != "mx" {
		t.Errorf("info %+v", i.ServiceIdentity)
	}
	good := map[string]any{
		events.APIRefresh:  events.RefreshRequest{Command: events.Command{User: "u", Member: "m", CommandID: "c", Aggregate: true, Reason: "r"}, TimeoutMS: 1},
		events.APIGet:      events.GetRequest{User: "u", Member: "m", TimeoutMS: 1},
		events.APIOAuthURI: events.OAuthURIRequest{User: "u", Member: "m", ReferralSource: "APP", ClientRedirectURL: "myapp://x", EnableApp2App: new(true), SkipAggregation: new(false), UIMessageWebviewURLScheme: "myapp", TimeoutMS: 1},
	}
	for _, e := range i.Endpoints {
		if e.Subject != "mx.api.member."+e.Name || e.QueueGroup == "" {
			t.Errorf("endpoint %s on %s, group %q", e.Name, e.Subject, e.QueueGroup)
		}
		for _, key := range []string{"description", "request", "response", "errors"} {
			if e.Metadata[key] == "" {
				t.Errorf("%s: no %s", e.Name, key)
			}
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(e.Metadata["request"]))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("request.json", doc); err != nil {
			t.Fatal(err)
		}
		schema, err := c.Compile("request.json")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(good[e.Name])
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(raw, &fields); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(fields); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		for name := range fields {
			if schema.Properties[name] == nil {
				t.Errorf("%s: field %s is not described", e.Name, name)
			}
		}
		if len(schema.Properties) != len(fields) {
			t.Errorf("%s: %d fields are described, the type has %d", e.Name, len(schema.Properties), len(fields))
		}
		if schema.Validate(map[string]any{"user": "u"}) == nil {
			t.Errorf("%s: a request without a member is valid", e.Name)
		}
	}
}

func TestStatisticsCountEveryAnswerByCode(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(nil)
	a.send(events.APIRefresh, of(k), nil)
	a.send(events.APIRefresh, of(k), nil)
	a.send(events.APIRefresh, []byte("{}"), nil)
	a.send(events.APIRefresh, events.RefreshRequest{Command: events.Command{User: "USR-1", Member: "MBR-1"}}, nil)
	m, err := a.NC.Request("$SRV.STATS."+events.APIService, nil, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var s micro.Stats
	if err := json.Unmarshal(m.Data, &s); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.Endpoints {
		if e.Name != events.APIRefresh {
			continue
		}
		var data struct {
			Answers        map[string]int `json:"answers"`
			AverageSeconds float64        `json:"average_seconds"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"200": 2, "400": 1, "404": 1}, data.Answers); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		if e.NumRequests != 4 || e.NumErrors != 1 || data.AverageSeconds <= 0 {
			t.Errorf("%d requests, %d errors, %v s", e.NumRequests, e.NumErrors, data.AverageSeconds)
		}
	}
}

func TestWorkersShareTheRequests(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{Workers: 2}), nil)
	k := a.AddMember(mxsim.Patch{"connection_status": "CONNECTED"})
	const n = 200
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				if code := a.send(events.APIRefresh, of(k), nil); code != "" {
					t.Errorf("code %s", code)
				}
			}
		})
	}
	wg.Wait()
	if got := a.Types(k); len(got) != 1 {
		t.Errorf("events %v", got)
	}
	inbox := a.NC.NewInbox()
	s, err := a.NC.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.NC.PublishRequest("$SRV.STATS."+events.APIService, inbox, nil); err != nil {
		t.Fatal(err)
	}
	total := 0
	for range a.Workers {
		m, err := s.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var stats micro.Stats
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		mine := stats.Endpoints[0].NumRequests
		if mine == 0 {
			t.Error("a worker was asked nothing")
		}
		total += mine
	}
	if total != n {
		t.Errorf("%d requests were served %d times", n, total)
	}
}

// An answer on one of the installation's own subjects would be taken for the
// service's word: whoever may only ask could so write events.
func TestNoAnswerGoesWhereOnlyTheServiceMayWrite(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), nil)
	k := a.AddMember(nil)
	a.Refresh(k)
	body, err := json.Marshal(of(k))
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{
		"", a.Subjects.Event(events.TypeDeleted, k), a.Subjects.OAuthOf(k), a.Subjects.Refresh(),
		"$JS.API.STREAM.PURGE." + a.Subjects.EventStream(), "$KV.MX_IDS.x",
	} {
		for _, data := range [][]byte{body, []byte("{}")} {
			if err := a.NC.PublishMsg(&nats.Msg{Subject: a.Subjects.API(events.APIRefresh), Reply: reply, Data: data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code := a.send(events.APIRefresh, of(k), nil); code != "" {
		t.Errorf("code %s", code)
	}
	a.WaitIdle()
	if n := a.Messages(a.Subjects.EventStream()); n != 1 {
		t.Errorf("%d messages on the event stream", n)
	}
	if n := a.Reads(k); n != 2 {
		t.Errorf("%d reads, want those of one command and one request", n)
	}
	if n := len(a.DeadLetters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestTooManyRequestsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), func(o *bus.APIOptions) { o.MaxInHand = 1 })
	slow, quick := a.AddMember(nil), a.AddMember(nil)
	a.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 500 * time.Millisecond, Member: slow.Member()})
	first := make(chan events.APICode, 1)
	go func() { first <- a.send(events.APIRefresh, of(slow), nil) }()
	a.Until("the first is in hand", func() bool { return a.Workers[0].Service.Flow().Hand == 1 })
	if code := a.send(events.APIGet, events.GetRequest{User: quick.User(), Member: quick.Member()}, nil); code != events.APIUnavailable {
		t.Errorf("code %q", code)
	}
	if code := <-first; code != "" {
		t.Errorf("the first: code %q", code)
	}
}

// Whoever gave up and asks again would else fill the queue before the commands.
func TestARequestThatWasGivenUpIsInHandUntilItIsDone(t *testing.T) {
	t.Parallel()
	a := ask(t, refreshtest.New(t, refreshtest.Options{}), func(o *bus.APIOptions) { o.MaxInHand = 1 })
	slow := a.AddMember(nil)
	a.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 500 * time.Millisecond, Member: slow.Member()})
	r := of(slow)
	r.TimeoutMS = 20
	if code := a.send(events.APIRefresh, r, nil); code != events.APIDeadline {
		t.Errorf("code %q of one that was given up", code)
	}
	get := events.GetRequest{User: slow.User(), Member: slow.Member()}
	if code := a.send(events.APIGet, get, nil); code != events.APIUnavailable {
		t.Errorf("code %q while it is carried out", code)
	}
	a.Until("it is done, and there is room", func() bool { return a.send(events.APIGet, get, nil) == "" })
}

func TestTheEndAnswersWhatIsInHand(t *testing.T) {
	t.Parallel()
	r := refreshtest.New(t, refreshtest.Options{})
	w := r.Workers[0]
	stop := startAPI(t, bus.NewAPI(w.Bus, w.Service, bus.APIOptions{
		Version: "dev", MaxInHand: 10, Farewell: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
	}))
	a := &asked{r, t}
	r.Until("it answers, with its version", func() bool {
		infos := a.infos()
		return len(infos) == 1 && infos[0].Version == "0.0.0-dev"
	})
	k := r.AddMember(mxsim.Patch{"is_oauth": true, "connection_status": "CONNECTED"})
	r.Inject(mxsim.Fault{Kind: mxsim.FaultLatency, Delay: 300 * time.Millisecond})
	codes := make(chan events.APICode, 2)
	go func() { codes <- a.send(events.APIRefresh, of(k), nil) }()
	go func() {
		codes <- a.send(events.APIOAuthURI, events.OAuthURIRequest{User: k.User(), Member: k.Member()}, nil)
	}()
	r.Until("both ask MX", func() bool { return r.Sim.Stats().InFlight == 2 })
	stop()
	for range 2 {
		if code := <-codes; code != "" {
			t.Errorf("code %q", code)
		}
	}
	if _, err := r.NC.Request(r.Subjects.API(events.APIGet), []byte("{}"), time.Second); err == nil {
		t.Error("it answers after its end")
	}
}
