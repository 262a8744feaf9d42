package refresh

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// office is a desk whose cycles do nothing but ask an MX that takes its time.
// It is for use within a synctest bubble, which also sees to it that no
// goroutine is left.
type office struct {
	*desk
	t      *testing.T
	takes  time.Duration                            // for an answer
	answer func(turnKey) error                      // nil: everything is answered well
	after  func(ctx context.Context, c *call) error // the rest of a cycle; nil: nothing
	served chan round                               // one for each cycle, in order
	busy   map[turnKey]int                          // cycles under way; guarded by mu
	stop   context.CancelFunc
}

// round is what one cycle served.
type round struct {
	k    turnKey
	jobs []*Job
}

func newOffice(t *testing.T, cfg Config) *office {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	o := &office{
		t: t, takes: 10 * time.Millisecond,
		served: make(chan round, 100_000), busy: make(map[turnKey]int), stop: stop,
	}
	o.desk = newDesk(ctx, &cfg, time.Now, func() float64 { return even }, o.cycle, lookAway)
	return o
}

// lookAway is for desks whose witnesses are never asked.
func lookAway(context.Context, *call, turnKey) {}

// cycle serves a turn.
func (o *office) cycle(ctx context.Context, turn *turn, c *call) {
	o.mu.Lock()
	if o.busy[turn.key]++; o.busy[turn.key] > 1 {
		o.t.Errorf("%d cycles of %v at once", o.busy[turn.key], turn.key)
	}
	o.mu.Unlock()
	jobs := o.claim(turn)
	o.served <- round{turn.key, jobs}
	if err := c.begin(ctx); err == nil {
		<-time.After(o.takes)
		if o.answer != nil {
			err = o.answer(turn.key)
		}
		c.answered(err)
	}
	if o.after != nil {
		if err := o.after(ctx, c); err != nil {
			o.t.Log(err)
		}
	}
	o.mu.Lock()
	o.busy[turn.key]--
	o.mu.Unlock()
	o.settled(len(jobs))
}

// submit reports whether the job was taken in hand.
func (o *office) submit(j *Job, k turnKey) bool { return o.desk.submit(j, k) == nil }

// quit closes the desk and waits for its cycles.
func (o *office) quit() (unbegun []*Job) {
	unbegun = o.close()
	o.crew.all.Wait()
	o.stop()
	return unbegun
}

func job(l Lane) *Job { return &Job{Lane: l} }

func TestDeskServesAMemberByOneCycleAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		for round := range 20 {
			for n := range 5 {
				o.submit(job(Lane(round%2)), someone(n)) // the office itself looks for two cycles at once
			}
			<-time.After(3 * time.Millisecond)
		}
		synctest.Wait()
		<-time.After(time.Second)
		o.quit() // which waits for them all
		if o.hand != 0 || len(o.turns) != 0 {
			t.Errorf("%d jobs in hand, %d turns left", o.hand, len(o.turns))
		}
	})
}

func TestDeskLetsJobsThatWaitWhenAReadStartsShareIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		for range 200 {
			o.submit(job(Interactive), someone(1))
			<-time.After(100 * time.Microsecond)
		}
		<-time.After(time.Second)
		o.quit()
		close(o.served)
		cycles, jobs := 0, 0
		for s := range o.served {
			cycles++
			jobs += len(s.jobs)
		}
		if cycles != 3 || jobs != 200 { // one, what came in its 10 ms, and the rest
			t.Errorf("%d cycles for %d jobs, want 3 for 200", cycles, jobs)
		}
	})
}

func TestDeskLetsInteractiveJobsOvertakeAndBackgroundJobsHaveTheirShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 1})
		const n = 70
		for i := range n {
			o.submit(job(Background), someone(i))
		}
		for i := range n {
			o.submit(job(Interactive), someone(n+i))
		}
		<-time.After(time.Minute)
		o.quit()
		close(o.served)
		var lanes []Lane
		for s := range o.served {
			lanes = append(lanes, s.jobs[0].Lane)
		}
		if len(lanes) != 2*n {
			t.Fatalf("%d cycles, want %d", len(lanes), 2*n)
		}
		background := 0
		for _, l := range lanes[1 : 1+8*backgroundShare] { // the first began before anything interactive was there
			if l == Background {
				background++
			}
		}
		if background != 8 {
			t.Errorf("the background lane got %d of %d starts, want one in %d", background, 8*backgroundShare, backgroundShare)
		}
	})
}

func TestDeskMovesAMemberForwardWhenAnInteractiveJobComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 1})
		for i := range 20 {
			o.submit(job(Background), someone(i))
		}
		o.submit(job(Interactive), someone(19))
		<-time.After(time.Minute)
		o.quit()
		close(o.served)
		place := 0
		for s := range o.served {
			if s.k == someone(19) {
				if place != 1 || len(s.jobs) != 2 {
					t.Errorf("served at place %d with %d jobs, want next, with both", place, len(s.jobs))
				}
			}
			place++
		}
		if place != 20 {
			t.Errorf("%d cycles for 20 members", place)
		}
	})
}

func TestDeskDoesNotLetAHotMemberStarveOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 1})
		hot := someone(0)
		o.after = func(context.Context, *call) error {
			o.submit(job(Interactive), hot) // there is always one more
			return nil
		}
		o.submit(job(Interactive), hot)
		for i := range 20 {
			o.submit(job(Interactive), someone(1+i))
		}
		<-time.After(450 * time.Millisecond)
		o.quit()
		close(o.served)
		others := 0
		for s := range o.served {
			if s.k != hot {
				others++
			}
		}
		if others != 20 {
			t.Errorf("%d of 20 other members served within 45 reads", others)
		}
	})
}

func TestDeskKeepsTheRateLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []float64{3, 50, 400} {
		t.Run(fmt.Sprintf("%g a second", limit), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(t, Config{MaxInFlight: 64, RateLimit: limit})
				asked := 0
				o.answer = func(turnKey) error { o.mu.Lock(); defer o.mu.Unlock(); asked++; return nil }
				o.after = func(ctx context.Context, c *call) error { // every cycle asks twice
					err := c.begin(ctx)
					if err == nil {
						o.mu.Lock()
						asked++
						o.mu.Unlock()
						c.done()
					}
					return err
				}
				for i := range int(limit * 100) {
					o.submit(job(Interactive), someone(i))
				}
				<-time.After(time.Minute)
				o.mu.Lock()
				got, want := float64(asked), limit*60
				o.mu.Unlock()
				if got < want*0.95 || got > want*1.05 {
					t.Errorf("asked %g times in a minute, want %g", got, want)
				}
				o.stop() // those that wait for the limit
				o.quit()
			})
		})
	}
}

func TestDeskAsksForNothingWhileClosedByAnOutageButProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		down := true
		o.answer = func(turnKey) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			if down {
				return failure(mx.Unavailable)
			}
			return nil
		}
		moved := o.moved
		for i := range 500 {
			o.submit(job(Interactive), someone(i))
		}
		<-time.After(3 * time.Second)
		if n := len(o.served); n >= 20 {
			t.Errorf("%d requests in the first 3 s of an outage, want fewer than 20", n)
		}
		select {
		case <-moved:
		default:
			t.Error("nobody was told that fetching has to stop")
		}
		seen := make(map[turnKey]bool)
		for range len(o.served) {
			s := <-o.served
			if seen[s.k] {
				t.Errorf("%v was probed with twice", s.k)
			}
			seen[s.k] = true
		}
		o.mu.Lock()
		down = false
		o.mu.Unlock()
		<-time.After(5 * time.Second)
		o.quit()
		if o.hand != 0 {
			t.Errorf("%d jobs still wait after MX came back", o.hand)
		}
	})
}

func TestDeskAsksNoSecondTimeInACycleOnceMXIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 1})
		o.answer = func(k turnKey) error {
			if k == someone(2) {
				return failure(mx.RateLimited)
			}
			return nil
		}
		var first error
		o.after = func(ctx context.Context, c *call) error {
			if c.key != someone(1) {
				return nil
			}
			first = c.begin(ctx) // its place is taken by the other member, whose answer is 429
			return nil
		}
		o.submit(job(Interactive), someone(1))
		o.submit(job(Interactive), someone(2))
		<-time.After(100 * time.Millisecond)
		o.quit()
		if !errors.Is(first, errSuspended) {
			t.Errorf("a second request was permitted (%v) although MX is down", first)
		}
	})
}

func TestDeskHandsBackWhatHasWaitedThroughFiveSecondsOfOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.answer = func(turnKey) error { return &mx.CallError{Kind: mx.Unavailable, RetryAfter: time.Hour} }
		for i := range 100 {
			o.submit(job(Interactive), someone(i))
		}
		<-time.After(parkTime - time.Second)
		if n := len(o.parked()); n != 0 {
			t.Errorf("%d jobs handed back in a young outage", n)
		}
		<-time.After(2 * time.Second)
		waited := 100 - len(o.served)
		if n := len(o.parked()); n != waited-1 {
			t.Errorf("%d of %d jobs handed back, want all but one to probe with", n, waited)
		}
		if n := len(o.parked()); n != 0 {
			t.Errorf("%d more jobs handed back", n)
		}
		if n := len(o.quit()); n != 1 {
			t.Errorf("%d jobs were kept to probe with, want 1", n)
		}
	})
}

func TestDeskTakesNothingOnceItIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 1})
		for i := range 5 {
			o.submit(job(Interactive), someone(i))
		}
		synctest.Wait()
		if n := len(o.quit()); n != 4 {
			t.Errorf("%d jobs had not begun, want 4", n)
		}
		if n := len(o.served); n != 1 {
			t.Errorf("%d cycles, want the one that had begun", n)
		}
		if o.submit(job(Interactive), someone(9)) {
			t.Error("took a job after it was closed")
		}
		if refused := o.move([]*Job{job(Interactive)}, someone(9)); len(refused) != 1 {
			t.Error("moved a job to a turn that will never come")
		}
	})
}

func TestServiceReturnsAJobThatComesAfterItsEnd(t *testing.T) {
	t.Parallel()
	s, _ := newIdle(t, even)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []Verdict
	s.Submit(&Job{Source: SourceCommand, Settle: func(v Verdict) { got = append(got, v) }})
	if len(got) != 1 || got[0].Disposition != Return {
		t.Errorf("verdicts %+v, want one: return", got)
	}
	if f := s.Flow(); f.Hand != 0 {
		t.Errorf("%d jobs in hand", f.Hand)
	}
}
