package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// visit is what was seen at users.
type visit struct {
	Counts
	note    string // the last error
	unknown bool   // neither MX nor the event stream has anything about the user
}

func (v *visit) add(o visit) {
	v.Counts.add(o.Counts)
	if o.note != "" {
		v.note = o.note
	}
}

// fail counts what could not be looked at.
func (v *visit) fail(what string, err error) {
	v.Errors++
	v.note = what + ": " + err.Error()
}

// visitAll visits those of some users whose turn it is, several at once. turn
// returns a user's guid and whether it is its turn.
func visitAll[T any](ctx context.Context, w *Walker, s *Sweep, users []T, turn func(context.Context, T) (string, bool, error)) (visit, error) {
	var mu sync.Mutex
	var total visit
	err := each(ctx, users, func(ctx context.Context, u T) error {
		user, now, err := turn(ctx, u)
		if err != nil || !now {
			return err
		}
		v, err := w.visit(ctx, s, user)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		total.add(v)
		return nil
	})
	return total, err
}

// visit lists a user's members at MX, and asks for a refresh of those that a
// read would find new, different or gone. A list that MX does not give, while it
// answers others well, is counted as an error. The error returned is one after
// which the step has to be made again.
func (w *Walker) visit(ctx context.Context, s *Sweep, user string) (visit, error) {
	v := visit{Counts: Counts{Visited: 1}}
	listed := make(map[string]struct{})
	for n := 1; ; n++ {
		var page mx.Page[mx.Member]
		err := w.ask(ctx, user, func(ctx context.Context) (err error) {
			page, err = w.Lists.MembersPage(ctx, user, n)
			return err //nolint:wrapcheck // It says what it was doing.
		})
		if notFound(err) { // the user is deleted, or the last members of a page have gone
			v.unknown = n == 1
			break
		}
		if err != nil {
			if !itsOwn(ctx, err) {
				return v, err
			}
			v.fail("members of "+user, err)
			return v, nil // who is missing cannot be told
		}
		for _, bad := range page.Bad {
			v.fail("members of "+user, bad)
		}
		for i := range page.Records {
			m := &page.Records[i]
			if m.UserGUID != user {
				v.fail("members of "+user, fmt.Errorf("MX lists member %s of user %s", m.GUID, m.UserGUID))
				continue
			}
			listed[strings.Clone(m.GUID)] = struct{}{}
			if err := w.listed(ctx, s, &v, m); err != nil {
				return v, err
			}
		}
		if page.Last {
			break
		}
	}
	return v, w.unlisted(ctx, s, &v, user, listed)
}

// listed deals with a member that MX lists.
func (w *Walker) listed(ctx context.Context, s *Sweep, v *visit, m *mx.Member) error {
	if !s.Spec.covers(m.InstitutionCode, m.InstitutionGUID, m.ConnectionStatus) {
		return nil
	}
	v.Members++
	sight, err := w.Service.Compare(ctx, m)
	switch {
	case errors.Is(err, refresh.ErrUnreadable) || mx.KindOf(err) == mx.BadAnswer:
		v.fail("member "+m.GUID, err)
		return nil
	case err != nil:
		return err //nolint:wrapcheck // It says what it was doing.
	}
	switch sight {
	case refresh.Unchanged:
		v.Same++
		return nil
	case refresh.Unseen:
		v.New++
	case refresh.Different:
		v.Changed++
	}
	k, err := events.NewKey(m.UserGUID, m.GUID)
	if err != nil {
		return fmt.Errorf("naming member: %w", err)
	}
	return w.want(ctx, s, v, k)
}

// unlisted deals with the user's members that are known and that MX does not list.
func (w *Walker) unlisted(ctx context.Context, s *Sweep, v *visit, user string, listed map[string]struct{}) error {
	known, err := w.Known.MembersOf(ctx, user)
	if err != nil {
		return err //nolint:wrapcheck // It says what it was doing.
	}
	v.unknown = v.unknown && len(known) == 0
	for _, k := range known {
		if _, is := listed[k.Member()]; is {
			continue
		}
		last, _, err := w.States.Last(ctx, k)
		if errors.Is(err, refresh.ErrUnreadable) {
			v.fail("member "+k.Member(), err)
			continue
		}
		if err != nil {
			return err //nolint:wrapcheck // It says what it was doing.
		}
		m := &last.Data.Member
		if last.Data.Deleted || !s.Spec.covers(m.InstitutionCode, m.InstitutionGUID, (*string)(m.ConnectionStatus)) {
			continue
		}
		v.Missing++
		if err := w.want(ctx, s, v, k); err != nil {
			return err
		}
	}
	return nil
}

// want asks for a member's refresh, unless this is a dry run.
func (w *Walker) want(ctx context.Context, s *Sweep, v *visit, k events.Key) error {
	if s.Spec.DryRun {
		return nil
	}
	v.Asked++
	return w.Refreshes.Refresh(ctx, k, chainSweep, s.ID, s.ID+"-"+k.Member()) //nolint:wrapcheck // It says what it was doing.
}

// covers reports whether a member is within the filters. What is not known of it
// matches no filter.
func (f *Spec) covers(code, guid, status *string) bool {
	is := func(have *string, want string) bool { return have != nil && *have == want }
	return (f.Institution == "" || is(code, f.Institution) || is(guid, f.Institution)) &&
		(f.Status == "" || is(status, f.Status))
}
