package mxsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

// The kinds of faults. FaultCut looks like a connection that idled out: Go's
// own client repeats such a request unseen when the connection had been used
// before, and so meets a counted fault twice. FaultCutHead is never repeated.
const (
	FaultLatency   FaultKind = "latency"    // the answer is right but comes after Delay
	FaultStatus    FaultKind = "status"     // Status with Body
	FaultCut       FaultKind = "cut"        // the connection closes without an answer
	FaultCutHead   FaultKind = "cut_head"   // the connection closes within the status line
	FaultHang      FaultKind = "hang"       // no answer until the client goes away
	FaultTruncate  FaultKind = "truncate"   // the answer breaks off in the middle
	FaultNonJSON   FaultKind = "non_json"   // 200 with Body, or a page of HTML
	FaultOversize  FaultKind = "oversize"   // the answer is padded to Size bytes
	FaultWrongGUID FaultKind = "wrong_guid" // the answer is about the member GUID
)

// ScopeLists limits a fault to both lists. The other scopes are the names of
// endpoints: read, status, oauth_window_uri, aggregate, members, users.
const ScopeLists = "lists"

// Fault is something that goes wrong, for whom, and for how long. A request
// meets every latency that fits and the first other fault that does.
type Fault struct {
	ID     string    // given by Inject
	Kind   FaultKind // required
	User   string    // a guid or an id as in the request; empty: everybody
	Member string    // likewise
	Scope  string    // an endpoint or ScopeLists; empty: all of the MX API

	Count int           // requests it hits; 0: any number
	For   time.Duration // how long it lasts from injection; 0: until cleared
	Every int           // only every so manieth request that fits; 0 or 1: each

	Delay       time.Duration // of FaultLatency
	Stale       bool          // FaultLatency: the answer is decided before the delay
	Status      int           // of FaultStatus
	Body        *string       // nil: MX's kind of error body; an empty one is empty
	ContentType string        // of Body; empty: as Body looks
	RetryAfter  string        // the header Retry-After; empty: none
	Size        int           // of FaultOversize; 0: 16 MiB
	GUID        string        // of FaultWrongGUID; empty: one that nobody has

	Hits  uint64    // requests it has hit
	until time.Time // zero: no end
	seen  int       // requests that fitted
}

// faultWire is a Fault as JSON, with durations as text: "1.5s".
type faultWire struct {
	ID          string    `json:"id,omitempty"`
	Kind        FaultKind `json:"kind"`
	User        string    `json:"user,omitempty"`
	Member      string    `json:"member,omitempty"`
	Scope       string    `json:"scope,omitempty"`
	Count       int       `json:"count,omitempty"`
	For         duration  `json:"for,omitempty"`
	Every       int       `json:"every,omitempty"`
	Delay       duration  `json:"delay,omitempty"`
	Stale       bool      `json:"stale,omitempty"`
	Status      int       `json:"status,omitempty"`
	Body        *string   `json:"body,omitempty"`
	ContentType string    `json:"content_type,omitempty"`
	RetryAfter  string    `json:"retry_after,omitempty"`
	Size        int       `json:"size,omitempty"`
	GUID        string    `json:"guid,omitempty"`
	Hits        uint64    `json:"hits"`
}

// duration is a time.Duration that JSON writes as text.
type duration time.Duration

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// MarshalJSON is the fault as the control API shows it.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(faultWire{
		ID: f.ID, Kind: f.Kind, User: f.User, Member: f.Member, Scope: f.Scope,
		Count: f.Count, For: duration(f.For), Every: f.Every, Delay: duration(f.Delay), Stale: f.Stale,
		Status: f.Status, Body: f.Body, ContentType: f.ContentType, RetryAfter: f.RetryAfter,
		Size: f.Size, GUID: f.GUID, Hits: f.Hits,
	})
}

// fault is what the wire form says. Hits and ID are the simulator's to give.
func (w *faultWire) fault() Fault {
	return Fault{
		Kind: w.Kind, User: w.User, Member: w.Member, Scope: w.Scope,
		Count: w.Count, For: time.Duration(w.For), Every: w.Every, Delay: time.Duration(w.Delay), Stale: w.Stale,
		Status: w.Status, Body: w.Body, ContentType: w.ContentType, RetryAfter: w.RetryAfter,
		Size: w.Size, GUID: w.GUID,
	}
}

func (f *Fault) validate() error {
	var problems []error
	switch f.Kind {
	case FaultLatency:
		if f.Delay <= 0 {
			problems = append(problems, errors.New("latency needs a delay"))
		}
	case FaultStatus:
		if f.Status < 200 || f.Status > 599 {
			problems = append(problems, fmt.Errorf("status %d is not between 200 and 599", f.Status))
		}
	case FaultCut, FaultCutHead, FaultHang, FaultTruncate, FaultNonJSON, FaultOversize, FaultWrongGUID:
	default:
		problems = append(problems, fmt.Errorf("unknown kind %q", f.Kind))
	}
	if _, ok := endpointNamed(f.Scope); !ok && f.Scope != "" && f.Scope != ScopeLists {
		problems = append(problems, fmt.Errorf("unknown scope %q", f.Scope))
	}
	if f.Count < 0 || f.For < 0 || f.Every < 0 || f.Size < 0 {
		problems = append(problems, errors.New("count, for, every and size cannot be negative"))
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: fault: %w", ErrInvalid, errors.Join(problems...))
	}
	return nil
}

// faults are the faults in force.
type faults struct {
	any   atomic.Bool // whether there are any, so that health costs nothing
	mu    sync.Mutex
	list  []*Fault
	count int
}

// trouble is what the faults do to one request.
type trouble struct {
	delay time.Duration
	stale bool
	fault *Fault // a copy; nil: none but latency
}

func (t *trouble) kind() FaultKind {
	if t.fault != nil {
		return t.fault.Kind
	}
	if t.delay > 0 {
		return FaultLatency
	}
	return ""
}

// meet finds the faults that c meets and counts them.
func (f *faults) meet(c *call) trouble {
	var t trouble
	if !f.any.Load() {
		return t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(c.at)
	for _, fault := range f.list {
		if !fault.fits(c) || fault.Kind != FaultLatency && t.fault != nil {
			continue
		}
		if fault.seen++; fault.Every > 1 && fault.seen%fault.Every != 0 {
			continue
		}
		fault.Hits++
		if fault.Kind == FaultLatency {
			t.delay += fault.Delay
			t.stale = t.stale || fault.Stale
			continue
		}
		t.fault = new(*fault)
	}
	f.expire(c.at)
	return t
}

// expire removes what is over. It wants f.mu held.
func (f *faults) expire(now time.Time) {
	f.list = slices.DeleteFunc(f.list, func(fault *Fault) bool {
		return fault.Count > 0 && fault.Hits >= uint64(fault.Count) || !fault.until.IsZero() && !now.Before(fault.until)
	})
	f.any.Store(len(f.list) > 0)
}

func (f *Fault) fits(c *call) bool {
	if f.Scope == ScopeLists {
		if c.endpoint != endpointMembers && c.endpoint != endpointUsers {
			return false
		}
	} else if f.Scope != "" && f.Scope != c.endpoint.String() {
		return false
	}
	if f.User != "" && f.User != c.userName && (c.user == nil || f.User != c.user.GUID) {
		return false
	}
	return f.Member == "" || f.Member == c.memberName || c.member != nil && f.Member == c.member.guid
}

// Inject puts a fault in force and returns its id.
func (s *Server) Inject(f Fault) (string, error) {
	if err := f.validate(); err != nil {
		return "", err
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.count++
	f.ID = "fault-" + strconv.Itoa(s.faults.count)
	f.Hits, f.seen = 0, 0
	if f.For > 0 {
		f.until = s.now().Add(f.For)
	}
	s.faults.list = append(s.faults.list, &f)
	s.faults.any.Store(true)
	return f.ID, nil
}

// Faults are those in force.
func (s *Server) Faults() []Fault {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.expire(s.now())
	out := make([]Fault, 0, len(s.faults.list))
	for _, f := range s.faults.list {
		out = append(out, *f)
	}
	return out
}

// ClearFaults ends the faults with these ids, or all without ids. It returns
// how many it ended. Requests that wait or hang go on doing so.
func (s *Server) ClearFaults(ids ...string) int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	before := len(s.faults.list)
	s.faults.list = slices.DeleteFunc(s.faults.list, func(f *Fault) bool {
		return len(ids) == 0 || slices.Contains(ids, f.ID)
	})
	s.faults.any.Store(len(s.faults.list) > 0)
	return before - len(s.faults.list)
}

// answer is the answer of a fault that answers by itself.
func (f *Fault) answer(c *call) (answer, bool) {
	var a answer
	switch f.Kind {
	case FaultStatus:
		a = c.fail(f.Status, "the simulator was told to answer so")
	case FaultNonJSON:
		a = answer{status: http.StatusOK, contentType: htmlType, body: []byte(htmlPage)}
	case FaultLatency, FaultCut, FaultCutHead, FaultHang, FaultTruncate, FaultOversize, FaultWrongGUID:
		return answer{}, false
	}
	if f.Body != nil {
		a.body = []byte(*f.Body)
		a.contentType = textType
		if json.Valid(a.body) {
			a.contentType = jsonType
		}
	}
	if f.ContentType != "" {
		a.contentType = []string{f.ContentType}
	}
	a.retryAfter = f.RetryAfter
	return a, true
}
