package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/oracle"
)

// answers is what the oracle must know of all that was answered to reads of
// members. What the simulator remembers is bounded; this grows with members and
// the statuses they have had, and so a run may last as long as it likes.
type answers struct {
	mu      sync.Mutex
	after   uint64 // number of the last answer that was taken
	members map[string]*answered
}

// answered is what was answered about one member.
type answered struct {
	bodies map[string][]byte // one answer with each status
	gone   int               // answers of 404
	last   oracle.Read
}

// Collect takes what was answered since it was last called. A simulator that
// has forgotten some of it is an error.
func (s *Sim) Collect(ctx context.Context) error {
	a := &s.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	var log struct{ Entries []mxsim.Entry }
	if err := s.Ask(ctx, http.MethodGet, "log?after="+strconv.FormatUint(a.after, 10), nil, &log); err != nil {
		return fmt.Errorf("collecting answers: %w", err)
	}
	for i := range log.Entries {
		e := &log.Entries[i]
		if e.N != a.after+1 {
			return fmt.Errorf("collecting answers: the simulator has forgotten those from %d to %d", a.after+1, e.N-1)
		}
		a.after = e.N
		if e.Endpoint == "read" && e.Arrived() {
			a.take(e)
		}
	}
	return nil
}

func (a *answers) take(e *mxsim.Entry) {
	var m struct {
		GUID   string `json:"guid"`
		Status string `json:"connection_status"`
	}
	if e.Status == http.StatusOK && (json.Unmarshal(e.Member, &m) != nil || m.GUID != e.MemberGUID) {
		return // nonsense, as far as this member goes
	}
	if a.members == nil {
		a.members = make(map[string]*answered)
	}
	of := a.members[e.MemberGUID]
	if of == nil {
		of = &answered{bodies: make(map[string][]byte)}
		a.members[e.MemberGUID] = of
	}
	switch e.Status {
	case http.StatusOK:
		if of.bodies[m.Status] == nil {
			of.bodies[m.Status] = e.Member
		}
	case http.StatusNotFound:
		of.gone++
	default:
		return
	}
	of.last = oracle.Read{Member: e.MemberGUID, Status: e.Status, Body: e.Member}
}

// Reads yields what was answered to reads: of each member every status once,
// every 404, and the last answer last.
func (s *Sim) Reads(tb testing.TB) func(yield func(oracle.Read) bool) {
	tb.Helper()
	if err := s.Collect(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return func(yield func(oracle.Read) bool) {
		s.answers.mu.Lock()
		defer s.answers.mu.Unlock()
		for member, of := range s.answers.members {
			for _, body := range of.bodies {
				if !yield(oracle.Read{Member: member, Status: http.StatusOK, Body: body}) {
					return
				}
			}
			gone := of.gone
			if of.last.Status == http.StatusNotFound {
				gone-- // it is the last
			}
			for range gone {
				if !yield(oracle.Read{Member: member, Status: http.StatusNotFound}) {
					return
				}
			}
			if !yield(of.last) {
				return
			}
		}
	}
}
