package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/events"
)

// RequestRefresh has a member read from MX and returns when that is done, with
// the state that the member is in then. No message holds the request: who gets
// [events.APIUnavailable] asks again. A command that must not be lost is for
// [Client.Refresh].
//
// This and the other requests return an *[events.APIError] when the service
// refuses, [ErrNoService] when there is none, and the error of ctx when it ends
// before the answer comes.
func (c *Client) RequestRefresh(ctx context.Context, r events.RefreshRequest) (events.RefreshResponse, error) {
	return ask[events.RefreshResponse](ctx, c, events.APIRefresh, r, r.TimeoutMS)
}

// Get returns the last known state of a member without asking MX. Unlike
// [Client.Last] it needs no right to read a stream.
func (c *Client) Get(ctx context.Context, r events.GetRequest) (events.GetResponse, error) {
	return ask[events.GetResponse](ctx, c, events.APIGet, r, r.TimeoutMS)
}

// OAuthURI has MX generate a URI to send the member's user to. It works once, and
// whoever has it can act in the user's place until then: do not log it.
func (c *Client) OAuthURI(ctx context.Context, r events.OAuthURIRequest) (string, error) {
	answer, err := ask[events.OAuthURIResponse](ctx, c, events.APIOAuthURI, r, r.TimeoutMS)
	return answer.OAuthWindowURI, err
}

// ask sends a request to an endpoint and reads the answer.
func ask[T any](ctx context.Context, c *Client, endpoint string, request interface{ Validate() error }, timeoutMS int64) (answer T, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("requesting %s: %w", endpoint, err)
		}
	}()
	if err := request.Validate(); err != nil {
		return answer, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return answer, fmt.Errorf("encoding request: %w", err)
	}
	// The service knows best when the time is up: it says what became of the request.
	ctx, cancel := context.WithTimeout(ctx, events.Timeout(timeoutMS)+askTimeout)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, c.subjects.API(endpoint), body)
	if errors.Is(err, nats.ErrNoResponders) {
		return answer, fmt.Errorf("%w: %w", ErrNoService, err)
	}
	if err != nil {
		return answer, err
	}
	if code := m.Header.Get(events.APIErrorCodeHeader); code != "" {
		return answer, &events.APIError{Code: events.APICode(code), Message: m.Header.Get(events.APIErrorHeader)}
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return answer, fmt.Errorf("decoding answer: %w", err)
	}
	return answer, nil
}
