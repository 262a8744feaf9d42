package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

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
		if given, err = c.fetchURI(ctx, last.unannounced); err != nil {
			return err
		}
	}
	err := c.tell(ctx, last, given)
	if errors.Is(err, ErrTooLarge) && given != "" {
		c.Log.Warn("an announcement is too large for NATS with its URI, and goes without; raise max_payload",
			"member", c.key.Member(), "uri_bytes", len(given), "error", err)
		given = ""
		err = c.tell(ctx, last, given)
	}
	if err != nil {
		return fmt.Errorf("announcing: %w", err)
	}
	c.metrics.announced(given != "")
	c.announced(last)
	return nil
}

// tell publishes the announcement with the URI given, or without one.
func (c *cycle) tell(ctx context.Context, last *known, given string) error {
	a := last.unannounced.Announcement(given)
	ctx, sent := c.publishing(ctx, &a)
	err := c.Announcements.Announce(ctx, a)
	sent.done(err)
	return err //nolint:wrapcheck // announce does.
}

// announced remembers that nothing is left to announce.
func (c *cycle) announced(last *known) {
	c.refusals.forget(last.unannounced.ID)
	last.unannounced = nil
	c.memory.remember(c.key, c.epoch, last)
}

// fetchURI asks MX for a URI to send the user to, for the announcement of an event.
// It returns "" when MX will not give one or fails twice: the announcement goes out
// without. An error means that MX may not be asked at present, and the announcement
// has to wait; that MX itself says so counts as a failure, and that there is no room for
// the call counts after a failure, and once the need is no longer new (ADR 0021).
func (c *cycle) fetchURI(ctx context.Context, e *events.Event) (string, error) {
	for failed := false; ; failed = true {
		switch err := c.call.beginBeside(ctx); {
		case errors.Is(err, errNoRoom) && (failed || c.now().Sub(e.Data.ObservedAt) >= c.cfg.OAuthURITTL/roomWait):
			return "", nil
		case err != nil:
			return "", err
		}
		uri, err := c.MX.OAuthWindowURI(ctx, c.key.User(), c.key.Member(), mx.OAuthOptions{})
		if classify(err) == blameMX {
			c.note(c.call.answered(err), err) // overloaded or down: it is so for reads, too
		} else {
			c.call.done()
		}
		switch mx.KindOf(err) {
		case mx.None:
			if err == nil {
				return uri, nil
			}
		case mx.RateLimited, mx.Unavailable:
			if failed || c.refusals.again(e.ID) {
				return "", nil
			}
			return "", err //nolint:wrapcheck // It says which call failed.
		case mx.Canceled:
			return "", err //nolint:wrapcheck // As above.
		case mx.Unauthorized, mx.Forbidden, mx.NotAcceptable:
			return "", nil // closed to this client; of our credentials reads tell
		case mx.BadRequest, mx.NotFound, mx.Conflict, mx.Unprocessable:
			return "", nil // MX will not, or not for this member; asking again changes nothing
		case mx.ServerFailed, mx.BadAnswer, mx.Timeout, mx.Connection:
		}
		if failed || errors.Is(err, mx.ErrNoURI) {
			return "", nil
		}
	}
}

// roomWait: an announcement waits for room among the calls beside reads for one in so
// many of OAUTH_URI_TTL. Until it is made its member is not read, and who still waits
// then does so because the endpoint hangs or is slow.
const roomWait = 10

// refusals remembers for which events MX was too busy, or down, to give a URI. The
// second time the announcement goes out without: an endpoint that has a limit of
// its own may be closed for as long as anybody could use the URI.
type refusals struct {
	mu  sync.Mutex
	met *simplelru.LRU[string, struct{}] // by event id
}

// refusalsSize bounds for how many events it is remembered. The breaker opens with
// the first of them, so they are few. One that is pushed out waits once more.
const refusalsSize = 1024

func newRefusals() *refusals {
	l, err := simplelru.NewLRU[string, struct{}](refusalsSize, nil)
	if err != nil {
		panic(err) // Only for a size below 1.
	}
	return &refusals{met: l}
}

// again notes a refusal, and reports whether it is not the event's first.
func (r *refusals) again(eventID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.met.Contains(eventID) {
		return true
	}
	r.met.Add(eventID, struct{}{})
	return false
}

// forget forgets an event that is announced, or need not be any more.
func (r *refusals) forget(eventID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.met.Remove(eventID)
}
