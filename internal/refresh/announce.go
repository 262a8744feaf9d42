package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
)

// mustAnnounce reports whether e began a need to authorize that may still be announced.
func (s *Service) mustAnnounce(e *events.Event) bool {
	return e.Data.OAuthRequired && slices.Contains(e.Data.Changed, events.FieldOAuthRequired) &&
		s.now().Sub(e.Data.ObservedAt) < s.cfg.OAuthURITTL
}

// announceOverdue makes sure that the need which the last event began is
// announced: the process that published it may have died before it could.
func (c *cycle) announceOverdue(ctx context.Context, last *known) error {
	if !c.mustAnnounce(last.unannounced) {
		c.announced(last) // nobody could use it any more
		return nil
	}
	done, err := c.Announcements.Announced(ctx, last.unannounced.Announcement(""))
	if err != nil {
		return fmt.Errorf("looking for announcement: %w", err)
	}
	if done {
		c.announced(last)
		return nil
	}
	return c.announce(ctx, last, "")
}

// announce is step 6. uri is what the read gave; when that is blank, MX is asked
// for one at its own endpoint.
func (c *cycle) announce(ctx context.Context, last *known, uri mx.URI) error {
	given := uri.Reveal()
	if uri.Blank() {
		var err error
		if given, err = c.fetchURI(ctx); err != nil {
			return err
		}
	}
	a := last.unannounced.Announcement(given)
	ctx, sent := c.publishing(ctx, &a)
	err := c.Announcements.Announce(ctx, a)
	sent.done(err)
	if err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	c.metrics.announced(given != "")
	c.announced(last)
	return nil
}

// announced remembers that nothing is left to announce.
func (c *cycle) announced(last *known) {
	last.unannounced = nil
	c.memory.remember(c.key, last)
}

// fetchURI asks MX for a URI to send the user to. It returns "" when MX will not
// give one or fails twice: the announcement goes out without. An error means
// that MX cannot be asked at present, and the announcement has to wait.
func (c *cycle) fetchURI(ctx context.Context) (string, error) {
	for range 2 {
		if err := c.call.begin(ctx); err != nil {
			return "", err
		}
		uri, err := c.MX.OAuthWindowURI(ctx, c.key.User(), c.key.Member(), mx.OAuthOptions{})
		if b := classify(err); b != blameUs && b != blameMX {
			c.call.done()
		}
		switch mx.KindOf(err) {
		case mx.None:
			if err == nil {
				return uri, nil
			}
		case mx.Unauthorized, mx.NotAcceptable, mx.RateLimited, mx.Unavailable:
			c.note(c.call.answered(err), err)
			return "", err
		case mx.Canceled:
			return "", err
		case mx.Forbidden:
			c.call.done()
			return "", nil // the feature is off for this client
		case mx.BadRequest, mx.NotFound, mx.Conflict, mx.Unprocessable:
			return "", nil // MX will not, or not for this member; asking again changes nothing
		case mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection:
		}
		if errors.Is(err, mx.ErrNoURI) {
			return "", nil
		}
	}
	return "", nil
}
