package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

// Errors of beginning and ending a sweep.
var (
	ErrRunning    = errors.New("a sweep is running")
	ErrNotRunning = errors.New("no sweep is running")
	ErrNone       = errors.New("there has been no sweep")
)

// Spec says what to sweep.
type Spec struct {
	User        string `json:"user,omitempty"`        // only this user: guid or the partner's own id
	Institution string `json:"institution,omitempty"` // only members of this institution: its code or guid
	Status      string `json:"status,omitempty"`      // only members with this status
	DryRun      bool   `json:"dry_run,omitempty"`     // count, and ask for nothing
}

// Phase is what a sweep is doing.
type Phase string

// The phases, in their order. A sweep of one user has only user, then over.
const (
	PhaseUser  Phase = "user"  // that user is visited
	PhaseNew   Phase = "new"   // along MX's users, for those who are not known
	PhaseKnown Phase = "known" // along the event stream, for those who are
	PhaseOver  Phase = "over"
)

// Outcome is how a sweep ended.
type Outcome string

// The outcomes.
const (
	Completed Outcome = "completed"
	Stopped   Outcome = "stopped" // by whoever called [Stop]
	Failed    Outcome = "failed"  // Note says why
)

// Sweep is a sweep's state: all that there is of it, on NATS, so that whoever asks
// sees how far it has come, after its end too.
type Sweep struct {
	ID         string    `json:"id"` // the correlation id of the refreshes it asks for
	Spec       Spec      `json:"spec"`
	Phase      Phase     `json:"phase"`
	StartedAt  time.Time `json:"started_at"`
	PhaseAt    time.Time `json:"phase_at"` // when the phase began
	UpdatedAt  time.Time `json:"updated_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	Outcome    Outcome   `json:"outcome,omitempty"` // once it is over
	Note       string    `json:"note,omitempty"`    // the last error, or why it failed
	Waiting    bool      `json:"waiting,omitempty"` // the slow lane has enough to do

	Page    int    `json:"page"`    // of MX's users, looked at next
	Before  int    `json:"before"`  // users on the page before
	Skipped int    `json:"skipped"` // pages that failed in a row
	Total   int    `json:"total"`   // users, as MX counts them; 0: it does not say
	First   uint64 `json:"first"`   // of the event stream, as phase known began
	End     uint64 `json:"end"`     // last sequence of the event stream, as the sweep began
	Cursor  uint64 `json:"cursor"`  // sequence looked at next

	Counts Counts `json:"counts"`
}

// Counts are what a sweep has seen. A step that was made twice counts once.
type Counts struct {
	Users   int `json:"users"`   // listed by MX
	Visited int `json:"visited"` // users whose members were listed
	Members int `json:"members"` // listed by MX, within the filters
	Same    int `json:"same"`    // as their last event says
	New     int `json:"new"`     // never seen before
	Changed int `json:"changed"` // differ from their last event
	Missing int `json:"missing"` // known, but not listed
	Asked   int `json:"asked"`   // refreshes asked for; none by a dry run
	Errors  int `json:"errors"`  // what could not be looked at; Note has the last
}

func (c *Counts) add(o Counts) {
	c.Users += o.Users
	c.Visited += o.Visited
	c.Members += o.Members
	c.Same += o.Same
	c.New += o.New
	c.Changed += o.Changed
	c.Missing += o.Missing
	c.Asked += o.Asked
	c.Errors += o.Errors
}

// Done returns how much of the present phase is done, and of how much; 0 when
// that is not known. In phase new they are users, in phase known events.
func (s *Sweep) Done() (done, total int) {
	switch s.Phase {
	case PhaseNew:
		return s.Counts.Users, s.Total
	case PhaseKnown:
		return int(s.Cursor - s.First), int(s.End + 1 - s.First) //nolint:gosec // Differences of sequences on one stream.
	case PhaseUser, PhaseOver:
	}
	return 0, 0
}

// Start begins a sweep. id names it and is one token. [ErrRunning] tells that
// another goes on, which is returned then.
func Start(ctx context.Context, c Chains, id string, spec Spec, now time.Time) (Sweep, error) {
	old, live, seq, err := load(ctx, c)
	if err != nil && !errors.Is(err, ErrNone) {
		return Sweep{}, err
	}
	if live {
		return old, ErrRunning
	}
	s := Sweep{ID: id, Spec: spec, Phase: PhaseNew, StartedAt: now.UTC(), PhaseAt: now.UTC(), UpdatedAt: now.UTC(), Page: 1}
	if spec.User != "" {
		s.Phase = PhaseUser
	}
	state, err := s.encode()
	if err != nil {
		return Sweep{}, err
	}
	if err := c.Begin(ctx, chainSweep, state, seq); errors.Is(err, refresh.ErrConflict) {
		old, _, _, err := load(ctx, c)
		return old, errors.Join(ErrRunning, err)
	} else if err != nil {
		return Sweep{}, fmt.Errorf("beginning sweep: %w", err)
	}
	return s, nil
}

// Load returns the sweep that runs, or the last one. [ErrNone].
func Load(ctx context.Context, c Chains) (Sweep, error) {
	s, _, _, err := load(ctx, c)
	return s, err
}

// Resume returns the sweep that runs and sees to it that it goes on; or the last
// one. [ErrNone].
func Resume(ctx context.Context, c Chains) (Sweep, error) {
	s, live, _, err := load(ctx, c)
	if err != nil || !live {
		return s, err
	}
	if err := c.Revive(ctx, chainSweep); err != nil {
		return s, fmt.Errorf("resuming sweep: %w", err)
	}
	return s, nil
}

// Stop ends the sweep that runs and returns what it has done. Refreshes it has
// asked for are still made. [ErrNotRunning].
func Stop(ctx context.Context, c Chains, now time.Time) (Sweep, error) {
	for {
		s, live, seq, err := load(ctx, c)
		switch {
		case errors.Is(err, ErrNone) || err == nil && !live:
			return s, ErrNotRunning
		case err != nil:
			return Sweep{}, err
		}
		s.finish(now, Stopped)
		state, err := s.encode()
		if err != nil {
			return Sweep{}, err
		}
		if err := c.End(ctx, chainSweep, state, seq); errors.Is(err, refresh.ErrConflict) && ctx.Err() == nil {
			continue // it has made a step meanwhile
		} else if err != nil {
			return Sweep{}, fmt.Errorf("stopping sweep: %w", err)
		}
		return s, nil
	}
}

func load(ctx context.Context, c Chains) (s Sweep, live bool, seq uint64, err error) {
	state, live, seq, err := c.Load(ctx, chainSweep)
	if err != nil {
		return Sweep{}, false, 0, fmt.Errorf("looking for sweep: %w", err)
	}
	if seq == 0 {
		return Sweep{}, false, 0, ErrNone
	}
	if err := json.Unmarshal(state, &s); err != nil {
		return Sweep{}, false, 0, fmt.Errorf("reading sweep: %w", err)
	}
	return s, live, seq, nil
}

func (s *Sweep) encode() ([]byte, error) {
	state, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding sweep: %w", err)
	}
	return state, nil
}

func (s *Sweep) finish(now time.Time, o Outcome) {
	s.Outcome, s.FinishedAt, s.UpdatedAt, s.Waiting = o, now.UTC(), now.UTC(), false
	if o == Completed {
		s.Phase = PhaseOver
	}
}

func (s *Sweep) enter(now time.Time, p Phase) { s.Phase, s.PhaseAt = p, now.UTC() }

// maxNote bounds an error that is kept in the state.
const maxNote = 300

func (s *Sweep) note(text string) {
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "") + "…"
	}
	s.Note = text
}

// take adds what was seen at users.
func (s *Sweep) take(v visit) {
	s.Counts.add(v.Counts)
	if v.note != "" {
		s.note(v.note)
	}
}
