package refreshtest

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// Result waits for a command's result and returns the first.
func (r *Rig) Result(id string) events.Result {
	r.tb.Helper()
	end := time.After(patience)
	for {
		r.results.mu.Lock()
		got, news := r.results.all[id], r.results.news
		r.results.mu.Unlock()
		if len(got) > 0 {
			return got[0]
		}
		select {
		case <-news:
		case <-end:
			r.tb.Fatalf("no result of command %s in %s", id, patience)
		}
	}
}

// Results returns all results that have come for a command.
func (r *Rig) Results(id string) []events.Result {
	r.results.mu.Lock()
	defer r.results.mu.Unlock()
	return slices.Clone(r.results.all[id])
}

// Until waits until a condition holds.
func (r *Rig) Until(what string, holds func() bool) {
	r.tb.Helper()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	end := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			r.tb.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// WaitIdle waits until nothing is left to do: no command, no event without its
// follow-up, and no background message, scheduled ones included, save the next
// reads of members that are on their way to another state: [Rig.WaitSettled].
func (r *Rig) WaitIdle() {
	r.tb.Helper()
	r.Until("nothing is left to do", func() bool {
		before := r.StreamInfo(r.Subjects.EventStream()).State.LastSeq
		idle := r.Messages(r.Subjects.CommandStream()) == 0 && r.followed(before) &&
			r.Messages(r.Subjects.BackgroundStream()) == uint64(len(r.Followed()))
		// What was looked at first may have been filled by what was looked at last.
		return idle && r.Messages(r.Subjects.CommandStream()) == 0 && r.followed(before) &&
			r.StreamInfo(r.Subjects.EventStream()).State.LastSeq == before
	})
}

// WaitSettled waits until nothing is left to do and no member is followed any more.
func (r *Rig) WaitSettled() {
	r.tb.Helper()
	nobody := func() bool { return len(r.Followed()) == 0 && r.Messages(r.Subjects.BackgroundStream()) == 0 }
	r.Until("no member is followed any more", func() bool {
		r.WaitIdle()
		before := r.StreamInfo(r.Subjects.EventStream()).State.LastSeq
		if !nobody() {
			return false
		}
		// The last scheduled read may have made an event, whose follow-up schedules another.
		r.WaitIdle()
		return nobody() && r.StreamInfo(r.Subjects.EventStream()).State.LastSeq == before
	})
}

// Followed returns the subjects on which next reads of members wait that are on
// their way to another state.
func (r *Rig) Followed() []string {
	r.tb.Helper()
	s, err := r.JS.Stream(r.tb.Context(), r.Subjects.BackgroundStream())
	if err != nil {
		r.tb.Fatal(err)
	}
	info, err := s.Info(r.tb.Context(), jetstream.WithSubjectFilter(r.Subjects.Prefix()+".background.at.settle.*.*"))
	if err != nil {
		r.tb.Fatal(err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects))
}

// followed reports whether every event up to a sequence has had its follow-up.
func (r *Rig) followed(last uint64) bool {
	r.tb.Helper()
	if r.bus.FollowUpAfter == 0 {
		return true
	}
	c, err := r.JS.Consumer(r.tb.Context(), r.Subjects.EventStream(), "memberwatch-follow")
	if err != nil {
		r.tb.Fatal(err)
	}
	i := c.CachedInfo()
	return i.NumPending == 0 && i.NumAckPending == 0 && i.Delivered.Stream >= last
}

// StreamInfo returns what the server says about a stream.
func (r *Rig) StreamInfo(name string) *jetstream.StreamInfo {
	r.tb.Helper()
	s, err := r.JS.Stream(r.tb.Context(), name)
	if err != nil {
		r.tb.Fatal(err)
	}
	return s.CachedInfo()
}

// Messages returns how many messages a stream holds.
func (r *Rig) Messages(stream string) uint64 {
	r.tb.Helper()
	return r.StreamInfo(stream).State.Msgs
}

// Stored returns the messages of a stream that match a subject, oldest first.
func (r *Rig) Stored(stream, subject string) []*jetstream.RawStreamMsg {
	r.tb.Helper()
	s, err := r.JS.Stream(r.tb.Context(), stream)
	if err != nil {
		r.tb.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); ; seq++ {
		m, err := s.GetMsg(r.tb.Context(), seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all
		}
		if err != nil {
			r.tb.Fatal(err)
		}
		all = append(all, m)
		seq = m.Sequence
	}
}

// Events returns a member's events, oldest first.
func (r *Rig) Events(k events.Key) []events.Event {
	r.tb.Helper()
	return r.decode(r.Stored(r.Subjects.EventStream(), r.Subjects.EventsOf(k)))
}

// Types returns the types of a member's events, oldest first.
func (r *Rig) Types(k events.Key) []events.Type {
	r.tb.Helper()
	var types []events.Type
	for _, e := range r.Events(k) {
		types = append(types, e.Type)
	}
	return types
}

// Announcements returns the member's announcements that the stream still holds:
// the last, or none.
func (r *Rig) Announcements(k events.Key) []events.Event {
	r.tb.Helper()
	return r.decode(r.Stored(r.Subjects.OAuthStream(), r.Subjects.OAuthOf(k)))
}

func (r *Rig) decode(messages []*jetstream.RawStreamMsg) []events.Event {
	r.tb.Helper()
	var all []events.Event
	for _, m := range messages {
		e, err := events.Decode(m.Data)
		if err != nil {
			r.tb.Fatalf("message %d on %s: %v", m.Sequence, m.Subject, err)
		}
		all = append(all, e)
	}
	return all
}

// DeadLetters returns all dead letters, oldest first.
func (r *Rig) DeadLetters() []events.DeadLetter {
	r.tb.Helper()
	var all []events.DeadLetter
	for _, m := range r.Stored(r.Subjects.DeadLetterStream(), r.Subjects.DeadLetters()) {
		var l events.DeadLetter
		if err := json.Unmarshal(m.Data, &l); err != nil {
			r.tb.Fatalf("dead letter %d: %v", m.Sequence, err)
		}
		all = append(all, l)
	}
	return all
}

// Answers returns what MX answered about a member at one endpoint, oldest first.
func (r *Rig) Answers(k events.Key, endpoint string) []mxsim.Entry {
	var all []mxsim.Entry
	for _, e := range r.Sim.Log(k.Member(), 0) {
		if e.Endpoint == endpoint {
			all = append(all, e)
		}
	}
	return all
}

// Reads returns how often MX answered a read of a member.
func (r *Rig) Reads(k events.Key) int { return len(r.Answers(k, "read")) }
