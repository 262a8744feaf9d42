package client_test

import (
	"context"
	"testing"

	"github.com/memberwatch/memberwatch/events/client"
)

// BenchmarkSubscription measures what the kit takes to fetch, order, hand over
// and acknowledge an event that is stored already, of 1,000 members.
func BenchmarkSubscription(b *testing.B) {
	w := newWorld(b)
	w.fill(b.N)
	done := make(chan struct{})
	left := make(chan struct{}, b.N)
	b.ResetTimer()
	w.run(client.Subscription{Otherwise: func(context.Context, client.Delivery) error {
		if left <- struct{}{}; len(left) == b.N {
			close(done)
		}
		return nil
	}})
	<-done
}
