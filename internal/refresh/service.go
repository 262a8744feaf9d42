package refresh

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/loglimit"
	"github.com/memberwatch/memberwatch/internal/member"
)

// Deps are what a Service works with. All but Tracer are required.
type Deps struct {
	Subjects      events.Subjects
	MX            MX
	States        States
	Announcements Announcements
	Confirmations Confirmations
	Followings    Followings
	IDs           IDs
	Health        Health
	Log           *slog.Logger
	Now           func() time.Time
	Jitter        func() float64 // in [0,1)
	Tracer        trace.Tracer   // nil: nothing is traced, at no cost
}

// Service serves jobs. It is safe for concurrent use.
type Service struct {
	cfg   Config
	rules member.Rules
	Deps
	now    func() time.Time
	jitter func() float64

	desk      *desk
	memory    *memory
	budget    *budget
	refusals  *refusals
	deletions allowance
	held      *held
	fruitless fruitless
	store     storeHealth
	metrics   *metrics
	gaveUp    *loglimit.Lines
	heldBack  *loglimit.Lines
	tracing   tracing
	talks     bool // lines of level debug are wanted
	stop      context.CancelFunc
}

// New returns a Service that serves the jobs it is given at once. It must be
// stopped with [Service.Stop].
func New(cfg Config, deps Deps) *Service {
	ctx, stop := context.WithCancel(context.Background())
	s := &Service{
		cfg:       cfg,
		rules:     member.Rules{InitialEvents: cfg.InitialEvents, Aggregated: cfg.AggregatedEvents},
		Deps:      deps,
		now:       deps.Now,
		jitter:    deps.Jitter,
		memory:    newMemory(cfg.StateCache),
		budget:    newBudget(),
		refusals:  newRefusals(),
		deletions: allowance{limit: cfg.DeleteLimit},
		held:      newHeld(deps.Health),
		store:     storeHealth{health: deps.Health, log: deps.Log},
		metrics:   newMetrics(),
		gaveUp:    loglimit.New(deps.Log.Error, "gave up"),
		heldBack:  loglimit.New(deps.Log.Error, "deletion held back"),
		tracing:   tracing{deps.Tracer, deps.Subjects},
		stop:      stop,
	}
	s.desk = newDesk(ctx, &s.cfg, s.now, s.jitter, s.serve, s.look)
	s.metrics.watch(s.desk, s.memory)
	s.talks = deps.Log.Enabled(ctx, slog.LevelDebug)
	return s
}

// Submit takes a job in hand. It returns at once; the job's Settle tells the end.
func (s *Service) Submit(j *Job) {
	s.metrics.taken[j.Source].Inc()
	s.tracing.take(j)
	err := s.desk.submit(j, j.turn())
	if err == nil {
		return
	}
	v := Verdict{Disposition: Return, Reason: err.Error()}
	if errors.Is(err, errCrowded) {
		v = s.dispose(j, err)
	}
	s.tracing.settled(j, v, s.metrics.settled(j, v))
	j.Settle(v)
}

// Flow tells whoever fetches jobs how things stand.
type Flow struct {
	Suspended bool            // MX may not be asked: fetch nothing, but see to it that there is a promising job in hand to probe with
	Hand      int             // jobs in hand
	Promising bool            // while Suspended: one of them is of a member that nothing is known against, and never came before
	Moved     <-chan struct{} // closed when Suspended may have changed, or the service stops
}

// Flow returns how things stand now.
func (s *Service) Flow() Flow {
	return s.desk.flow()
}

// Run hands back what an outage keeps waiting, and finds whom to probe MX with,
// until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		moved := s.Flow().Moved
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
			s.acquaint(ctx)
		case <-t.C:
			for _, j := range s.desk.parked() {
				s.settle(j, s.dispose(j, errSuspended))
			}
			s.acquaint(ctx)
			s.desk.thin()
			s.held.expire(s.now())
			s.store.expire(s.now())
		}
	}
}

// acquaintTime bounds how long witnesses are looked for: Run has more to do, and looks
// again a second later.
const acquaintTime = 2 * time.Second

// acquaint finds witnesses for a service that was started into an outage, or into
// what looks like one, and has met nobody yet: some that have events.
func (s *Service) acquaint(ctx context.Context) {
	if !s.desk.friendless() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, acquaintTime)
	defer cancel()
	members, err := s.States.Some(ctx, maxWitnesses)
	if err != nil {
		s.Log.Debug("found no member to ask whether MX answers others", "error", err) // every second, while NATS is down too
	}
	s.desk.acquaint(members)
}

// Stop ends the service: jobs that have not begun are handed back at once, those
// in work are finished unless ctx ends first; then they are cut off and handed
// back too. It returns when no cycle runs any more, with ctx's error if it had
// to cut any off.
func (s *Service) Stop(ctx context.Context) error {
	for _, j := range s.desk.close() {
		s.settle(j, Verdict{Disposition: Return, Reason: "stopping"})
	}
	ended := make(chan struct{})
	go func() {
		s.desk.crew.all.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
		s.stop()
		<-ended
	}
	s.stop()
	s.gaveUp.Close()
	s.heldBack.Close()
	return err
}

// settle ends a job.
func (s *Service) settle(j *Job, v Verdict) {
	if v.Disposition == Done || v.Disposition == Dead || j.Source == SourceRequest { // no request comes again
		s.budget.forget(j.Ref)
	}
	if v.Disposition == Dead {
		v.Result.Outcome, v.Result.Reason = events.OutcomeFailed, v.Reason
	}
	v.Result.CommandID = j.ID
	v.Result.FinishedAt = s.now().UTC()
	v.TraceID = j.TraceID()
	outcome := s.metrics.settled(j, v)
	s.tracing.settled(j, v, outcome)
	s.logSettled(j, &v, outcome)
	j.Settle(v)
	s.desk.settled(1)
}

// note acts on what an answer of MX did to the breaker, and tells readiness.
func (s *Service) note(t transition, err error) {
	switch {
	case t == opened && classify(err) == blameUs:
		s.metrics.breaker.Set(1)
		s.Health.Set(CheckCredentials, err)
		s.Log.Error("MX refuses this service; commands are kept, probing slowly", "error", err)
	case t == opened:
		s.metrics.breaker.Set(1)
		s.Log.Warn("MX is failing; commands are kept, probing", "error", err)
	case t == closed:
		s.metrics.breaker.Set(0)
		s.Health.Set(CheckCredentials, nil)
		s.Log.Info("MX answers again")
	case classify(err) == blameUs && !errors.Is(err, context.Canceled):
		s.Health.Set(CheckCredentials, err)
	}
}
