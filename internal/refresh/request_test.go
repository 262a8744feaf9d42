package refresh

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/memberwatch/memberwatch/internal/mx"
)

// slowGiver is an MX that takes its time for a URI.
type slowGiver struct {
	MX
	takes time.Duration
	begun chan struct{} // one for each call
}

func (g *slowGiver) OAuthWindowURI(ctx context.Context, _, _ string, _ mx.OAuthOptions) (string, error) {
	g.begun <- struct{}{}
	select {
	case <-time.After(g.takes):
		return "https://bank.test/", nil
	case <-ctx.Done():
		return "", &mx.CallError{Kind: mx.Canceled, Op: mx.OpOAuthWindowURI, Err: ctx.Err()}
	}
}

// newSlow is a service, within a synctest bubble, whose MX takes its time for a URI
// and 10 ms for a read. served gets one for each cycle.
func newSlow(t *testing.T, takes time.Duration, limit int) (s *Service, g *slowGiver, served chan struct{}) {
	t.Helper()
	s, _ = newIdle(t, even)
	g = &slowGiver{takes: takes, begun: make(chan struct{}, 100_000)}
	served = make(chan struct{}, 100_000)
	s.now, s.desk.now, s.MX = time.Now, time.Now, g
	s.desk.breaker = newBreaker(limit, s.desk.busy)
	s.desk.run = func(ctx context.Context, turn *turn, c *call) {
		if turn.errand != nil {
			s.serve(ctx, turn, c)
			return
		}
		jobs := s.desk.claim(turn)
		if err := c.begin(ctx); err == nil {
			<-time.After(10 * time.Millisecond)
			c.answered(nil)
			served <- struct{}{}
		}
		s.desk.settled(len(jobs))
	}
	return s, g, served
}

// commandIn is a command that can be handed back, too.
func commandIn(l Lane) *Job { return &Job{Lane: l, Source: SourceCommand, Settle: func(Verdict) {}} }

func TestRequestsForURIsLeaveCommandsTheirPart(t *testing.T) {
	t.Parallel()
	for name, user := range map[string]string{"by guid": "USR-1", "by an id of the partner's": "alice"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, _, served := newSlow(t, 10*time.Millisecond, 64)
				s.desk.limiter = rate.NewLimiter(50, 2)
				ctx, cancel := context.WithCancel(t.Context())
				var clients sync.WaitGroup
				for range 40 {
					clients.Go(func() {
						for ctx.Err() == nil {
							if _, err := s.OAuthURI(ctx, user, "MBR-0", OAuthOptions{}); err != nil && ctx.Err() == nil {
								t.Error(err)
							}
						}
					})
				}
				<-time.After(time.Second)
				for n := range 120 {
					if err := s.desk.submit(commandIn(Interactive), someone(n)); err != nil {
						t.Fatal(err)
					}
				}
				<-time.After(time.Minute)
				if n := len(served); n != 120 {
					t.Errorf("%d of 120 commands were served beside 40 who ask for URIs all the time", n)
				}
				cancel()
				clients.Wait()
			})
		})
	}
}

func TestRequestsForURIsThatHangLeaveReadsTheirPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, served := newSlow(t, time.Hour, 4)
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				if _, err := s.OAuthURI(ctx, "USR-1", "MBR-0", OAuthOptions{}); err == nil {
					t.Error("a URI")
				}
			})
		}
		synctest.Wait()
		if n := len(g.begun); n != 1 {
			t.Errorf("%d calls for URIs, want the share of one", n)
		}
		for n := range 20 {
			if err := s.desk.submit(commandIn(Background), someone(n)); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Second)
		if n := len(served); n != 20 {
			t.Errorf("%d of 20 members were read", n)
		}
		cancel()
		clients.Wait()
		if s.desk.asking != 0 || s.desk.beside != 0 || s.desk.hand != 0 || len(s.desk.errands)+len(s.desk.requests) != 0 {
			t.Errorf("%d calls, %d beside reads, %d in hand, %d errands are still counted", s.desk.asking, s.desk.beside, s.desk.hand, len(s.desk.errands))
		}
	})
}

func TestRequestsForURIsThatWaitAreRefusedWhenTheBreakerOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, _ := newSlow(t, time.Minute, 4)
		refused := make(chan error, 20)
		var clients sync.WaitGroup
		for range 20 {
			clients.Go(func() {
				if _, err := s.OAuthURI(t.Context(), "USR-1", "MBR-0", OAuthOptions{}); err != nil {
					refused <- err
				}
			})
		}
		synctest.Wait()
		c := &call{desk: s.desk, key: someone(1)}
		if err := c.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.answered(failure(mx.RateLimited))
		synctest.Wait()
		if len(refused) != 19 || len(g.begun) != 1 {
			t.Errorf("%d refused, %d asked; want all refused but the one that was under way", len(refused), len(g.begun))
		}
		for range len(refused) {
			if err := <-refused; !errors.Is(err, errSuspended) {
				t.Errorf("error %v", err)
			}
		}
		clients.Wait()
	})
}

func TestARequestForAURIIsCutOffWithTheService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, _ := newSlow(t, time.Hour, 4)
		var clients sync.WaitGroup
		for range 2 {
			clients.Go(func() {
				if _, err := s.OAuthURI(t.Context(), "USR-1", "MBR-0", OAuthOptions{}); err == nil {
					t.Error("a URI")
				}
			})
		}
		<-g.begun
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		clients.Wait()
		if _, err := s.OAuthURI(t.Context(), "USR-1", "MBR-0", OAuthOptions{}); !errors.Is(err, errStopping) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestARequestForAURIDoesNotTakeAWitnessForFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newSlow(t, time.Second, 4)
		k := someone(1)
		s.desk.breaker.witnesses.out = []turnKey{k} // it is being asked
		if _, err := s.OAuthURI(t.Context(), k.user, k.member, OAuthOptions{}); err != nil {
			t.Error(err)
		}
		if len(s.desk.breaker.witnesses.out) != 1 {
			t.Error("the witness may be asked again while it is asked")
		}
	})
}
