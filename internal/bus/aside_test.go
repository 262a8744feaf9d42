package bus

import (
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

// queue is an inbox that counts its jobs until they are settled. If it joins them, one
// joins others of its member, as at the service.
type queue struct {
	*inbox
	joins bool

	mu           sync.Mutex
	waiting      map[string]int // jobs by member
	placed, most int            // jobs that joined no other: now, and at any time
}

func newQueue(joins bool) *queue {
	return &queue{inbox: newInbox(), joins: joins, waiting: make(map[string]int)}
}

func (q *queue) Submit(j *refresh.Job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	m, place := j.Command.Member, 1
	if q.joins && q.waiting[m] > 0 {
		place = 0
		j.Joined()
		j.Joined() // as one does that moves on to another turn
	}
	q.waiting[m]++
	q.placed += place
	q.most = max(q.most, q.placed)
	settle := j.Settle
	j.Settle = func(v refresh.Verdict) {
		q.mu.Lock()
		q.waiting[m]--
		q.placed -= place
		q.mu.Unlock()
		settle(v)
	}
	q.inbox.Submit(j)
}

// drain has n jobs done, slowly enough for a lane that takes too many to show it, and
// wants no more than so many to have been in hand.
func (h *house) drain(q *queue, n, most int) {
	h.t.Helper()
	for range n {
		j := q.next(h.t)
		h.commands()
		done(j)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.placed != 0 || q.most > most {
		h.t.Errorf("%d jobs in hand at the end, and %d at some time; want no more than %d", q.placed, q.most, most)
	}
}

// Those that wait for a turn which others have begun cost MX nothing.
func TestJobsThatJoinATurnTakeNoPlaceOfOthers(t *testing.T) {
	t.Parallel()
	h, q := newHouse(t, good()), newQueue(true)
	const places, hot, others = 16, 100, 40
	h.start(h.Bus, q)
	for range 3 { // a place that is left twice, or never, would show in the next round
		h.fill(hot)
		var slow []*refresh.Job
		for range hot {
			slow = append(slow, q.next(t))
		}
		for n := range others {
			h.publish(fmt.Sprintf("%s.USR-1.MBR-other-%d", plain, n), "", nil)
		}
		for range others {
			done(q.next(t))
		}
		for _, j := range slow {
			done(j)
		}
		h.until("all are acknowledged", func() bool { return h.commands() == 0 })
	}
	for n := range others {
		h.publish(fmt.Sprintf("%s.USR-1.MBR-other-%d", plain, n), "", nil)
	}
	h.drain(q, others, places)
}

func TestALaneHasOnlySoMuchBesideItsPlaces(t *testing.T) {
	t.Parallel()
	l := newLane(&lane{held: maxAside + 2})
	var all []*delivery
	for range maxAside + 2 {
		all = append(all, &delivery{lane: l, msg: new(nats.Msg)})
	}
	big := all[0]
	big.msg.Data = make([]byte, asideSize+1)
	for _, d := range all {
		l.stepAside(d)
	}
	if l.held != 2 || l.aside != maxAside || big.place != placed {
		t.Errorf("%d in their places and %d aside, the big one %d; want 2 and %d", l.held, l.aside, big.place, maxAside)
	}
	for _, d := range all {
		l.dismiss(d)
		l.dismiss(d)
		l.stepAside(d)
	}
	if l.held != 0 || l.aside != 0 {
		t.Errorf("%d in their places and %d aside, although none is in hand", l.held, l.aside)
	}
}
