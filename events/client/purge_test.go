package client_test

import (
	"fmt"
	"iter"
	"testing"

	"github.com/memberwatch/memberwatch/events/client"
)

func TestReadingEndsWhenWhatWasPendingIsGone(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*world) (iter.Seq2[client.Delivery, error], error){
		"replay": func(w *world) (iter.Seq2[client.Delivery, error], error) {
			return w.client.Replay(w.tb.Context(), client.Range{}), nil
		},
		"snapshot": func(w *world) (iter.Seq2[client.Delivery, error], error) {
			snapshot, err := w.client.Snapshot(w.tb.Context())
			if err != nil {
				return nil, err
			}
			return snapshot.Members(w.tb.Context()), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.fill(800) // more than are fetched ahead
			stream, err := w.js.Stream(t.Context(), "MX_EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			all, err := begin(w)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				last := uint64(0)
				for d, err := range all {
					if err == nil && d.Sequence != last+1 {
						err = fmt.Errorf("%d comes after %d", d.Sequence, last)
					}
					if last = d.Sequence; err == nil && last == 1 {
						err = stream.Purge(t.Context())
					}
					if err != nil {
						ended <- err
						return
					}
				}
				if last < 1 || last > 799 {
					err = fmt.Errorf("%d of 800 came, though they were purged", last)
				}
				ended <- err
			}()
			if err := receive(t, ended); err != nil {
				t.Error(err)
			}
		})
	}
}
