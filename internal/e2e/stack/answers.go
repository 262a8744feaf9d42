package stack

import (
	"bytes"
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
// what has become of them, and so a run may last as long as it likes.
type answers struct {
	mu      sync.Mutex
	after   uint64 // number of the last answer that was taken
	members map[string]*answered
}

// answered is what was answered about one member, in order. Of answers in a row that
// say the same the first is kept, of 404s two.
type answered struct {
	reads []oracle.Read
	gone  int // 404s since the last member
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
		GUID string `json:"guid"`
	}
	if e.Status == http.StatusOK && (json.Unmarshal(e.Member, &m) != nil || m.GUID != e.MemberGUID) {
		return // nonsense, as far as this member goes
	}
	if a.members == nil {
		a.members = make(map[string]*answered)
	}
	of := a.members[e.MemberGUID]
	if of == nil {
		of = &answered{}
		a.members[e.MemberGUID] = of
	}
	of.take(e)
}

func (of *answered) take(e *mxsim.Entry) {
	switch last := len(of.reads) - 1; {
	case e.Status == http.StatusOK && (last < 0 || !bytes.Equal(of.reads[last].Body, e.Member)):
		of.gone = 0
	case e.Status == http.StatusNotFound && of.gone < 2:
		of.gone++
	default:
		return
	}
	of.reads = append(of.reads, oracle.Read{Member: e.MemberGUID, Status: e.Status, Body: e.Member})
}

// Reads yields what was answered to reads, as oracle.Options.EveryRead wants it.
func (s *Sim) Reads(tb testing.TB) func(yield func(oracle.Read) bool) {
	tb.Helper()
	if err := s.Collect(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return func(yield func(oracle.Read) bool) {
		s.answers.mu.Lock()
		defer s.answers.mu.Unlock()
		for _, of := range s.answers.members {
			for _, r := range of.reads {
				if !yield(r) {
					return
				}
			}
		}
	}
}
