package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Known is the event stream seen as the list of all members that are known, for
// walks along it. All reads go to the stream's leader.
type Known struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
	get      string // API subject that reads from the stream's leader
}

// NewKnown returns the members known to an installation.
func NewKnown(nc *nats.Conn, js jetstream.JetStream, s events.Subjects) *Known {
	return &Known{nc: nc, js: js, subjects: s, get: "$JS.API.STREAM.MSG.GET." + s.EventStream()}
}

// Known returns the members that are known.
func (b *Bus) Known() *Known { return NewKnown(b.nc, b.js, b.subjects) }

// Bounds returns the sequences of the first and the last event on the stream;
// last is below first when it is empty.
func (n *Known) Bounds(ctx context.Context) (first, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := n.js.Stream(ctx, n.subjects.EventStream())
	if err != nil {
		return 0, 0, fmt.Errorf("looking at event stream: %w", err)
	}
	state := s.CachedInfo().State
	return state.FirstSeq, state.LastSeq, nil
}

// Next returns whose event is the first at sequence from or later, and its
// sequence; 0 when there is none.
func (n *Known) Next(ctx context.Context, from uint64) (events.Key, uint64, error) {
	return n.next(ctx, from, n.subjects.Events())
}

// some returns up to n members, each once and in no order, one from each part of
// the stream, so most likely of different banks; others every time.
func (n *Known) some(ctx context.Context, most uint64) ([]events.Key, error) {
	first, last, err := n.Bounds(ctx)
	if err != nil || last < first {
		return nil, err
	}
	var all []events.Key
	for i := range most {
		within := rand.Uint64N((last-first)/most + 1) //nolint:gosec // Nobody gains from guessing it.
		k, seq, err := n.Next(ctx, first+(last-first)*i/most+within)
		if err != nil {
			return nil, err
		}
		if seq != 0 && !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // As above.
	return all, nil
}

// First returns the sequence of the oldest event of a member that is kept; 0
// when it has none.
func (n *Known) First(ctx context.Context, k events.Key) (uint64, error) {
	_, seq, err := n.next(ctx, 1, n.subjects.EventsOf(k))
	return seq, err
}

// FirstOfUser returns the sequence of the oldest event that is kept of any of a
// user's members; 0 when there is none. user is a guid.
func (n *Known) FirstOfUser(ctx context.Context, user string) (uint64, error) {
	filter, err := n.subjects.EventsOfUser(user)
	if err != nil {
		return 0, err
	}
	_, seq, err := n.next(ctx, 1, filter)
	return seq, err
}

// MembersOf returns the members of a user that have events, deleted ones
// included, in order of their guids.
func (n *Known) MembersOf(ctx context.Context, user string) ([]events.Key, error) {
	filter, err := n.subjects.EventsOfUser(user)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Asked by hand: the client would ask for the stream itself before.
	m, err := n.nc.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+n.subjects.EventStream(), []byte(`{"subjects_filter":"`+filter+`"}`))
	if err != nil {
		return nil, fmt.Errorf("listing known members of a user: %w", err)
	}
	var answer struct {
		Error *apiError `json:"error"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("decoding answer: %w", err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("listing known members of a user: server says %d: %s", answer.Error.Code, answer.Error.Description)
	}
	var all []events.Key
	for subject := range answer.State.Subjects {
		if _, k, ok := n.subjects.ParseEvent(subject); ok {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b events.Key) int { return strings.Compare(a.Member(), b.Member()) })
	return slices.Compact(all), nil // a subject for each type of event
}

func (n *Known) next(ctx context.Context, from uint64, filter string) (events.Key, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	q := make([]byte, 0, 160)
	q = append(q, `{"seq":`...)
	q = strconv.AppendUint(q, max(1, from), 10)
	q = append(q, `,"next_by_subj":"`...)
	q = append(q, filter...) // tokens need no escaping
	q = append(q, `"}`...)
	m, err := n.nc.RequestWithContext(ctx, n.get, q)
	if err != nil {
		return events.Key{}, 0, fmt.Errorf("asking for next event: %w", err)
	}
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return events.Key{}, 0, fmt.Errorf("decoding answer: %w", err)
	}
	if done, err := answer.Error.notFound(); done {
		return events.Key{}, 0, err
	}
	_, k, ok := n.subjects.ParseEvent(answer.Message.Subject)
	if !ok {
		return events.Key{}, 0, fmt.Errorf("subject: %.64q names no member", answer.Message.Subject)
	}
	return k, answer.Message.Sequence, nil
}
