package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Announcements is the OAuth stream as package refresh needs it.
type Announcements struct {
	js       jetstream.JetStream
	subjects events.Subjects
	states   *States
}

var _ refresh.Announcements = (*Announcements)(nil)

// maxAnnounceTries bounds how often an announcement is tried when rivals
// announce for the same member, or no answer comes.
const maxAnnounceTries = 3

// last returns the member's last announcement and its sequence; 0 when there is none.
func (a *Announcements) last(ctx context.Context, k events.Key) (events.Event, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := a.js.Stream(ctx, a.subjects.OAuthStream())
	if err != nil {
		return events.Event{}, 0, fmt.Errorf("looking at OAuth stream: %w", err)
	}
	m, err := s.GetLastMsgForSubject(ctx, a.subjects.OAuthOf(k))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return events.Event{}, 0, nil
	}
	if err != nil {
		return events.Event{}, 0, fmt.Errorf("asking for last announcement: %w", err)
	}
	e, err := events.Decode(m.Data)
	if err != nil {
		return events.Event{}, m.Sequence, nil // an unreadable announcement is replaced by the next
	}
	return e, m.Sequence, nil
}

// settles reports whether last, which may be none, leaves nothing to do for a: it is
// the same, or of a later event of the same life. Events that were purged or rolled
// back begin again at revision 1, and what was announced of them stays for a while;
// their revisions say nothing about a, and times are those of two workers' clocks. The
// event stream tells the lives apart: a revision that it has not reached is a former
// one's. Without an event there what was observed later is later.
func (a *Announcements) settles(ctx context.Context, last, e *events.Event) (bool, error) {
	if last.ID == "" || last.ID == e.ID {
		return last.ID == e.ID, nil
	}
	have, want := &last.Data, &e.Data
	if have.Revision < want.Revision && have.ObservedAt.Before(want.ObservedAt) {
		return false, nil // the usual case, at no cost
	}
	now, seq, err := a.states.Last(ctx, e.Key)
	switch {
	case errors.Is(err, refresh.ErrUnreadable), err == nil && seq == 0:
		return have.ObservedAt.After(want.ObservedAt), nil
	case err != nil:
		return false, fmt.Errorf("asking whose life an announcement is of: %w", err)
	case now.Announcement("").ID == e.ID:
		return false, nil // it is the member's last event that is to be announced
	}
	reached := now.Data.Revision
	return want.Revision > reached || have.Revision >= want.Revision && have.Revision <= reached, nil
}

// Announced implements refresh.Announcements.
func (a *Announcements) Announced(ctx context.Context, e events.Event) (bool, error) {
	last, _, err := a.last(ctx, e.Key)
	if err != nil {
		return false, err
	}
	return a.settles(ctx, &last, &e)
}

// Announce implements refresh.Announcements. The announcement's id is its
// message id: the stream's duplicate window is as long as its messages live, so
// not even a late second write of the same announcement is stored.
func (a *Announcements) Announce(ctx context.Context, e events.Event) error {
	body, err := e.Encode()
	if err != nil {
		return err //nolint:wrapcheck // It says what could not be encoded.
	}
	for try := 1; ; try++ {
		last, seq, err := a.last(ctx, e.Key)
		if err != nil {
			return err
		}
		if settled, err := a.settles(ctx, &last, &e); settled || err != nil {
			return err
		}
		_, err = publish(ctx, a.js, &nats.Msg{Subject: a.subjects.OAuthOf(e.Key), Data: body, Header: nats.Header{
			command.HeaderContentType:           {events.ContentType},
			jetstream.MsgIDHeader:               {e.ID},
			jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(seq, 10)},
		}})
		retry := errors.Is(err, refresh.ErrConflict) || errors.Is(err, refresh.ErrOutcomeUnknown)
		if err == nil || !retry || try == maxAnnounceTries {
			return err
		}
	}
}
