package refresh

import (
	"fmt"
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

func alive(revision uint64) *known { return &known{state: core.State{Revision: revision}} }

func TestMemoryKeepsAsManyMembersAsItMayAndForgetsOnDemand(t *testing.T) {
	t.Parallel()
	m := newMemory(2)
	for n := range 3 {
		m.remember(keyNumber(t, n), alive(uint64(n+1)))
	}
	if m.recall(keyNumber(t, 0)) != nil {
		t.Error("the oldest of three is remembered by a memory for two")
	}
	if k := m.recall(keyNumber(t, 2)); k == nil || k.state.Revision != 3 {
		t.Error("the newest is not remembered")
	}
	m.forget(keyNumber(t, 2))
	if m.recall(keyNumber(t, 2)) != nil {
		t.Error("remembered what it was told to forget")
	}
}

func TestMemoryOfNothing(t *testing.T) {
	t.Parallel()
	m := newMemory(0)
	k := keyNumber(t, 1)
	m.remember(k, alive(1))
	m.forget(k)
	if m.recall(k) != nil || m.others(keyNumber(t, 2), 3) != nil {
		t.Error("a memory of size 0 remembers")
	}
}

func TestMemoryNamesOtherMembersThatWereAliveLately(t *testing.T) {
	t.Parallel()
	m := newMemory(10)
	for n := range 6 {
		m.remember(keyNumber(t, n), alive(1))
	}
	gone := alive(2)
	gone.state.Deleted = true
	m.remember(keyNumber(t, 4), gone)
	m.remember(keyNumber(t, 5), &known{}) // never seen
	got := m.others(keyNumber(t, 3), 2)
	if want := []events.Key{keyNumber(t, 2), keyNumber(t, 1)}; !slices.Equal(got, want) {
		t.Errorf("got %v, want the latest ones that live, %v", got, want)
	}
}
