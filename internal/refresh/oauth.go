package refresh

import (
	"context"
	"errors"
	"fmt"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// OAuthOptions say how the user will come to the OAuth window. Without both of
// ReferralSource and ClientRedirectURL, those of the settings count; what else is
// nil or empty MX decides.
type OAuthOptions struct {
	ReferralSource            string // BROWSER, APP or empty
	ClientRedirectURL         string // where the user lands afterwards; only with APP
	EnableApp2App             *bool  // whether the bank's own app may be opened
	SkipAggregation           *bool  // whether not to aggregate once the user has authorized
	UIMessageWebviewURLScheme string // scheme of the app whose web view shows the window
}

// Errors of [Service.OAuthURI] that asking again does not mend.
var (
	ErrNotFound  = errors.New("mx knows no such member")
	ErrNoURI     = errors.New("mx gives no uri for this member")
	ErrForbidden = errors.New("mx does not let this client ask for uris")
)

// OAuthURI has MX generate a URI to send the member's user to. user and member
// are guids or the partner's own ids. It asks once, within the limits of all
// other calls, and waits for its turn among the commands that somebody waits for. While
// the breaker is open it asks only when a probe is due, which it is then; when it opens
// while this waits, nothing is asked.
// The URI is for whoever asked alone: it is neither kept nor logged. Errors other
// than those above mean that MX cannot say at present.
func (s *Service) OAuthURI(ctx context.Context, user, member string, o OAuthOptions) (string, error) {
	j := Job{Command: events.Command{User: user, Member: member}}
	var uri string
	err := s.request(ctx, j.turn(), func(ctx context.Context) (err error) {
		uri, err = s.MX.OAuthWindowURI(ctx, user, member, mx.OAuthOptions(o))
		return err //nolint:wrapcheck // It says which call it was.
	})
	switch mx.KindOf(err) {
	case mx.NotFound:
		return "", fmt.Errorf("%w: %w", ErrNotFound, err)
	case mx.Forbidden:
		return "", fmt.Errorf("%w: %w", ErrForbidden, err)
	case mx.BadRequest, mx.Conflict, mx.Unprocessable:
		return "", fmt.Errorf("%w: %w", ErrNoURI, err)
	case mx.None, mx.Unauthorized, mx.NotAcceptable, mx.RateLimited, mx.Unavailable,
		mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection, mx.Canceled:
	}
	if errors.Is(err, mx.ErrNoURI) {
		return "", fmt.Errorf("%w: %w", ErrNoURI, err)
	}
	return uri, err
}

// request makes the one call to MX that somebody outside waits for.
func (s *Service) request(ctx context.Context, about turnKey, ask func(context.Context) error) (err error) {
	question := func(ctx context.Context, c *call) {
		err = s.question(ctx, about.member, c, (*breaker).gaveURI, ask)
	}
	t, refusal := s.desk.receive(about, func(life context.Context, c *call) {
		asking, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		question(asking, c)
	})
	switch {
	case refusal != nil:
		return refusal
	case t == nil:
		c := &call{desk: s.desk, key: about, guest: true}
		defer c.end()
		question(ctx, c)
		return err
	}
	s.desk.await(ctx, t)
	switch {
	case !t.errand.refused:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("waiting to ask MX: %w", context.Cause(ctx))
	}
	return errSuspended
}
