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
// other calls; while the breaker is open only when a probe is due, which it is then.
// The URI is for whoever asked alone: it is neither kept nor logged. Errors other
// than those above mean that MX cannot say at present.
func (s *Service) OAuthURI(ctx context.Context, user, member string, o OAuthOptions) (string, error) {
	j := Job{Command: events.Command{User: user, Member: member}}
	c := &call{desk: s.desk, key: j.turn(), guest: true}
	defer c.end()
	if err := c.begin(ctx); err != nil {
		return "", err
	}
	uri, err := s.MX.OAuthWindowURI(ctx, user, member, mx.OAuthOptions(o))
	if t := c.tell(err, (*breaker).gaveURI); t != unmoved {
		s.note(t, err)
	}
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
