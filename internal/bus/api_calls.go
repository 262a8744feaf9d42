package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// apiCall is a request in hand.
type apiCall struct {
	*API
	reply  string
	header nats.Header
	now    time.Time // when it came
	// submitted: it is a job now, and in hand until that is settled, even if whoever
	// asked gives up before. Else requests that nobody waits for would pile up before
	// the commands.
	submitted bool
}

// serveFunc carries a checked request out and returns what to answer, as JSON can hold it.
type serveFunc func(ctx context.Context) (any, error)

// readRefresh reads a request for a refresh.
func readRefresh(c *apiCall, body []byte) (serveFunc, time.Duration, error) {
	var r events.RefreshRequest
	if err := unmarshalRequest(body, &r); err != nil {
		return nil, 0, err
	}
	return func(ctx context.Context) (any, error) { return c.refresh(ctx, &r) }, events.Timeout(r.TimeoutMS), r.Validate()
}

// refresh has the member read in the interactive lane and waits for the end.
func (c *apiCall) refresh(ctx context.Context, r *events.RefreshRequest) (any, error) {
	ref := "request-" + nuid.Next()
	if r.CommandID == "" {
		r.CommandID = ref
	}
	settled := make(chan refresh.Verdict, 1) // so that nobody waits for us when we have given up
	trace := command.TraceOf(c.header)
	c.submitted = true
	c.service.Submit(&refresh.Job{
		Ref: ref, Command: r.Command, ID: r.CommandID,
		At: c.now, Source: refresh.SourceRequest, Lane: refresh.Interactive, Deliveries: 1,
		Traceparent: trace.Parent, Tracestate: trace.State,
		Settle: func(v refresh.Verdict) {
			settled <- v
			c.leave()
		},
	})
	select {
	case v := <-settled:
		return c.refreshed(ctx, v)
	case <-ctx.Done():
		return nil, fmt.Errorf("the refresh goes on: %w", ctx.Err())
	}
}

// refreshed is the answer to a refresh that ended.
func (c *apiCall) refreshed(ctx context.Context, v refresh.Verdict) (any, error) {
	switch v.Disposition {
	case refresh.Done:
	case refresh.Dead:
		return nil, fault(events.APIFailed, "%s", v.Reason)
	case refresh.Retry, refresh.Return:
		return nil, fault(events.APIUnavailable, "%s; ask again", v.Reason)
	}
	if v.Result.Outcome == events.OutcomeNotFound {
		return nil, fault(events.APINotFound, "%s", v.Result.Reason)
	}
	response := events.RefreshResponse{Result: v.Result}
	k, err := events.NewKey(v.Result.UserGUID, v.Result.MemberGUID)
	if err != nil {
		return nil, fmt.Errorf("reading result: %w", err)
	}
	// It is refreshed, whether or not its state can be told: ask for that again with get.
	if last, seq, err := c.bus.states.Last(ctx, k); err == nil && seq != 0 {
		response.State = &last.Data
	}
	return response, nil
}

// readGet reads a request for a member's last state.
func readGet(c *apiCall, body []byte) (serveFunc, time.Duration, error) {
	var r events.GetRequest
	if err := unmarshalRequest(body, &r); err != nil {
		return nil, 0, err
	}
	return func(ctx context.Context) (any, error) { return c.get(ctx, &r) }, events.Timeout(r.TimeoutMS), r.Validate()
}

func (c *apiCall) get(ctx context.Context, r *events.GetRequest) (any, error) {
	k, err := events.NewKey(r.User, r.Member)
	if !events.IsUserGUID(r.User) || !events.IsMemberGUID(r.Member) {
		var known bool
		if k, known = c.bus.ids.Lookup(ctx, r.User, r.Member); !known && ctx.Err() == nil {
			return nil, fault(events.APINotFound, "nothing is known of these ids; refresh the member once, or give MX's guids")
		}
		err = ctx.Err()
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // Of guids: unreachable, they are valid. Of ids: why they were not looked up.
	}
	last, seq, err := c.bus.states.Last(ctx, k)
	switch {
	case errors.Is(err, refresh.ErrUnreadable):
		return nil, fault(events.APIFailed, "%s", oneLine(err))
	case err != nil:
		return nil, fmt.Errorf("reading last event: %w", err)
	case seq == 0:
		return nil, fault(events.APINotFound, "nothing is known of this member; refresh it once")
	}
	return events.GetResponse{
		UserGUID: k.User(), MemberGUID: k.Member(), EventID: last.ID, EventType: last.Type, State: last.Data,
	}, nil
}

// readOAuthURI reads a request for a fresh URI.
func readOAuthURI(c *apiCall, body []byte) (serveFunc, time.Duration, error) {
	var r events.OAuthURIRequest
	if err := unmarshalRequest(body, &r); err != nil {
		return nil, 0, err
	}
	return func(ctx context.Context) (any, error) {
		uri, err := c.service.OAuthURI(ctx, r.User, r.Member, refresh.OAuthOptions{
			ReferralSource: r.ReferralSource, ClientRedirectURL: r.ClientRedirectURL,
			EnableApp2App: r.EnableApp2App, SkipAggregation: r.SkipAggregation,
			UIMessageWebviewURLScheme: r.UIMessageWebviewURLScheme,
		})
		if err != nil {
			return nil, err //nolint:wrapcheck // coded makes a code of it.
		}
		return events.OAuthURIResponse{OAuthWindowURI: uri}, nil
	}, events.Timeout(r.TimeoutMS), r.Validate()
}

// unmarshalRequest reads a request's JSON. The error names the field.
func unmarshalRequest(body []byte, to any) error {
	if len(body) == 0 {
		return errors.New(`body: is empty; give {"user":…,"member":…}`)
	}
	return command.Unmarshal(body, to) //nolint:wrapcheck // It names the field.
}

// coded is the one table from what went wrong to its code; nil for nil.
func (c *apiCall) coded(ctx context.Context, err error) *events.APIError {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*events.APIError](err); ok {
		return e
	}
	code := events.APIUnavailable
	switch {
	case errors.Is(err, refresh.ErrNotFound):
		code = events.APINotFound
	case errors.Is(err, refresh.ErrForbidden):
		code = events.APIForbidden
	case errors.Is(err, refresh.ErrNoURI):
		code = events.APIConflict
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		code = events.APIDeadline
	}
	return fault(code, "%s", oneLine(err))
}

func fault(code events.APICode, format string, args ...any) *events.APIError {
	return &events.APIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// oneLine is an error's text as a header can hold it.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func errorBody(err *events.APIError) []byte {
	body, _ := json.Marshal(err) // Two strings always encode.
	return body
}

// answer sends what a request in hand came to. It does not use the framework's
// answer, which records errors where its handler, long back by now, reads them.
func (c *apiCall) answer(endpoint string, response any, failed *events.APIError) {
	m := &nats.Msg{Subject: c.reply, Header: nats.Header{command.HeaderContentType: {"application/json"}}}
	if failed == nil {
		body, err := json.Marshal(response)
		if err != nil {
			failed = fault(events.APIFailed, "encoding the answer: %s", oneLine(err))
		}
		m.Data = body
	}
	code := codeOK
	if failed != nil {
		code = failed.Code
		m.Header[micro.ErrorCodeHeader], m.Header[micro.ErrorHeader] = []string{string(code)}, []string{failed.Message}
		m.Data = errorBody(failed)
	}
	c.metrics.answered(endpoint, code, c.bus.now().Sub(c.now))
	if err := c.bus.nc.PublishMsg(m); err != nil {
		c.log.Debug("request not answered", "endpoint", endpoint, "error", err)
	}
}
