package mxsim

import (
	"fmt"
	"iter"
	"slices"
)

// AddUser adds a user. A GUID is made up when u has none.
func (s *Server) AddUser(u User) (User, error) {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	added, err := d.addUser(u)
	if err != nil {
		return User{}, err
	}
	return added.User, nil
}

// addUser wants d.mu held.
func (d *directory) addUser(u User) (*user, error) {
	if u.GUID == "" {
		u.GUID = d.newGUID("USR-")
	}
	if d.byGUID[u.GUID] != nil {
		return nil, fmt.Errorf("user %s: %w", u.GUID, ErrExists)
	}
	if err := d.claim(nil, u.ID); err != nil {
		return nil, err
	}
	added := &user{User: u}
	d.users = append(d.users, added)
	d.byGUID[u.GUID] = added
	if !blank(u.ID) {
		d.byID[*u.ID] = added
	}
	return added, nil
}

// claim checks that u may have this id.
func (d *directory) claim(u *user, id *string) error {
	if blank(id) {
		return nil
	}
	if err := checkID(*id); err != nil {
		return err
	}
	if holder := d.byID[*id]; holder != nil && holder != u && !holder.deleted {
		return fmt.Errorf("user id %q: %w", *id, ErrExists)
	}
	return nil
}

// SetUser replaces what is known of the user with u's GUID. A new id shows in
// all members of the user.
func (s *Server) SetUser(u User) error {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	old, err := d.knownUser(u.GUID)
	if err != nil {
		return err
	}
	if err := d.claim(old, u.ID); err != nil {
		return err
	}
	if !blank(old.ID) && d.byID[*old.ID] == old {
		delete(d.byID, *old.ID)
	}
	old.ID, old.Email, old.IsDisabled, old.Metadata = u.ID, u.Email, u.IsDisabled, u.Metadata // GUID is read without lock
	if !blank(u.ID) {
		d.byID[*u.ID] = old
	}
	for _, m := range d.order {
		if m.user == old {
			m.mu.Lock()
			m.change(func(c *Member) { c.UserID = u.ID })
			m.mu.Unlock()
		}
	}
	return nil
}

// DeleteUser deletes a user with all members: 404 from now on.
func (s *Server) DeleteUser(guid string) error {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	u, err := d.knownUser(guid)
	if err != nil {
		return err
	}
	u.deleted = true
	u.members = nil
	d.users = slices.DeleteFunc(d.users, func(other *user) bool { return other == u })
	for _, m := range d.order {
		if m.user == u {
			m.mu.Lock()
			m.delete()
			m.mu.Unlock()
		}
	}
	return nil
}

// AddMember adds a member to a user. What p leaves open is as in a member that
// works: CONNECTED, successfully aggregated. A member with is_oauth and no
// status begins where MX begins it: PENDING, with a URI.
func (s *Server) AddMember(userGUID string, p Patch) (Member, error) {
	checked, err := p.compile(true)
	if err != nil {
		return Member{}, err
	}
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	u, err := d.knownUser(userGUID)
	if err != nil {
		return Member{}, err
	}
	m, err := s.addMember(u, s.template(checked), checked, checked.from.GUID, checked.from.ID)
	if err != nil {
		return Member{}, err
	}
	return *m.cur, nil
}

// template is the member that p describes, but for its names.
func (s *Server) template(p *patch) Member {
	now := second(s.now())
	t := Member{
		Name:                            new("Bank of Simulation"),
		InstitutionCode:                 new("simbank"),
		InstitutionGUID:                 new("INST-5eed0000-0000-4000-8000-000000000001"),
		IsOAuth:                         new(false),
		IsManual:                        new(false),
		IsManagedByUser:                 new(true),
		IsBeingAggregated:               new(false),
		BackgroundAggregationIsDisabled: new(false),
		NeedsUpdatedCredentials:         new(false),
		AggregatedAt:                    now,
		SuccessfullyAggregatedAt:        now,
		UseCases:                        []string{"PFM"},
		Version:                         1,
	}
	p.apply(&t)
	if p.has("connection_status") {
		return t
	}
	status := "CONNECTED"
	if isTrue(t.IsOAuth) {
		status = "PENDING"
		t.AggregatedAt, t.SuccessfullyAggregatedAt = p.from.AggregatedAt, p.from.SuccessfullyAggregatedAt
	}
	t.ConnectionStatus = &status
	if !p.has("connection_status_message") {
		t.ConnectionStatusMessage = messageFor(&status, t.Name)
	}
	return t
}

// addMember adds a copy of the template t. It wants dir.mu held.
func (s *Server) addMember(u *user, t Member, p *patch, guid string, id *string) (*member, error) {
	if guid == "" {
		guid = s.dir.newGUID("MBR-")
	}
	t.GUID, t.ID, t.UserGUID, t.UserID = guid, id, u.GUID, u.ID
	m, err := s.dir.insert(u, &t, false)
	if err != nil {
		return nil, err
	}
	if isTrue(t.IsOAuth) && t.ConnectionStatus != nil && *t.ConnectionStatus == "PENDING" && !p.has("oauth_window_uri") {
		t.OAuthWindowURI = new(m.newURI(nil))
	}
	if p.otherJob {
		m.plan().otherJob = true
	}
	return m, nil
}

// synthesize is the member that a status name, or the guid of such a member,
// stands for; nil when memberName is neither.
func (s *Server) synthesize(u *user, memberName string) *member {
	status := statusOf(u, memberName)
	if status == "" {
		return nil
	}
	p := Patch{"connection_status": status, "is_oauth": status == "PENDING", "use_cases": []string{"PFM"}}
	checked, err := p.compile(false)
	if err != nil { // cannot happen: the patch is ours
		return nil
	}
	guid := syntheticGUID(u.GUID, status)
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if u.deleted {
		return nil
	}
	if m := d.members[guid]; m != nil {
		return m
	}
	t := s.template(checked)
	t.GUID, t.UserGUID, t.UserID = guid, u.GUID, u.ID
	if status == "PENDING" {
		t.OAuthWindowURI = new(oauthURI(guid, 0, nil))
	}
	m, err := d.insert(u, &t, true)
	if err != nil { // cannot happen: the guid is free and there is no id
		return nil
	}
	return m
}

// Delete deletes a member: 404 from now on.
func (s *Server) Delete(guid string) error {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.members[guid]
	if m == nil {
		return fmt.Errorf("member %q: %w", guid, ErrNotFound)
	}
	m.user.members = slices.DeleteFunc(m.user.members, func(other *member) bool { return other == m })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delete()
	return nil
}

// Restore brings a deleted member back as it was.
func (s *Server) Restore(guid string) error {
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.members[guid]
	switch {
	case m == nil:
		return fmt.Errorf("member %q: %w", guid, ErrNotFound)
	case m.user.deleted:
		return fmt.Errorf("%w: the user of member %s is deleted", ErrInvalid, guid)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.deleted {
		return fmt.Errorf("member %s is alive: %w", guid, ErrExists)
	}
	if err := m.user.claim(m, m.cur.ID); err != nil {
		return err
	}
	m.user.name(m, m.cur.ID)
	m.deleted = false
	m.change(func(*Member) {})
	if !m.synthetic {
		m.user.members = append(m.user.members, m)
	}
	return nil
}

// delete wants m.mu held.
func (m *member) delete() {
	if m.deleted {
		return
	}
	m.deleted = true
	m.life = nil
	m.change(func(*Member) {}) // a deletion is a change: the version tells
}

// Truth is what a member is now.
type Truth struct {
	Member     Member `json:"member"`
	Status     int    `json:"status"`      // of a read that no fault meets: 200, or 404 when deleted
	Version    uint64 `json:"version"`     // of the member
	ScriptLeft int    `json:"script_left"` // steps
	Running    bool   `json:"running"`     // an aggregation or what follows an authorization
	Answers    uint64 `json:"answers"`     // given so far
}

// Truth tells what a read of the member would answer now, in plain form. It
// moves neither a script nor the count of reads until the member settles.
func (s *Server) Truth(guid string) (Truth, error) {
	m, err := s.dir.known(guid)
	if err != nil {
		return Truth{}, err
	}
	return s.truth(m), nil
}

// Truths tells the truth about every member, alive or deleted, in order of
// creation.
func (s *Server) Truths() iter.Seq[Truth] {
	return func(yield func(Truth) bool) {
		for _, m := range s.dir.all() {
			if !yield(s.truth(m)) {
				return
			}
		}
	}
}

func (s *Server) truth(m *member) Truth {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(s.now())
	t := Truth{Member: *m.cur, Status: 200, Version: m.cur.Version, Answers: m.answers}
	if m.deleted {
		t.Status = 404
	}
	if m.life != nil {
		t.ScriptLeft, t.Running = len(m.life.script), m.life.running
	}
	return t
}
