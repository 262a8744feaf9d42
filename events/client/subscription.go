package client

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/memberwatch/memberwatch/events"
)

// Subscription says what a consumer wants. Durable and a handler are needed;
// zero values of the rest stand for the defaults named.
type Subscription struct {
	// Durable names the consumer on the server, which keeps its place there:
	// letters, digits, _ and -.
	Durable string
	// On has the handlers by type of event. Announcements with OAuth URIs come only to
	// a handler for [events.TypeOAuthRequired], and need the right to read their stream.
	On map[events.Type]Handler
	// Otherwise handles all other types on the event stream, those newer than this
	// package included. Nil: they are not even sent.
	Otherwise Handler

	// Start is where a durable begins that is made now; one that exists goes on
	// where it was. The zero Start is the beginning.
	Start Start
	// BindOnly tells that an operator makes the durable: it is neither made nor changed.
	BindOnly bool
	// Standby lets one process at a time work on a durable that is made now; others on
	// it wait, and one of them takes over about half a minute after the first is gone.
	Standby bool
	// Stream takes events from another stream than the installation's, such as a
	// mirror of it. It does not concern announcements. If subjects there begin with
	// another prefix, the client must be one of that prefix ([New]).
	Stream string

	// Concurrency is how many handlers may run at once: 16.
	Concurrency int
	// Window is how many events may be in hand, waiting for their member's turn or for
	// another try: 256. When that many are, no more are fetched.
	Window int
	// Attempts is how often a handler is tried before the event is given up: 10.
	// Negative: for ever, which holds back the member, and in the end everybody.
	Attempts int
	// Backoff is how long to wait after so many failed tries. Nil: 1 s, doubled
	// each time up to 1 min, less up to half of it at random.
	Backoff func(failed int) time.Duration
	// GiveUp decides about what cannot be handled. Nil: [Stop].
	GiveUp GiveUp
	// Grace is how long handlers may go on after the stop before their context ends: 30 s.
	Grace time.Duration

	// Memory is how many ids, and last revisions of members, are remembered: 16,384.
	Memory int
	// DeliverStale sends events that the stream has out of order to their handlers,
	// marked. Those that were overtaken on their way from it come in any case.
	DeliverStale bool
	// Notice, when not nil, is told what no handler hears of, such as tries that failed;
	// [LogTo] makes one that logs. It is called from many goroutines and must not wait.
	Notice func(Notice)
}

// Start is where a new durable begins.
type Start struct {
	sequence uint64
	since    time.Time
	now      bool
	last     bool
}

// After begins after a sequence of the stream, such as [Snapshot.Sequence]. It
// is for subscriptions to one stream: announcements are on another, which counts
// for itself. So does a stream that is filled from several others.
func After(sequence uint64) Start { return Start{sequence: sequence + 1} }

// Since begins with the first event stored at t or later.
func Since(t time.Time) Start { return Start{since: t} }

// Now begins with what is stored from now on.
func Now() Start { return Start{now: true} }

// LastOfEachType begins with the last event of each type and member, in the
// order of the stream, which ends in every member's present state. It is the
// simplest start for whoever folds events into a table of states.
func LastOfEachType() Start { return Start{last: true} }

const (
	defaultConcurrency = 16
	defaultWindow      = 256
	defaultAttempts    = 10
	defaultGrace       = 30 * time.Second
	defaultMemory      = 16 << 10

	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// complete returns s with defaults filled in, or everything that is wrong with it.
func (s Subscription) complete() (Subscription, error) {
	var problems []error
	if !events.ValidToken(s.Durable) {
		problems = append(problems, fmt.Errorf("durable name %q: want 1 to 64 letters, digits, _ or -", s.Durable))
	}
	if len(s.On) == 0 && s.Otherwise == nil {
		problems = append(problems, errors.New("no handler"))
	}
	for t, h := range s.On {
		token, ok := strings.CutPrefix(string(t), "member.")
		if h == nil {
			problems = append(problems, fmt.Errorf("handler of %s: nil", t))
		}
		if !ok || !events.ValidToken(token) || t == events.CommandType {
			problems = append(problems, fmt.Errorf("%q is no type of event", t))
		}
	}
	if _, announced := s.On[events.TypeOAuthRequired]; announced && s.Start.sequence > 0 && (len(s.On) > 1 || s.Otherwise != nil) {
		problems = append(problems, fmt.Errorf(
			"start after sequence %d: announcements (%s) are on a stream with sequences of its own, want two subscriptions, or Since",
			s.Start.sequence-1, events.TypeOAuthRequired))
	}
	for _, n := range []struct {
		value *int
		name  string
		usual int
	}{
		{&s.Concurrency, "concurrency", defaultConcurrency},
		{&s.Window, "window", defaultWindow},
		{&s.Memory, "memory", defaultMemory},
	} {
		if *n.value < 0 {
			problems = append(problems, fmt.Errorf("%s is negative", n.name))
		}
		if *n.value == 0 {
			*n.value = n.usual
		}
	}
	if s.Attempts == 0 {
		s.Attempts = defaultAttempts
	}
	if s.Backoff == nil {
		s.Backoff = backoff
	}
	if s.GiveUp == nil {
		s.GiveUp = Stop
	}
	if s.Grace == 0 {
		s.Grace = defaultGrace
	}
	if s.Notice == nil {
		s.Notice = func(Notice) {}
	}
	return s, errors.Join(problems...)
}

// backoff grows from firstBackoff to maxBackoff. The jitter keeps consumers that
// failed together from trying together.
func backoff(failed int) time.Duration {
	d := maxBackoff
	if doublings := failed - 1; doublings < 6 { // 2^6 s is past the maximum
		d = firstBackoff << max(doublings, 0)
	}
	return d - rand.N(d/2) //nolint:gosec // Jitter, not a secret.
}

// handler returns what handles events of type t; nil: nothing.
func (s *Subscription) handler(t events.Type) Handler {
	if h, ok := s.On[t]; ok {
		return h
	}
	if t == events.TypeOAuthRequired {
		return nil
	}
	return s.Otherwise
}
