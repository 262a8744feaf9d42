package bus

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/memberwatch/memberwatch/internal/refresh"
)

func TestStoppingALaneLeavesNothingToWaitForTheAckWait(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.fill(60)
	stop := h.start(h.Bus, in)
	h.until("the lane is full", func() bool { return len(in.jobs) == 16 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for range len(in.jobs) { // as the service does once it is stopped
		in.next(t).Settle(refresh.Verdict{Disposition: refresh.Return})
	}
	other := newInbox()
	h.start(h.open(good()), other)
	seen := make(map[string]bool)
	for len(seen) < 60 { // next waits for less than the ack wait
		j := other.next(t)
		seen[j.Ref] = true
		done(j)
	}
	h.until("all are acknowledged", func() bool { return h.commands() == 0 })
}

// deliveries is how often each of a consumer's next n messages has been handed out,
// this time included.
func (h *house) deliveries(stream, durable string, n int) (all []uint64) {
	h.t.Helper()
	for _, m := range h.pulled(stream, durable, n) {
		meta, err := m.Metadata()
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, meta.NumDelivered)
	}
	return all
}

func TestStoppingHandsWhatIsInHandBackOnce(t *testing.T) {
	t.Parallel()
	const n = 3 // fewer than either lane asks for, so that a request is open all the time
	twice := []uint64{2, 2, 2}
	t.Run("commands that are settled while the last requests run out", func(t *testing.T) {
		t.Parallel()
		h, in := newHouse(t, good()), newInbox()
		h.fill(n)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx, in) }()
		h.until("all are in hand", func() bool { return len(in.jobs) == n })
		cancel()
		for range n {
			in.next(t).Settle(refresh.Verdict{Disposition: refresh.Return})
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := h.deliveries("MX_COMMANDS", consumerCommands, n); !slices.Equal(got, twice) {
			t.Errorf("deliveries %v, want %v", got, twice)
		}
	})
	t.Run("events that wait for their time", func(t *testing.T) {
		t.Parallel()
		c := good()
		c.FollowUpAfter = maxFollowUp
		h, in := newHouse(t, c), newInbox()
		for i := range n {
			if _, err := h.States().Append(t.Context(), event(t, key(t, fmt.Sprintf("MBR-%d", i)), 1), 0); err != nil {
				t.Fatal(err)
			}
		}
		stop := h.start(h.Bus, in)
		h.until("all are in hand", func() bool {
			inHand, _ := h.pending("MX_EVENTS", consumerFollow)
			return inHand == n
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if got := h.deliveries("MX_EVENTS", consumerFollow, n); !slices.Equal(got, twice) {
			t.Errorf("deliveries %v, want %v", got, twice)
		}
	})
}
