package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Service is what the endpoints ask. *refresh.Service is one.
type Service interface {
	// Submit takes a job in hand at once; its Settle is called exactly once.
	Submit(*refresh.Job)
	// OAuthURI has MX generate a URI. Errors other than refresh.ErrNotFound,
	// refresh.ErrNoURI and refresh.ErrForbidden are no answer for good.
	OAuthURI(ctx context.Context, user, member string, o refresh.OAuthOptions) (string, error)
}

// APIOptions say how an API differs from installation to installation.
type APIOptions struct {
	// Version is told to NATS tools. One that is not semantic is told as 0.0.0-dev.
	Version string
	// MaxInHand is how many requests may wait for their answer, or be carried out for
	// somebody who no longer waits; more are refused with 503.
	MaxInHand int
	// Farewell is how long requests in hand may still take when the API ends.
	Farewell time.Duration
	Log      *slog.Logger
}

// API answers requests as the micro service "memberwatch". All workers of an
// installation share each endpoint by a queue group.
//
// A request is a job that no message holds: what would make a message come again
// is told to whoever asked, who still waits and knows best whether to ask again.
// Requests are handled side by side, which the micro framework has no notion of:
// its processing times and error counts cover the checks of a request alone. The
// whole is in each endpoint's data of $SRV.STATS, and in the metrics.
type API struct {
	bus     *Bus
	service Service
	options APIOptions
	log     *slog.Logger
	metrics *apiMetrics

	mu     sync.Mutex
	closed bool           // guarded by mu: nothing more is taken in hand
	inHand int            // guarded by mu
	calls  sync.WaitGroup // of requests in hand; added to with mu held while not closed
}

// NewAPI returns an API that answers once it runs.
func NewAPI(b *Bus, s Service, o APIOptions) *API {
	return &API{bus: b, service: s, options: o, log: o.Log, metrics: newAPIMetrics()}
}

// Run answers requests until ctx ends, then lets those in hand finish, for as
// long as [APIOptions.Farewell].
func (a *API) Run(ctx context.Context) error {
	alive, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s, err := micro.AddService(a.bus.nc, micro.Config{
		Name: events.APIService, Version: semantic(a.options.Version),
		Description:  "Reads members from MX on request, and answers from what it knows of them.",
		Metadata:     map[string]string{"subject_prefix": a.bus.subjects.Prefix()},
		StatsHandler: func(e *micro.Endpoint) any { return a.metrics.stats(e.Name) },
	})
	if err != nil {
		return fmt.Errorf("adding micro service: %w", err)
	}
	for _, e := range a.endpoints() {
		if err := s.AddEndpoint(e.name, micro.ContextHandler(alive, a.handler(e)),
			micro.WithEndpointSubject(a.bus.subjects.API(e.name)), micro.WithEndpointMetadata(e.metadata())); err != nil {
			return errors.Join(fmt.Errorf("adding endpoint %s: %w", e.name, err), s.Stop())
		}
	}
	<-ctx.Done()
	err = s.Stop() // requests that have arrived by now are told to ask somebody else
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	late := time.AfterFunc(a.options.Farewell, cut)
	defer late.Stop()
	a.calls.Wait()
	if err != nil {
		return fmt.Errorf("stopping micro service: %w", err)
	}
	return nil
}

// Metrics returns the API's collectors, to be registered by the caller.
func (a *API) Metrics() []prometheus.Collector {
	return []prometheus.Collector{a.metrics.requests, a.metrics.seconds}
}

// handler checks requests to an endpoint and has it serve the good ones, each on
// its own.
func (a *API) handler(e endpoint) func(context.Context, micro.Request) {
	return func(alive context.Context, r micro.Request) {
		if !a.mayAnswer(r.Reply()) {
			a.metrics.refused(e.name)
			return
		}
		began := a.bus.now()
		if len(r.Data()) > command.MaxBody {
			a.refuse(e, r, began, fault(events.APIInvalid, "body: has %d bytes; at most %d", len(r.Data()), command.MaxBody))
			return
		}
		c := &apiCall{API: a, reply: r.Reply(), header: nats.Header(r.Headers()), now: began}
		serve, timeout, err := e.read(c, r.Data())
		if err != nil {
			a.refuse(e, r, began, fault(events.APIInvalid, "%s", oneLine(err)))
			return
		}
		if err := a.take(); err != nil {
			a.refuse(e, r, began, err)
			return
		}
		go func() {
			defer a.calls.Done()
			ctx, cancel := context.WithTimeout(alive, timeout)
			defer cancel()
			body, err := serve(ctx)
			c.answer(e.name, body, c.coded(ctx, err))
			if !c.submitted {
				a.leave()
			}
		}()
	}
}

// mayAnswer reports whether reply is a place to answer at. A request without one
// is of no use to anybody; and what we may publish to, whoever asks may not: an
// answer there would be taken for our word, or stored.
func (a *API) mayAnswer(reply string) bool {
	return reply != "" && !strings.HasPrefix(reply, a.bus.subjects.Prefix()+".") && !strings.HasPrefix(reply, "$")
}

// refuse answers a request that is not served at all.
func (a *API) refuse(e endpoint, r micro.Request, began time.Time, err *events.APIError) {
	a.metrics.answered(e.name, err.Code, a.bus.now().Sub(began))
	if err := r.Error(string(err.Code), err.Message, errorBody(err)); err != nil {
		a.log.Debug("request not answered", "endpoint", e.name, "error", err)
	}
}

// take takes a request in hand, unless there are too many or we are stopping.
func (a *API) take() *events.APIError {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return fault(events.APIUnavailable, "this worker is stopping; ask again")
	case a.inHand >= a.options.MaxInHand:
		return fault(events.APIUnavailable, "%d requests are in hand already; ask again", a.inHand)
	}
	a.inHand++
	a.calls.Add(1)
	return nil
}

func (a *API) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inHand--
}

var semVer = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z]+(\.[0-9A-Za-z]+)*)?$`)

// semantic is a version as the micro framework wants it.
func semantic(version string) string {
	if v := strings.TrimPrefix(version, "v"); semVer.MatchString(v) {
		return v
	}
	return "0.0.0-dev"
}
