package refresh

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// troubled is an MX that does not answer for members below 100.
func troubled(k turnKey) error {
	var n int
	if _, err := fmt.Sscanf(k.member, "MBR-%d", &n); err == nil && n < 100 {
		return failure(mx.ServerFailed)
	}
	return nil
}

// wait reports how long it takes until a read of k begins.
func (o *office) wait(t *testing.T, k turnKey) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		select {
		case r := <-o.served:
			if r.k == k && len(r.jobs) > 0 { // not as a witness
				return time.Since(began)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v is not served", k)
		}
	}
}

func TestDeskServesOthersWhileManyMembersFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.answer = troubled
		o.submit(job(Interactive), someone(500))
		synctest.Wait()
		<-time.After(time.Second)
		for round := range 5 {
			for n := range 100 { // the jobs of a hundred members come again and again
				o.submit(&Job{Lane: Interactive, Deliveries: uint64(round + 1)}, someone(n))
			}
			o.submit(job(Interactive), someone(200+round))
			if d := o.wait(t, someone(200+round)); d > 5*time.Second {
				t.Errorf("round %d: served after %s", round, d)
			}
			<-time.After(10 * time.Second)
			if o.suspended() {
				t.Errorf("round %d: MX is not asked", round)
			}
		}
		o.quit()
	})
}

func TestDeskProbesFirstWithThoseThatNothingIsKnownAgainst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.answer = troubled
		for n := range 50 { // nobody has ever been answered
			o.submit(&Job{Lane: Interactive, Deliveries: 3}, someone(n))
		}
		<-time.After(100 * time.Millisecond)
		if f := o.flow(); !f.Suspended || f.Promising {
			t.Errorf("flow %+v, want nobody promising in hand", f)
		}
		o.submit(job(Background), someone(200))
		if f := o.flow(); !f.Promising {
			t.Error("a job that never came before is not promising")
		}
		if d := o.wait(t, someone(200)); d > firstProbe {
			t.Errorf("it was served after %s, want it to be the first probe", d)
		}
		<-time.After(10 * time.Second)
		if o.suspended() {
			t.Error("MX is not asked although it answered")
		}
		o.quit()
	})
}

func TestDeskProbesWithWitnessesWhileNothingWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		var down atomic.Bool
		o.answer = func(turnKey) error {
			if down.Load() {
				return failure(mx.RateLimited)
			}
			return nil
		}
		o.submit(job(Interactive), someone(1))
		o.submit(job(Interactive), someone(2))
		<-time.After(time.Second)
		down.Store(true)
		o.submit(job(Interactive), someone(1)) // and nobody asks any more
		<-time.After(10 * time.Second)
		if !o.suspended() {
			t.Fatal("MX is asked; the test shows nothing")
		}
		if n := len(o.served) - 3; n < 15 || n > 20 {
			t.Errorf("%d probes in 10 s, want 15 to 20", n)
		}
		down.Store(false)
		<-time.After(2 * time.Second)
		if o.suspended() {
			t.Error("MX is not asked although it answers again")
		}
		before := len(o.served)
		<-time.After(time.Minute)
		if n := len(o.served) - before; n != 0 {
			t.Errorf("%d reads for nobody when MX is well", n)
		}
		o.quit()
	})
}

func TestDeskFindsOutWhetherMXIsToBlameThoughNothingWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.answer = troubled
		o.submit(job(Interactive), someone(500))
		<-time.After(time.Second)
		for n := range failedMembers {
			o.submit(job(Interactive), someone(n))
		}
		<-time.After(time.Second)
		o.mu.Lock()
		if o.breaker.probes() {
			t.Error("MX is in doubt although a witness could be asked")
		}
		o.mu.Unlock()
		o.quit()
	})
}

func TestDeskProbesWithNobodyWhileNobodyIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		var down atomic.Bool
		down.Store(true)
		o.answer = func(turnKey) error {
			if down.Load() {
				return failure(mx.RateLimited)
			}
			return nil
		}
		o.submit(job(Interactive), someone(1))
		<-time.After(time.Minute)
		if n := len(o.served); n != 1 || !o.suspended() {
			t.Errorf("%d reads, MX not asked: %t", n, o.suspended())
		}
		down.Store(false)
		o.submit(job(Interactive), someone(2))
		<-time.After(o.takes)
		if synctest.Wait(); o.suspended() {
			t.Error("whoever came next was not the probe")
		}
		o.quit()
	})
}

func TestDeskKeepsAPromisingJobToProbeWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(t, Config{MaxInFlight: 64})
		o.answer = func(turnKey) error { return &mx.CallError{Kind: mx.Unavailable, RetryAfter: time.Hour} }
		o.submit(job(Interactive), someone(0))
		<-time.After(time.Second)
		o.submit(&Job{Lane: Interactive, Deliveries: 2}, someone(1))
		o.submit(job(Interactive), someone(2))
		o.submit(job(Interactive), someone(0)) // which has failed
		<-time.After(parkTime)
		if n := len(o.parked()); n != 2 {
			t.Errorf("%d jobs handed back, want 2", n)
		}
		if !o.flow().Promising {
			t.Error("the one that was kept is not the promising one")
		}
		o.quit()
	})
}

func TestDeskGivesMembersThatFailByThemselvesAShareOfTheCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 16
		o := newOffice(t, Config{MaxInFlight: limit})
		hang := false
		o.answer = func(k turnKey) error {
			err := troubled(k)
			if err != nil && hang {
				<-time.After(10 * time.Second)
			}
			return err
		}
		for n := range 50 {
			o.submit(job(Interactive), someone(n))
			<-time.After(time.Second)
			o.submit(job(Interactive), someone(500+n))
			<-time.After(time.Second)
		}
		hang = true
		taken := 0
		for n := range 50 {
			switch err := o.desk.submit(job(Interactive), someone(n)); {
			case err == nil:
				taken++
			case !errors.Is(err, errCrowded):
				t.Fatal(err)
			}
		}
		if taken != limit/2 { // a quarter, and more as long as half of the calls were free
			t.Errorf("%d members that hang were taken in hand, want %d", taken, limit/2)
		}
		if err := o.desk.submit(job(Interactive), someone(0)); err != nil {
			t.Errorf("another job of a member in hand: %v", err)
		}
		began := time.Now()
		o.submit(job(Interactive), someone(200))
		if o.wait(t, someone(200)); time.Since(began) > time.Second {
			t.Errorf("another member was served after %s", time.Since(began))
		}
		<-time.After(time.Minute)
		o.quit()
		if o.ailing != 0 {
			t.Errorf("%d failing members in hand when all are served", o.ailing)
		}
	})
}
