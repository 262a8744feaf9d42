package mxsim

import (
	"fmt"
	"iter"
	"maps"
	"strconv"
)

// Bulk describes many members at once. Its users have the ids
// <IDPrefix>user-<n> and its members <IDPrefix>member-<n>, n counting all
// users or members of the simulator. In nasty mode some members have null
// where MX's published description allows it.
type Bulk struct {
	Users          int    `json:"users"`
	MembersPerUser int    `json:"members_per_user"`
	Status         string `json:"status"` // empty: as Member says
	IDPrefix       string `json:"id_prefix"`
	NoIDs          bool   `json:"no_ids"` // neither users nor members have ids
	Member         Patch  `json:"member"` // as for AddMember, but for guid and id
}

// Ref names a member.
type Ref struct {
	UserGUID string `json:"user_guid"`
	GUID     string `json:"member_guid"`
}

// AddBulk adds users with members, and returns the members in order.
func (s *Server) AddBulk(b Bulk) ([]Ref, error) {
	if b.Users < 0 || b.MembersPerUser < 0 {
		return nil, fmt.Errorf("%w: a negative number of users or members", ErrInvalid)
	}
	p := Patch{}
	maps.Copy(p, b.Member)
	if b.Status != "" {
		p["connection_status"] = b.Status
	}
	checked, err := p.compile(false)
	if err != nil {
		return nil, err
	}
	if checked.has("id") {
		return nil, fmt.Errorf("%w: members in bulk cannot share an id", ErrInvalid)
	}
	template := s.template(checked)
	nasty := s.live.Load().Nasty

	refs := make([]Ref, 0, b.Users*b.MembersPerUser)
	d := &s.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	for range b.Users {
		u, err := d.addUser(User{ID: b.id("user-", len(d.byGUID))})
		if err != nil {
			return refs, err
		}
		u.members = make([]*member, 0, b.MembersPerUser)
		for range b.MembersPerUser {
			t, id := template, b.id("member-", len(d.order))
			if nasty {
				t.forget(mix(d.seed^uint64(len(d.order))), checked)
				if mix(d.seed+uint64(len(d.order)))%5 == 0 {
					id = nil
				}
			}
			m, err := s.addMember(u, t, checked, "", id)
			if err != nil {
				return refs, err
			}
			refs = append(refs, Ref{UserGUID: u.GUID, GUID: m.guid})
		}
	}
	return refs, nil
}

func (b *Bulk) id(kind string, n int) *string {
	if b.NoIDs {
		return nil
	}
	return new(b.IDPrefix + kind + strconv.Itoa(n+1))
}

// forget makes some fields null, chosen by the bits of dice, that the patch
// says nothing about.
func (c *Member) forget(dice uint64, p *patch) {
	for i, name := range []string{
		"is_manual", "is_managed_by_user", "background_aggregation_is_disabled", "needs_updated_credentials",
		"institution_guid", "institution_code", "use_cases", "aggregated_at", "connection_status_message",
	} {
		if dice>>(2*i)&3 == 0 && !p.has(name) {
			var none Member
			copyField(name, c, &none)
		}
	}
}

// Refs names every member that was ever added, in order. Synthetic members
// are not among them.
func (s *Server) Refs() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for _, m := range s.dir.all() {
			if !m.synthetic && !yield(Ref{UserGUID: m.user.GUID, GUID: m.guid}) {
				return
			}
		}
	}
}

// Flip says how to change half of all members at once.
type Flip struct {
	From string `json:"from"` // empty: CONNECTED
	To   string `json:"to"`   // empty: DEGRADED
	Half uint   `json:"half"` // 0 or 1: which half, by order of creation
}

// Flip changes the status of every second member: those with status From get
// To, all others get From. It returns how many it changed.
func (s *Server) Flip(f Flip) int {
	if f.From == "" {
		f.From = "CONNECTED"
	}
	if f.To == "" {
		f.To = "DEGRADED"
	}
	flipped := 0
	for _, m := range s.dir.all() {
		if m.synthetic || m.seq%2 != uint64(f.Half)&1 {
			continue
		}
		m.mu.Lock()
		if !m.deleted {
			m.flip(f)
			flipped++
		}
		m.mu.Unlock()
	}
	return flipped
}

func (m *member) flip(f Flip) {
	to := f.From
	if m.cur.ConnectionStatus != nil && *m.cur.ConnectionStatus == f.From {
		to = f.To
	}
	m.change(func(c *Member) { c.setStatus(to) })
	m.stop()
}
