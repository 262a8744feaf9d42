package refresh

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	core "github.com/memberwatch/memberwatch/internal/member"
)

func keyNumber(t *testing.T, n int) events.Key {
	t.Helper()
	k, err := events.NewKey("USR-1", fmt.Sprintf("MBR-%d", n))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// recalled is what m remembers of k; nil if it is nothing.
func recalled(m *memory, k events.Key) *known {
	s := new(known)
	if !m.recall(k, 0, s) {
		return nil
	}
	return s
}

func alive(revision uint64) *known { return &known{state: core.State{Revision: revision}} }

func TestMemoryKeepsAsManyMembersAsItMayAndForgetsOnDemand(t *testing.T) {
	t.Parallel()
	m := newMemory(2)
	for n := range 3 {
		m.remember(keyNumber(t, n), 0, alive(uint64(n+1)))
	}
	if recalled(m, keyNumber(t, 0)) != nil {
		t.Error("the oldest of three is remembered by a memory for two")
	}
	if k := recalled(m, keyNumber(t, 2)); k == nil || k.state.Revision != 3 {
		t.Error("the newest is not remembered")
	}
	m.forget(keyNumber(t, 2))
	if recalled(m, keyNumber(t, 2)) != nil {
		t.Error("remembered what it was told to forget")
	}
}

func TestMemoryBeginsAnewWithAnEpoch(t *testing.T) {
	t.Parallel()
	m := newMemory(2)
	for n := range 3 {
		m.remember(keyNumber(t, n), 7, alive(1))
	}
	if m.recall(keyNumber(t, 2), 8, new(known)) || m.size() != 0 {
		t.Error("remembered something of an earlier epoch")
	}
	m.remember(keyNumber(t, 0), 7, alive(1)) // learned before
	if m.recall(keyNumber(t, 0), 8, new(known)) || m.recall(keyNumber(t, 0), 7, new(known)) {
		t.Error("took in something of an earlier epoch")
	}
	for n := range 3 {
		m.remember(keyNumber(t, n), 8, alive(2))
	}
	if m.size() != 2 || !m.recall(keyNumber(t, 2), 8, new(known)) {
		t.Errorf("%d remembered in the new epoch; want 2", m.size())
	}
}

func TestMemoryOfSizeZeroRemembersNobody(t *testing.T) {
	t.Parallel()
	m := newMemory(0)
	k := keyNumber(t, 1)
	m.remember(k, 0, alive(1))
	m.forget(k)
	if recalled(m, k) != nil || m.others(keyNumber(t, 2), 3, 0, noneDoubtful) != nil {
		t.Error("a memory of size 0 remembers")
	}
}

func noneDoubtful(events.Key) bool { return false }

func TestMemoryNamesOtherMembersThatLive(t *testing.T) {
	t.Parallel()
	m := newMemory(10)
	key := func(user, member string) events.Key {
		k, err := events.NewKey(user, member)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k, sibling, gone, unseen := key("USR-1", "MBR-1"), key("USR-1", "MBR-2"), key("USR-2", "MBR-3"), key("USR-2", "MBR-4")
	a, b, c := key("USR-3", "MBR-5"), key("USR-4", "MBR-6"), key("USR-5", "MBR-7")
	for _, of := range []events.Key{k, sibling, gone, unseen, a, b, c} {
		m.remember(of, 0, alive(1))
	}
	dead := alive(2)
	dead.state.Deleted = true
	m.remember(gone, 0, dead)
	m.remember(unseen, 0, &known{})
	isB := func(o events.Key) bool { return o == b }
	for _, w := range []struct {
		n        int
		from     float64
		doubtful func(events.Key) bool
		want     []events.Key
	}{
		{2, 0, noneDoubtful, []events.Key{a, b}},
		{2, 0.8, noneDoubtful, []events.Key{b, c}}, // of 7
		{2, 0.99, noneDoubtful, []events.Key{c, a}},
		{2, 0, isB, []events.Key{a, c}},
		{4, 0, isB, []events.Key{a, c, sibling, b}},
		{9, 0, noneDoubtful, []events.Key{a, b, c, sibling}},
	} {
		if got := m.others(k, w.n, w.from, w.doubtful); !slices.Equal(got, w.want) {
			t.Errorf("%d from %v: %v, want %v", w.n, w.from, got, w.want)
		}
	}
}

func TestMemoryLooksNoFurtherForOthersThanItMustThoughAllAreDoubtful(t *testing.T) {
	t.Parallel()
	const many = 20_000
	m := newMemory(many)
	for n := range many {
		m.remember(keyNumber(t, n), 0, alive(1))
	}
	asked := 0
	everybody := func(events.Key) bool {
		asked++
		return true
	}
	if got := m.others(keyNumber(t, 0), 6, 0.5, everybody); len(got) != 6 || asked > othersAmong {
		t.Errorf("found %d, and looked at %d", len(got), asked)
	}
	dead := alive(2)
	dead.state.Deleted = true
	for n := range many - 2 {
		m.remember(keyNumber(t, n), 0, dead)
	}
	// Too few are found only when there are no more: a deletion is believed sooner then.
	if got := m.others(keyNumber(t, many), 6, 0, everybody); len(got) != 2 {
		t.Errorf("found %v, want the two that live", got)
	}
}

func TestMemoryKeepsWhoIsAskedForWhenItIsFull(t *testing.T) {
	t.Parallel()
	m := newMemory(3)
	for n := range 3 {
		m.remember(keyNumber(t, n), 0, alive(1))
	}
	m.remember(keyNumber(t, 3), 0, alive(1)) // the first goes, and all others have been passed
	if recalled(m, keyNumber(t, 1)) == nil {
		t.Fatal("more than one member went for one that came")
	}
	m.remember(keyNumber(t, 4), 0, alive(1))
	if recalled(m, keyNumber(t, 1)) == nil {
		t.Error("the member that was asked for went")
	}
	if recalled(m, keyNumber(t, 2)) != nil {
		t.Error("the member that noneDoubtful asked for stayed")
	}
}

func TestMemoryReturnsAllThatItWasGiven(t *testing.T) {
	t.Parallel()
	m, k := newMemory(1), keyNumber(t, 1)
	want := known{
		state: core.State{Snapshot: events.Member{GUID: k.Member(), UserGUID: k.User(), Name: new("Bank")}, Revision: 7},
		lastEvent: lastEvent{
			sequence: 1 << 40, eventID: "id", eventType: events.TypePending, observedAt: 1_700_000_000_000_000_000,
			cause: Cause{"c-1", "because", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"},
		},
	}
	m.remember(k, 0, &want)
	if got := recalled(m, k); got == nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestMemoryDoesNotTakeAnotherMembersRecordForItsOwn(t *testing.T) {
	t.Parallel()
	b := pack(keyNumber(t, 1), alive(1), core.NewWords())
	if got := new(known); got.unpack(b, keyNumber(t, 2), core.NewWords()) {
		t.Errorf("a record whose hash is the same was taken for the member's: %+v", got)
	}
}

func TestMemoryDoesNotKeepWhatIsLeftToAnnounce(t *testing.T) {
	t.Parallel()
	m, k := newMemory(10), keyNumber(t, 1)
	m.remember(k, 0, alive(1))
	m.remember(k, 0, &known{state: core.State{Revision: 2}, lastEvent: lastEvent{unannounced: new(events.Event)}})
	if recalled(m, k) != nil {
		t.Error("a state is remembered whose announcement is due")
	}
}
