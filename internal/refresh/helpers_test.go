package refresh_test

import (
	"bytes"
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

func decimal(n int) string { return strconv.Itoa(n) }

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

// uriOf is the OAuth URI that a read of a member would show.
func uriOf(t *testing.T, r *refreshtest.Rig, k events.Key) string {
	t.Helper()
	truth, err := r.Sim.Truth(k.Member())
	if err != nil {
		t.Fatal(err)
	}
	if uri := truth.Member.OAuthWindowURI; uri != nil && *uri != "" {
		return *uri
	}
	t.Fatal("the member has no URI")
	return ""
}

// clock is a clock that a test can put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }

// setClock gives all workers the time of c.
func setClock(c *clock) func(int, *refresh.Deps) {
	return func(_ int, d *refresh.Deps) { d.Now = c.Now }
}

// states lets a test step between the service and the event stream.
type states struct {
	refresh.States
	append func(context.Context, *events.Event, uint64) (uint64, error)
}

func (s *states) Append(ctx context.Context, e *events.Event, after uint64) (uint64, error) {
	return s.append(ctx, e, after)
}

// announcements lets a test step between the service and the OAuth stream.
type announcements struct {
	refresh.Announcements
	announce func(context.Context, events.Event) error
}

func (a *announcements) Announce(ctx context.Context, e events.Event) error {
	return a.announce(ctx, e)
}

// readers lets a test step between the service and MX.
type readers struct {
	refresh.MX
	read func(ctx context.Context, user, member string) (mx.Member, error)
}

func (m *readers) ReadMember(ctx context.Context, user, member string) (mx.Member, error) {
	return m.read(ctx, user, member)
}

// rival publishes an event of a member as another worker would.
func rival(ctx context.Context, t *testing.T, r *refreshtest.Rig, k events.Key, revision uint64, s events.Status) {
	t.Helper()
	e := events.New(r.Subjects, s.Type(), k, events.Data{
		Member:  events.Member{GUID: k.Member(), UserGUID: k.User(), ConnectionStatus: &s},
		Changed: []string{"connection_status"}, Revision: revision, ObservedAt: time.Now().UTC(),
	})
	body, err := e.Encode()
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := r.JS.Publish(ctx, r.Subjects.Event(e.Type, k), body); err != nil {
		t.Error(err)
	}
}

// addUser adds a user with an id of the partner's own.
func addUser(t *testing.T, r *refreshtest.Rig, id string) mxsim.User {
	t.Helper()
	u, err := r.Sim.AddUser(mxsim.User{ID: &id})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// addNamed adds a member with an id of the partner's own.
func addNamed(t *testing.T, r *refreshtest.Rig, u mxsim.User, id, status string) events.Key {
	t.Helper()
	m, err := r.Sim.AddMember(u.GUID, mxsim.Patch{"id": id, "connection_status": status})
	if err != nil {
		t.Fatal(err)
	}
	k, err := events.NewKey(m.UserGUID, m.GUID)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// remove deletes a member at MX.
func remove(t *testing.T, r *refreshtest.Rig, k events.Key) {
	t.Helper()
	if err := r.Sim.Delete(k.Member()); err != nil {
		t.Fatal(err)
	}
}

// restore brings a member back at MX.
func restore(t *testing.T, r *refreshtest.Rig, k events.Key) {
	t.Helper()
	if err := r.Sim.Restore(k.Member()); err != nil {
		t.Fatal(err)
	}
}
