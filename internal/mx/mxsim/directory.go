package mxsim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// User is a user as MX shows it.
type User struct {
	GUID       string  `json:"guid"`
	ID         *string `json:"id"`
	Email      *string `json:"email"`
	IsDisabled bool    `json:"is_disabled"`
	Metadata   *string `json:"metadata"`
}

// user is guarded by directory.mu, but for its GUID, which never changes.
type user struct {
	User
	deleted bool
	members []*member          // those alive and not synthetic, in order of creation
	byID    map[string]*member // the deleted ones too, until the id is used again
}

// member is one member, alive or deleted.
type member struct {
	guid      string // immutable, as are the next three
	user      *user
	seq       uint64 // place in directory.order
	synthetic bool   // named by a status

	mu      sync.Mutex // guards what follows; taken after directory.mu
	cur     *Member
	deleted bool
	life    *life  // nil for a member that nothing is planned for
	answers uint64 // given so far, which varies their form
	uris    uint64 // generated so far
	lastN   uint64 // number of its latest answer in the journal
	last    *entry // that answer, in mode LogLast
}

// directory finds users and members.
type directory struct {
	mu      sync.RWMutex
	seed    uint64
	made    uint64 // guids generated so far
	users   []*user
	byGUID  map[string]*user
	byID    map[string]*user
	members map[string]*member // by guid
	order   []*member          // all, in order of creation
}

func newDirectory(seed uint64) directory {
	return directory{
		seed:    seed,
		byGUID:  make(map[string]*user),
		byID:    make(map[string]*user),
		members: make(map[string]*member),
	}
}

// newGUID wants d.mu held.
func (d *directory) newGUID(prefix string) string {
	d.made++
	hi := mix(d.seed ^ d.made)
	return guid(prefix, hi, mix(hi^d.made<<1))
}

// guid has the form of MX's: a prefix and a version 4 UUID.
func guid(prefix string, hi, lo uint64) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	b := make([]byte, 0, 40)
	b = append(b, prefix...)
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, raw[:n])
		copy(raw[:], raw[n:])
	}
	return string(b)
}

// syntheticGUID depends on nothing but the user and the status, so that such a
// member outlives a restart of the simulator.
func syntheticGUID(userGUID, status string) string {
	sum := sha256.Sum256([]byte(userGUID + "/" + status))
	return guid("MBR-", binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:]))
}

// find resolves a user and a member, each by guid or by id. A user that was
// deleted is found, and so is its member, so that the journal knows whom a 404
// was about.
func (d *directory) find(userName, memberName string) (*user, *member) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	u := d.byGUID[userName]
	if u == nil {
		u = d.byID[userName]
	}
	if u == nil || memberName == "" {
		return u, nil
	}
	if m := d.members[memberName]; m != nil && m.user == u {
		return u, m
	}
	return u, u.byID[memberName]
}

// statusOf says which status a member name that was not found stands for: by
// that status's name, or by the guid of this user's synthetic member.
func statusOf(u *user, memberName string) string {
	byGUID := strings.HasPrefix(memberName, "MBR-")
	for _, status := range Statuses() {
		if byGUID && syntheticGUID(u.GUID, status) == memberName || strings.EqualFold(status, memberName) {
			return status
		}
	}
	return ""
}

// insert adds a member, which must have a guid. It wants d.mu held.
func (d *directory) insert(u *user, cur *Member, synthetic bool) (*member, error) {
	if old := d.members[cur.GUID]; old != nil {
		return nil, fmt.Errorf("member %s: %w", cur.GUID, ErrExists)
	}
	if err := u.claim(nil, cur.ID); err != nil {
		return nil, err
	}
	m := &member{guid: cur.GUID, user: u, seq: uint64(len(d.order)), synthetic: synthetic, cur: cur}
	u.name(m, cur.ID)
	d.members[m.guid] = m
	d.order = append(d.order, m)
	if !synthetic {
		u.members = append(u.members, m)
	}
	return m, nil
}

// claim checks that m may have this id.
func (u *user) claim(m *member, id *string) error {
	if blank(id) {
		return nil
	}
	if err := checkID(*id); err != nil {
		return err
	}
	if holder := u.byID[*id]; holder != nil && holder != m && slices.Contains(u.members, holder) {
		return fmt.Errorf("member id %q: %w", *id, ErrExists)
	}
	return nil
}

// checkID refuses ids that begin as guids do, as MX does.
func checkID(id string) error {
	for _, prefix := range []string{"USR-", "MBR-"} {
		if strings.HasPrefix(id, prefix) {
			return fmt.Errorf("%w: id %q begins with %s, as guids alone do", ErrInvalid, id, prefix)
		}
	}
	return nil
}

func (u *user) name(m *member, id *string) {
	if blank(id) {
		return
	}
	if u.byID == nil {
		u.byID = make(map[string]*member)
	}
	u.byID[*id] = m
}

// all is every member, alive or deleted, in order of creation.
func (d *directory) all() []*member {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.order)
}

// known is the member with this guid, alive or deleted.
func (d *directory) known(guid string) (*member, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	m := d.members[guid]
	if m == nil {
		return nil, fmt.Errorf("member %q: %w", guid, ErrNotFound)
	}
	return m, nil
}

// knownUser is the user with this guid that was not deleted. It wants d.mu
// held.
func (d *directory) knownUser(guid string) (*user, error) {
	u := d.byGUID[guid]
	if u == nil || u.deleted {
		return nil, fmt.Errorf("user %q: %w", guid, ErrNotFound)
	}
	return u, nil
}
