package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

const (
	// sweepSpan is how many sequences phase known looks at at once, and sweepMost in
	// one step unless it has visited sweepVisits users before: few enough that a step
	// made again costs little, enough that a stream with a long history is passed quickly.
	sweepSpan   = 256
	sweepMost   = 4096
	sweepVisits = 100
	// maxSkipped is how many pages of users in a row may fail, each for itself, before
	// the list is given up.
	maxSkipped = 3
)

// sweep is a step of a sweep.
func (w *Walker) sweep(ctx context.Context, attempt uint64, state []byte) ([]byte, time.Duration, error) {
	var s Sweep
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, 0, fmt.Errorf("reading sweep: %w", err)
	}
	if s.Outcome != "" {
		return state, -1, nil
	}
	after := time.Duration(0)
	busy, err := w.busy(ctx)
	if s.Waiting = busy; busy {
		after = backlogPause
	} else if err == nil {
		err = w.phase(ctx, &s, attempt)
	}
	if err != nil {
		return nil, 0, err
	}
	s.UpdatedAt = w.Now().UTC()
	if s.Outcome != "" {
		after = -1
		c := &s.Counts
		w.Log.Info("sweep over", "id", s.ID, "outcome", string(s.Outcome), "users", c.Visited, "members", c.Members,
			"new", c.New, "changed", c.Changed, "missing", c.Missing, "asked", c.Asked, "errors", c.Errors)
	}
	next, err := s.encode()
	return next, after, err
}

func (w *Walker) phase(ctx context.Context, s *Sweep, attempt uint64) error {
	switch s.Phase {
	case PhaseUser:
		return w.oneUser(ctx, s)
	case PhaseNew:
		return w.newUsers(ctx, s, attempt)
	case PhaseKnown:
		return w.knownUsers(ctx, s)
	case PhaseOver:
	}
	s.finish(w.Now(), Completed)
	return nil
}

// oneUser is the whole of a sweep of one user.
func (w *Walker) oneUser(ctx context.Context, s *Sweep) error {
	user := s.Spec.User
	if !events.IsUserGUID(user) {
		err := w.ask(ctx, user, func(ctx context.Context) error {
			u, err := w.Lists.UserByID(ctx, user)
			user = u.GUID
			return err //nolint:wrapcheck // It says what it was doing.
		})
		switch {
		case notFound(err):
			s.note("MX knows no user with this id; of one that is deleted give the guid")
			s.finish(w.Now(), Failed)
			return nil
		case err != nil && !itsOwn(ctx, err):
			return err
		case err != nil:
			s.note(err.Error())
			s.finish(w.Now(), Failed)
			return nil
		}
	}
	v, err := w.visit(ctx, s, user)
	if err != nil {
		return err
	}
	s.take(v)
	if v.unknown {
		s.note("MX knows no such user, and no member of it is known")
		s.finish(w.Now(), Failed)
		return nil
	}
	s.finish(w.Now(), Completed)
	return nil
}

// newUsers takes one page of MX's users, and visits those who have no event up to
// where the event stream ended when the sweep began.
func (w *Walker) newUsers(ctx context.Context, s *Sweep, attempt uint64) error {
	if s.Page == 1 && s.End == 0 {
		_, last, err := w.Known.Bounds(ctx)
		if err != nil {
			return err //nolint:wrapcheck // It says what it was doing.
		}
		s.End = last
	}
	var page mx.Page[mx.User]
	err := w.ask(ctx, "", func(ctx context.Context) (err error) {
		page, err = w.Lists.UsersPage(ctx, s.Page)
		return err //nolint:wrapcheck // It says what it was doing.
	})
	switch {
	case err == nil:
	case !itsOwn(ctx, err) && !notFound(err) || attempt < tries:
		return fmt.Errorf("page %d of users: %w", s.Page, err)
	default:
		// It fails alone, time and again: what is behind it must not wait for ever.
		s.Counts.Errors++
		s.note(fmt.Sprintf("page %d of users: %v", s.Page, err))
		s.Page, s.Before, s.Skipped = s.Page+1, 0, s.Skipped+1
		if s.Skipped == maxSkipped {
			s.enter(w.Now(), PhaseKnown)
		}
		return nil
	}
	s.Skipped = 0
	if page.Total < s.Total && s.Page > 1 {
		// Users have been deleted, so those behind have moved up: some onto the page
		// before, which is looked at again.
		s.Counts.Users -= s.Before
		s.Page, s.Before, s.Total = s.Page-1, 0, page.Total
		return nil
	}
	total, err := visitAll(ctx, w, s, page.Records, func(ctx context.Context, u mx.User) (string, bool, error) {
		first, err := w.Known.FirstOfUser(ctx, u.GUID)
		return u.GUID, first == 0 || first > s.End, err //nolint:wrapcheck // It says what it was doing.
	})
	if err != nil {
		return err
	}
	for _, bad := range page.Bad {
		total.fail(fmt.Sprintf("page %d of users", s.Page), bad)
	}
	s.take(total)
	s.Before = len(page.Records) + len(page.Bad)
	s.Counts.Users += s.Before
	s.Total, s.Page = page.Total, s.Page+1
	if page.Last {
		s.enter(w.Now(), PhaseKnown)
	}
	return nil
}

// knownUsers goes a stretch along the event stream, and visits each user where the
// oldest event of its members stands.
func (w *Walker) knownUsers(ctx context.Context, s *Sweep) error {
	if s.First == 0 {
		first, _, err := w.Known.Bounds(ctx)
		if err != nil {
			return err //nolint:wrapcheck // It says what it was doing.
		}
		s.First, s.Cursor = max(1, first), max(1, first)
	}
	var total visit
	for begun := s.Cursor; s.Cursor <= s.End && s.Cursor < begun+sweepMost && total.Visited < sweepVisits; {
		to := min(s.Cursor+sweepSpan, s.End+1)
		entries, err := w.scan(ctx, s.Cursor, to)
		if err != nil {
			return err
		}
		entries = firsts(entries, func(e entry) string { return e.key.User() })
		v, err := visitAll(ctx, w, s, entries, func(ctx context.Context, e entry) (string, bool, error) {
			first, err := w.Known.FirstOfUser(ctx, e.key.User())
			return e.key.User(), first == e.seq, err //nolint:wrapcheck // It says what it was doing.
		})
		if err != nil {
			return err
		}
		total.add(v)
		s.Cursor = to
	}
	s.take(total)
	if s.Cursor > s.End {
		s.finish(w.Now(), Completed)
	}
	return nil
}

func notFound(err error) bool {
	return mx.KindOf(err) == mx.NotFound && !errors.Is(err, refresh.ErrUnavailable)
}
