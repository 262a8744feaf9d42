package mxsim

import (
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// Entry is one answer about one member, for whoever judges afterwards. What it
// shows was decided between At and Done.
type Entry struct {
	N          uint64          `json:"n"`    // counts answers, in the order of Done
	At         time.Time       `json:"at"`   // the request arrived
	Done       time.Time       `json:"done"` // the answer was ready to be written: no client has it before
	UserGUID   string          `json:"user_guid"`
	MemberGUID string          `json:"member_guid"` // as asked for, when the member is unknown
	Endpoint   string          `json:"endpoint"`    // read, status, oauth_window_uri or aggregate
	Status     int             `json:"status"`      // 0: the client got no answer
	Fault      FaultKind       `json:"fault,omitempty"`
	Version    uint64          `json:"version,omitempty"` // of the member as answered
	Member     json.RawMessage `json:"member,omitempty"`  // as answered, with oauth_window_uri_blank for oauth_window_uri
}

// Arrived reports whether the client got the answer as the simulator meant it. Late is
// in time, as far as the simulator can tell, and another member's is somebody's.
func (e *Entry) Arrived() bool {
	switch e.Fault {
	case FaultCut, FaultCutHead, FaultHang, FaultTruncate, FaultOversize, FaultNonJSON:
		return false
	default:
		return true
	}
}

// entry is an Entry before anybody asks for it.
type entry struct {
	n, prev    uint64 // prev: the number of this member's entry before, if any
	at, done   time.Time
	userGUID   string
	memberGUID string
	cur        *Member // nil: the answer had none
	variant    uint64
	status     int
	endpoint   endpoint
	view       view
	nasty      bool
	fault      FaultKind
}

func (e *entry) public() Entry {
	out := Entry{
		N: e.n, At: e.at, Done: e.done, UserGUID: e.userGUID, MemberGUID: e.memberGUID,
		Endpoint: e.endpoint.String(), Status: e.status, Fault: e.fault,
	}
	if e.cur != nil {
		out.Version = e.cur.Version
		out.Member = appendMember(nil, e.cur, e.view, form{nasty: e.nasty, variant: e.variant, journal: true})
	}
	return out
}

// journal remembers answers: in mode LogAll in a ring, in mode LogLast with
// the member. Lists are not in it.
type journal struct {
	mode  atomic.Pointer[LogMode]
	limit int
	now   func() time.Time

	mu    sync.Mutex // guards what follows; taken before member.mu
	n     uint64     // answers numbered so far
	first uint64     // number of the answer that ring[0] held first
	ring  []entry
}

// write remembers e, whose member is m, nil when unknown.
func (j *journal) write(m *member, e entry) {
	if *j.mode.Load() == LogOff {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	mode := *j.mode.Load() // it changes under the lock
	if mode == LogOff {
		return
	}
	j.n++
	e.n, e.done = j.n, j.now() // Under the lock: its numbers are in the order of these times.
	if mode == LogAll {
		if m != nil {
			m.mu.Lock()
			e.prev, m.lastN = m.lastN, e.n
			m.mu.Unlock()
		}
		if len(j.ring) < j.limit {
			j.ring = append(j.ring, e)
			return
		}
		j.ring[j.slot(e.n)] = e
		return
	}
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.last = new(e)
		return
	}
	*m.last = e
}

func (j *journal) slot(n uint64) int { return int((n - j.first) % uint64(j.limit)) } //nolint:gosec // the limit is positive

// oldest is the number of the oldest answer in the ring. It wants j.mu held.
func (j *journal) oldest() uint64 { return j.n - uint64(len(j.ring)) + 1 }

// SetLog changes the mode of the journal and forgets what was in it. Answers
// keep their numbers.
func (s *Server) SetLog(mode LogMode) error {
	switch mode {
	case LogOff, LogLast, LogAll:
	default:
		return fmt.Errorf("%w: unknown log mode %q", ErrInvalid, mode)
	}
	members := s.dir.all()
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mode.Store(&mode)
	j.ring, j.first = nil, j.n+1
	for _, m := range members {
		m.mu.Lock()
		m.last, m.lastN = nil, 0
		m.mu.Unlock()
	}
	return nil
}

// Dropped is how many answers the journal has had to forget since [Server.SetLog].
func (s *Server) Dropped() uint64 {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	if len(s.journal.ring) == 0 {
		return 0
	}
	return s.journal.oldest() - s.journal.first
}

// Log is what the journal holds about a member, oldest first: the answers
// numbered above after.
func (s *Server) Log(memberGUID string, after uint64) []Entry {
	m, err := s.dir.known(memberGUID)
	if err != nil {
		var out []Entry
		for e := range s.LogAll(after) { // an unknown member has no chain
			if e.MemberGUID == memberGUID {
				out = append(out, e)
			}
		}
		return out
	}
	found := s.journal.of(m, after)
	out := make([]Entry, len(found))
	for i := range found {
		out[len(found)-1-i] = found[i].public()
	}
	return out
}

// of are the entries of m, newest first.
func (j *journal) of(m *member, after uint64) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.mu.Lock()
	n, last := m.lastN, m.last
	var found []entry
	if last != nil && last.n > after {
		found = append(found, *last)
	}
	m.mu.Unlock()
	if len(j.ring) == 0 {
		return found
	}
	for oldest := max(j.oldest(), after+1); n >= oldest; {
		e := j.ring[j.slot(n)]
		found = append(found, e)
		n = e.prev
	}
	return found
}

// LogAll is what the journal holds about all members and is numbered above
// after: oldest first in mode LogAll, by member in mode LogLast. It shows the
// journal as it was when the iteration began.
func (s *Server) LogAll(after uint64) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, e := range s.journal.all(s.dir.all(), after) {
			if !yield(e.public()) {
				return
			}
		}
	}
}

func (j *journal) all(members []*member, after uint64) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if *j.mode.Load() == LogLast {
		var out []entry
		for _, m := range members {
			m.mu.Lock()
			if m.last != nil && m.last.n > after {
				out = append(out, *m.last)
			}
			m.mu.Unlock()
		}
		return out
	}
	if len(j.ring) == 0 {
		return nil
	}
	from := max(j.oldest(), after+1)
	if from > j.n {
		return nil
	}
	out := make([]entry, 0, j.n-from+1)
	for n := from; n <= j.n; n++ {
		out = append(out, j.ring[j.slot(n)])
	}
	return out
}
