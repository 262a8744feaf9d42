package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// ErrStillWritten means that whatever was removed, workers wrote about the person again.
var ErrStillWritten = errors.New("still being written about")

// forgetRounds bounds how often what workers wrote meanwhile is removed again.
const forgetRounds = 5

// Removed counts messages by what they were.
type Removed struct {
	Scheduled     int // reads in the slow lane, waiting or due
	Commands      int // refresh commands that waited
	DeadLetters   int
	IDs           int // what partners' own ids meant
	Announcements int
	Events        int
}

// Total is the sum.
func (r Removed) Total() int {
	return r.Scheduled + r.Commands + r.DeadLetters + r.IDs + r.Announcements + r.Events
}

func (r *Removed) add(o Removed) {
	r.Scheduled += o.Scheduled
	r.Commands += o.Commands
	r.DeadLetters += o.DeadLetters
	r.IDs += o.IDs
	r.Announcements += o.Announcements
	r.Events += o.Events
}

// Forgetter removes what an installation keeps about a person.
//
// Workers go on meanwhile, and nobody can ask them what they have in hand. So it
// works like this:
//
//  1. Scheduled reads are taken back. Commands and due reads stay, for up to Wait:
//     a message that a worker has in hand is on its stream until the work is
//     done, so once they are gone, and the follow-ups of the person's events have
//     been acknowledged, nothing is in hand that has a message. What is left then
//     (MX is down, no worker runs) is taken off the streams.
//  2. Dead letters, ids, announcements and events are removed, in this order: the
//     events, which tell what the person is called, last, and the oldest first,
//     so that the last event stays the member's state as long as there is any.
//  3. Wait passes, in which work that has no message, such as a request, comes to
//     its end. If anything was written meanwhile it begins again, forgetRounds
//     times at most.
//
// A worker that remembers the state of a removed event cannot write on from it:
// the compare-and-swap expects an event that is gone. It forgets, and the member
// begins a new life with revision 1.
type Forgetter struct {
	js       jetstream.JetStream
	subjects events.Subjects
	wait     time.Duration
}

// NewForgetter returns a Forgetter. wait has to be longer than a read in hand may take.
func NewForgetter(js jetstream.JetStream, s events.Subjects, wait time.Duration) *Forgetter {
	return &Forgetter{js, s, wait}
}

// lookAgain is how often work in hand is looked at.
const lookAgain = 200 * time.Millisecond

// Count tells what there is to remove.
func (f *Forgetter) Count(ctx context.Context, p Person) (Removed, error) {
	w, err := f.wanted(ctx, p)
	if err != nil {
		return Removed{}, err
	}
	return f.sweep(ctx, w, false)
}

// Forget removes what there is about a person and returns what it was. With an
// error it returns what was removed until then.
func (f *Forgetter) Forget(ctx context.Context, p Person) (Removed, error) {
	var all Removed
	w, err := f.wanted(ctx, p)
	if err != nil {
		return all, err
	}
	for range forgetRounds {
		some, err := f.waitForWork(ctx, w)
		all.add(some)
		if err != nil {
			return all, err
		}
		some, err = f.sweep(ctx, w, true)
		all.add(some)
		if err != nil {
			return all, err
		}
		if err := pause(ctx, f.wait); err != nil {
			return all, err
		}
		if err := f.learn(ctx, w); err != nil {
			return all, err
		}
		left, err := f.sweep(ctx, w, false)
		if err != nil || left.Total() == 0 {
			return all, err
		}
	}
	return all, fmt.Errorf("%w %d times: somebody keeps asking for refreshes; stop that, and begin again", ErrStillWritten, forgetRounds)
}

// waitForWork is step 1, up to the time limit.
func (f *Forgetter) waitForWork(ctx context.Context, w *matcher) (Removed, error) {
	var all Removed
	limit := time.NewTimer(f.wait)
	defer limit.Stop()
	for {
		// Again and again: what is in hand may schedule the next read.
		some, err := f.purge(ctx, f.subjects.BackgroundStream(), w.of(f.subjects.Prefix()+".background.at.*"), true)
		all.Scheduled += some
		if err != nil {
			return all, err
		}
		busy, err := f.busy(ctx, w)
		if err != nil || !busy {
			return all, err
		}
		select {
		case <-ctx.Done():
			return all, context.Cause(ctx)
		case <-limit.C:
			return all, nil
		case <-time.After(lookAgain):
		}
	}
}

// busy reports whether a message about the person waits or is in hand.
func (f *Forgetter) busy(ctx context.Context, w *matcher) (bool, error) {
	if due, err := f.purge(ctx, f.subjects.BackgroundStream(), w.of(f.subjects.Prefix()+".background.due"), false); due > 0 || err != nil {
		return true, err
	}
	if waiting, err := f.commandWaits(ctx, w); waiting || err != nil {
		return true, err
	}
	s, err := streamOf(ctx, f.js, f.subjects.EventStream())
	if err != nil {
		return false, err
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	last, err := s.GetLastMsgForSubject(asking, w.of(f.subjects.Prefix()+".events.member.*"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for last event: %w", err)
	}
	follow, err := s.Consumer(asking, consumerFollow)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil // FOLLOW_UP_AFTER is 0
	}
	if err != nil {
		return false, fmt.Errorf("looking at follow-ups: %w", err)
	}
	return follow.CachedInfo().AckFloor.Stream < last.Sequence, nil
}

// sweep removes, or only counts, what there is about the person: step 2, and
// what waitForWork has left.
func (f *Forgetter) sweep(ctx context.Context, w *matcher, remove bool) (r Removed, err error) {
	for _, part := range []struct {
		count *int
		of    func() (int, error)
	}{
		{&r.Scheduled, func() (int, error) {
			return f.purge(ctx, f.subjects.BackgroundStream(), w.of(f.subjects.Prefix()+".background.at.*"), remove)
		}},
		{&r.Scheduled, func() (int, error) {
			return f.purge(ctx, f.subjects.BackgroundStream(), w.of(f.subjects.Prefix()+".background.due"), remove)
		}},
		{&r.Commands, func() (int, error) { return f.commands(ctx, w, remove) }},
		{&r.DeadLetters, func() (int, error) { return f.letters(ctx, w, remove) }},
		{&r.IDs, func() (int, error) { return f.ids(ctx, w, remove) }},
		{&r.Announcements, func() (int, error) {
			return f.each(ctx, f.subjects.OAuthStream(), w.of(f.subjects.Prefix()+".oauth.member.oauth_required"), remove, everyMessage)
		}},
		{&r.Events, func() (int, error) {
			return f.each(ctx, f.subjects.EventStream(), w.of(f.subjects.Prefix()+".events.member.*"), remove, everyMessage)
		}},
	} {
		some, err := part.of()
		*part.count += some
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// wanted finds out what the person is called.
func (f *Forgetter) wanted(ctx context.Context, p Person) (*matcher, error) {
	w := newMatcher(f.subjects, p)
	return w, f.learn(ctx, w)
}

// learn takes what the person is called from their events.
func (f *Forgetter) learn(ctx context.Context, w *matcher) error {
	e := selection{stream: f.subjects.EventStream(), filter: w.of(f.subjects.Prefix() + ".events.member.*")}
	for m, err := range readStream(ctx, f.js, e) {
		if err != nil {
			return err
		}
		_, k, ok := f.subjects.ParseEvent(m.Subject())
		var event struct {
			Data struct {
				Member struct {
					ID     *string `json:"id"`
					UserID *string `json:"user_id"`
				} `json:"member"`
			} `json:"data"`
		}
		if ok && json.Unmarshal(m.Data(), &event) == nil {
			w.met(k, event.Data.Member.UserID, event.Data.Member.ID)
		}
	}
	return nil
}

// purge removes or counts the messages on a filter, in one request.
func (f *Forgetter) purge(ctx context.Context, stream, filter string, remove bool) (int, error) {
	s, err := streamOf(ctx, f.js, stream)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return 0, fmt.Errorf("looking at stream %s: %w", stream, err)
	}
	var n int
	for _, some := range info.State.Subjects {
		n += int(some) //nolint:gosec // Messages of one person.
	}
	if n == 0 || !remove {
		return n, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(filter)); err != nil {
		return 0, fmt.Errorf("purging %s of stream %s: %w", filter, stream, err)
	}
	return n, nil
}

func everyMessage(jetstream.Msg) bool { return true }

// each removes or counts the messages on a filter that are meant, oldest first.
func (f *Forgetter) each(ctx context.Context, stream, filter string, remove bool, meant func(jetstream.Msg) bool) (n int, err error) {
	s, err := streamOf(ctx, f.js, stream)
	if err != nil {
		return 0, err
	}
	for m, err := range readStream(ctx, f.js, selection{stream: stream, filter: filter}) {
		if err != nil {
			return n, err
		}
		if !meant(m) {
			continue
		}
		if remove {
			meta, err := m.Metadata()
			if err != nil {
				return n, fmt.Errorf("removing message: %w", err)
			}
			if there, err := erase(ctx, s, meta.Sequence.Stream); err != nil {
				return n, err
			} else if !there {
				continue
			}
		}
		n++
	}
	return n, nil
}

func (f *Forgetter) letters(ctx context.Context, w *matcher, remove bool) (int, error) {
	box := NewLetterbox(f.js, f.subjects)
	return f.each(ctx, f.subjects.DeadLetterStream(), f.subjects.DeadLetters(), remove, func(m jetstream.Msg) bool {
		l := box.open(0, m.Subject(), m.Data())
		if l.Err != nil {
			return w.mentioned(string(m.Data()))
		}
		return w.inLetter(&l)
	})
}

// ids purges the keys whose value is the person's. To delete a key would leave a
// marker with its name, and needs the right to write the bucket.
func (f *Forgetter) ids(ctx context.Context, w *matcher, remove bool) (n int, err error) {
	stream := "KV_" + f.subjects.IDBucket()
	for m, err := range readStream(ctx, f.js, selection{stream: stream}) {
		if err != nil {
			return n, err
		}
		var g guids
		if json.Unmarshal(m.Data(), &g) != nil || !w.isKey(g.User, g.Member) {
			continue
		}
		some, err := f.purge(ctx, stream, m.Subject(), remove)
		if err != nil {
			return n, err
		}
		n += some
	}
	return n, nil
}

// commandWaits reports whether a command about the person waits or is in hand.
// What it has looked at it does not look at again.
func (f *Forgetter) commandWaits(ctx context.Context, w *matcher) (bool, error) {
	s, err := streamOf(ctx, f.js, f.subjects.CommandStream())
	if err != nil {
		return false, err
	}
	for {
		m, err := nextMessage(ctx, s, w.passed+1)
		if err != nil || m == nil {
			return false, err
		}
		if w.inMessage(m.Subject, m.Header, m.Data) {
			return true, nil
		}
		w.passed = m.Sequence
	}
}

// commands removes or counts the waiting commands about the person. A work queue
// lets nobody else read it, so they are got one by one.
func (f *Forgetter) commands(ctx context.Context, w *matcher, remove bool) (count int, err error) {
	s, err := streamOf(ctx, f.js, f.subjects.CommandStream())
	if err != nil {
		return 0, err
	}
	for seq := uint64(1); ; seq++ {
		m, err := nextMessage(ctx, s, seq)
		if err != nil || m == nil {
			return count, err
		}
		seq = m.Sequence
		if !w.inMessage(m.Subject, m.Header, m.Data) {
			continue
		}
		if remove {
			if there, err := erase(ctx, s, seq); err != nil {
				return count, err
			} else if !there {
				continue
			}
		}
		count++
	}
}

// nextMessage returns the first message from a sequence on, nil when there is none.
func nextMessage(ctx context.Context, s jetstream.Stream, from uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	m, err := s.GetMsg(ctx, from, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil //nolint:nilnil // That there is none is an answer.
	}
	if err != nil {
		return nil, fmt.Errorf("getting message from %d on: %w", from, err)
	}
	return m, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
