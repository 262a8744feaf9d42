package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// needs tells whether a member in state s must have the need to authorize, and
// whether it may. In between the URI of the read decides, which no event shows.
func (c *checker) needs(s state) (must, may bool) {
	v := &c.vocabulary
	if s[fIsOAuth] != v.yes || s[fDeleted] == v.yes {
		return false, false
	}
	status, code := plain(s[fStatus]), compared(s[fError]).code
	if v.remedy[status] || code == "2004" || code == "2005" {
		return true, true
	}
	return false, !v.settled[status]
}

// checkNeed holds oauth_required against the state it is drawn from.
func (c *checker) checkNeed(m message, e event, before state) {
	v := &c.vocabulary
	must, may := c.needs(e.now)
	is, was := e.now[fOAuthRequired] == v.yes, !e.first && before[fOAuthRequired] == v.yes
	aggregating := e.now[fIsBeingAggregated] == v.yes
	if is && !was && !must && aggregating {
		may = false
	}
	// A URI that goes blank does not end the need while status and error stay as they are.
	stays := was && may && !aggregating && before[fIsOAuth] == v.yes && before[fStatus] == e.now[fStatus] &&
		compared(before[fError]) == compared(e.now[fError])
	if is && !may || !is && (must || stays) {
		c.blame(I5, m, e.key(), "oauth_required is %t with is_oauth %s, connection_status %s, error %s, is_being_aggregated %s, deleted %s; it was %t",
			is, e.now[fIsOAuth].Value(), e.now[fStatus].Value(), compared(e.now[fError]), e.now[fIsBeingAggregated].Value(), e.now[fDeleted].Value(), was)
	}
}

// announcement takes the next message of the OAuth stream. The event stream was
// read as it was at scanned, so that what it lacks may simply have come later.
func (c *checker) announcement(m message, scanned time.Time) {
	c.report.Announcements++
	e, ok := c.read(m, true)
	if !ok {
		return
	}
	wrong := func(format string, args ...any) { c.blame(I5, m, e.key(), format, args...) }
	if e.uri == "" {
		c.report.WithoutURI++
	}
	if c.repeated(e.id) {
		c.blame(I2, m, e.key(), "id %s is on a stream already", e.id)
	}
	if id := m.header["Nats-Msg-Id"]; len(id) > 0 && !slices.Equal(id, []string{e.id}) {
		c.blame(Form, m, e.key(), "header Nats-Msg-Id is %q, want the id, %s", id, e.id)
	}
	if e.now[fOAuthRequired] != c.vocabulary.yes {
		wrong("announces a need, and oauth_required is false")
	}
	l, known := c.lives[e.key()]
	switch {
	case !known || e.revision > l.revision:
		if !m.stored.After(scanned) {
			wrong("announces revision %d, which is not on the event stream", e.revision)
		}
	case e.revision == l.need.revision:
		l.need.announced = true
		if c.hash(e.data) != l.need.data {
			wrong("announces revision %d with other data than that event's", e.revision)
		}
	case e.revision < l.need.revision:
		// The announcement of an earlier need; whether the last one lacks its own is seen at the end.
	case c.opts.Trimmed:
		l.need.announced = true // that of a later need has replaced it, and the event of that one is trimmed
	default:
		wrong("announces revision %d, by which no need arose", e.revision)
	}
}

// missingAnnouncements reports needs that should be on the OAuth stream still.
func (c *checker) missingAnnouncements(ctx context.Context, js jetstream.JetStream) error {
	s, err := js.Stream(ctx, c.oauth)
	if err != nil {
		return fmt.Errorf("looking up stream %s: %w", c.oauth, err)
	}
	maxAge, now := s.CachedInfo().Config.MaxAge, s.CachedInfo().TimeStamp
	for _, key := range slices.Sorted(maps.Keys(c.lives)) {
		n := c.lives[key].need
		if n.revision == 0 || n.announced || maxAge > 0 && now.Sub(n.stored) >= maxAge {
			continue
		}
		c.offend(Offense{I5, c.events, n.seq, key, fmt.Sprintf("revision %d began a need that is not announced", n.revision)})
	}
	return nil
}

// hash is of the data but the URI, whatever its white space.
func (c *checker) hash(data object) uint64 {
	all := make(map[string]any, len(data.names))
	for i, name := range data.names {
		var v any
		if err := json.Unmarshal(data.values[i], &v); err == nil && name != "oauth_window_uri" {
			all[name] = v
		}
	}
	return maphash.String(c.seed, encode(all).Value())
}
