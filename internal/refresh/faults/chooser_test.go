package faults

import (
	"math/rand/v2"
	"slices"
)

// chooser decides what happens next, wherever more than one thing may.
type chooser interface {
	// choose returns a number in [0,n).
	choose(n int) int
}

// dice decides at random.
type dice struct{ *rand.Rand }

func roll(seed, schedule uint64) dice { return dice{rand.New(rand.NewPCG(seed, schedule))} }

func (d dice) choose(n int) int { return d.IntN(n) }

// branch decides as its path says, and beyond it as beyond does: nil takes the
// first way. It notes how many ways there were, so that the next branch of the
// tree is known, and the same branch can be taken again.
type branch struct {
	path   []int
	beyond chooser
	taken  []int
	ways   []int
}

func (b *branch) choose(n int) int {
	way := 0
	switch i := len(b.taken); {
	case i < len(b.path):
		way = b.path[i]
	case b.beyond != nil:
		way = b.beyond.choose(n)
	}
	b.taken, b.ways = append(b.taken, way), append(b.ways, n)
	return way
}

// next is the path of the branch after b; nil when b was the last.
func (b *branch) next() []int {
	for i, way := range slices.Backward(b.taken) {
		if way+1 < b.ways[i] {
			return append(b.taken[:i:i], way+1)
		}
	}
	return nil
}
