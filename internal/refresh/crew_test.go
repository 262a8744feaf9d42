package refresh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// resting returns how many goroutines of the office wait for a turn.
func (o *office) resting() int {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.crew.idle)
}

// work has the office serve n members at once, and waits for the end.
func (o *office) work(n int) {
	for i := range n {
		o.submit(job(Interactive), someone(i))
	}
	<-time.After(time.Minute)
}

func TestWhoIsDoneServesWhatComesNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.work(8)
		if got := o.resting(); got != 8 {
			t.Fatalf("%d wait after eight turns at once, want 8", got)
		}
		for i := range 6 {
			o.submit(job(Interactive), someone(i))
		}
		if got := o.resting(); got != 2 {
			t.Errorf("%d wait while six of eight are at work, want 2", got)
		}
		<-time.After(time.Minute)
		if got := o.resting(); got != 8 {
			t.Errorf("%d wait in the end, want the same 8", got)
		}
		if o.quit(); len(o.served) != 14 {
			t.Errorf("%d turns were served, want 14", len(o.served))
		}
	})
}

func TestWhoeverNobodyNeededIsLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.work(8)
		for _, step := range []struct{ turns, left int }{{8, 8}, {3, 3}, {3, 3}, {0, 0}} {
			o.work(step.turns)
			o.thin()
			if got := o.resting(); got != step.left {
				t.Errorf("%d wait after %d turns at once, want %d", got, step.turns, step.left)
			}
		}
		o.work(2)
		o.quit() // ends those that wait, or hangs
		o.thin()
		if got := o.resting(); got != 0 {
			t.Errorf("%d wait after the end", got)
		}
	})
}

func TestWhoIsDoneAfterTheEndDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.submit(job(Interactive), someone(1))
		synctest.Wait() // it is at work
		o.quit()
		if got := o.resting(); got != 0 {
			t.Errorf("%d wait after the end", got)
		}
	})
}

func TestWhoCameLastServesFirst(t *testing.T) {
	t.Parallel()
	var w crew
	early, late := make(chan start, 1), make(chan start, 1)
	w.rest(early)
	w.rest(late)
	if !w.take(start{}) || len(late) != 1 || !w.take(start{}) || len(early) != 1 || w.take(start{}) {
		t.Errorf("%d starts for who came first, %d for who came last, want one each, the latter first", len(early), len(late))
	}
}

func TestAServiceLetsGoWhomNobodyNeeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newIdle(t, even)
		next := make(chan start, 1)
		s.desk.crew.rest(next)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		select {
		case <-next:
		case <-time.After(time.Minute):
			t.Error("after a minute one still waits for a turn")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
