package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// What keeps a dead letter from being opened.
var (
	// ErrNoLetter: there is none with this sequence.
	ErrNoLetter = errors.New("no such dead letter")
	// ErrUnreadableLetter: it is not what a worker writes.
	ErrUnreadableLetter = errors.New("dead letter is unreadable")
)

// Letterbox is the stream of dead letters as an operator sees it.
type Letterbox struct {
	js       jetstream.JetStream
	subjects events.Subjects
}

// NewLetterbox returns the dead letters of an installation.
func NewLetterbox(js jetstream.JetStream, s events.Subjects) *Letterbox { return &Letterbox{js, s} }

// Letter is a dead letter and where it lies.
type Letter struct {
	Sequence uint64 // on the stream of dead letters
	events.DeadLetter
	// Err is an ErrUnreadableLetter when only Sequence and Category are known.
	Err error
}

// Letters says which dead letters are meant; the zero value all there are now.
type Letters struct {
	Category events.Category // empty: any
	Reason   string          // part of the reason, in any case; empty: any
	Since    time.Time       // kept since then; zero: whenever
	Until    uint64          // last sequence; 0: up to the last there is
}

func (q *Letters) holds(l *Letter) bool {
	return q.Reason == "" || strings.Contains(strings.ToLower(l.Reason), strings.ToLower(q.Reason))
}

// bare reports whether subject and sequence alone decide what is meant.
func (q *Letters) bare() bool { return q.Reason == "" && q.Since.IsZero() }

func (b *Letterbox) filter(q *Letters) string {
	if q.Category == "" {
		return b.subjects.DeadLetters()
	}
	return b.subjects.DeadLetter(q.Category)
}

// All yields the letters meant, oldest first. It holds some tens of them at
// once, however many there are; whoever is yielded to may remove them.
func (b *Letterbox) All(ctx context.Context, q Letters) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		e := selection{stream: b.subjects.DeadLetterStream(), filter: b.filter(&q), since: q.Since, until: q.Until}
		for m, err := range readStream(ctx, b.js, e) {
			if err != nil {
				yield(Letter{}, err)
				return
			}
			meta, err := m.Metadata()
			if err != nil {
				yield(Letter{}, fmt.Errorf("reading dead letter: %w", err))
				return
			}
			if l := b.open(meta.Sequence.Stream, m.Subject(), m.Data()); q.holds(&l) && !yield(l, nil) {
				return
			}
		}
	}
}

// open reads a letter. The subject says its category, whatever is in it.
func (b *Letterbox) open(seq uint64, subject string, data []byte) Letter {
	l := Letter{Sequence: seq}
	if err := json.Unmarshal(data, &l.DeadLetter); err != nil {
		l = Letter{Sequence: seq, Err: fmt.Errorf("%w: %w", ErrUnreadableLetter, err)}
	}
	if i := strings.LastIndexByte(subject, '.'); i >= 0 {
		l.Category = events.Category(subject[i+1:])
	}
	return l
}

// Get returns one letter, or an ErrNoLetter.
func (b *Letterbox) Get(ctx context.Context, seq uint64) (Letter, error) {
	s, err := streamOf(ctx, b.js, b.subjects.DeadLetterStream())
	if err != nil {
		return Letter{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, fmt.Errorf("%w: %d", ErrNoLetter, seq)
	}
	if err != nil {
		return Letter{}, fmt.Errorf("getting dead letter %d: %w", seq, err)
	}
	return b.open(m.Sequence, m.Subject, m.Data), nil
}

// Count returns how many letters are meant, by category, and up to which
// sequence it has looked: to mean no more than was counted, give it as Until.
func (b *Letterbox) Count(ctx context.Context, q Letters) (by map[events.Category]uint64, until uint64, err error) {
	s, err := streamOf(ctx, b.js, b.subjects.DeadLetterStream())
	if err != nil {
		return nil, 0, err
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := s.Info(asking, jetstream.WithSubjectFilter(b.filter(&q)))
	if err != nil {
		return nil, 0, fmt.Errorf("counting dead letters: %w", err)
	}
	until = info.State.LastSeq
	by = make(map[events.Category]uint64)
	if q.bare() && (q.Until == 0 || q.Until >= until) {
		for subject, n := range info.State.Subjects {
			by[events.Category(subject[strings.LastIndexByte(subject, '.')+1:])] += n
		}
		return by, until, nil
	}
	if q.Until == 0 || q.Until > until {
		q.Until = until
	}
	for l, err := range b.All(ctx, q) {
		if err != nil {
			return nil, 0, err
		}
		by[l.Category]++
	}
	return by, q.Until, nil
}

// Drop removes the letters meant for good and returns how many.
func (b *Letterbox) Drop(ctx context.Context, q Letters) (n uint64, err error) {
	s, err := streamOf(ctx, b.js, b.subjects.DeadLetterStream())
	if err != nil {
		return 0, err
	}
	if q.Until == 0 {
		q.Until = s.CachedInfo().State.LastSeq
	}
	if q.bare() { // one request, however many there are
		by, _, err := b.Count(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, some := range by {
			n += some
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		if err := s.Purge(ctx, jetstream.WithPurgeSubject(b.filter(&q)), jetstream.WithPurgeSequence(q.Until+1)); err != nil {
			return 0, fmt.Errorf("purging dead letters: %w", err)
		}
		return n, nil
	}
	for l, err := range b.All(ctx, q) {
		if err != nil {
			return n, err
		}
		removed, err := erase(ctx, s, l.Sequence)
		if err != nil {
			return n, err
		}
		if removed {
			n++
		}
	}
	return n, nil
}

// Remove removes one letter; an ErrNoLetter tells that there was none.
func (b *Letterbox) Remove(ctx context.Context, seq uint64) error {
	s, err := streamOf(ctx, b.js, b.subjects.DeadLetterStream())
	if err != nil {
		return err
	}
	removed, err := erase(ctx, s, seq)
	if err == nil && !removed {
		err = fmt.Errorf("%w: %d", ErrNoLetter, seq)
	}
	return err
}
