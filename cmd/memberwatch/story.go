package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/webhook"
)

// story is what the demo plays. Everything in it waits for what has to happen,
// and fails when it does not.
type story struct {
	sim      *mxsim.Server
	hooks    webhooks
	audience *audience
	user     mxsim.User
	sent     int
	last     map[string]uint64 // revision of the last event that was waited for, by member

	river, hill, mill, harbor actor
}

// actor is a member that plays a part.
type actor struct{ name, guid string }

// The demo's clockwork: as in earnest, only faster.
const (
	demoFollowUp = time.Second
	demoConfirm  = 1500 * time.Millisecond
	demoSettle   = 2                     // reads that show an aggregation before it ends: the command's, and the follow-up
	demoLatency  = 20 * time.Millisecond // of MX, while the burst comes
)

func newStory(on *stage, a *audience) (*story, error) {
	s := &story{sim: on.sim, hooks: on.hooks, audience: a, last: make(map[string]uint64)}
	var err error
	if s.user, err = s.sim.AddUser(mxsim.User{ID: new("anna")}); err != nil {
		return nil, err
	}
	return s, nil
}

// play plays all acts.
func (s *story) play(ctx context.Context) error {
	for _, act := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"A user adds a bank that wants to be authorized in a window of its own", s.authorize},
		{"A bank asks a question that nobody answers", s.challenge},
		{"A connection breaks; MX itself would not tell", s.disconnect},
		{"MX sends a webhook, which only says whom to read", s.webhook},
		{"An application asks for a member and waits for the answer", s.ask},
		{"A member is deleted; a 404 alone is not believed", s.vanish},
		{fmt.Sprintf("%d refreshes of one member at once", burst), s.burst},
		{"MX goes down while commands come", s.outage},
	} {
		s.audience.out.heading(act.title)
		if err := act.play(ctx); err != nil {
			return fmt.Errorf("%s: %w", act.title, err)
		}
	}
	return nil
}

func (s *story) authorize(ctx context.Context) error {
	return inOrder(
		func() error { return s.add(&s.river, mxsim.Patch{"name": "Riverbank", "is_oauth": true}) },
		func() error { return s.refresh(ctx, s.river) },
		func() error { return s.expect(ctx, s.river, events.TypePending) },
		func() error { return s.announced(ctx, s.river) },
		func() error {
			s.audience.out.remark("the user authorizes")
			return s.sim.Authorize(s.river.guid, "")
		},
		func() error { return s.refresh(ctx, s.river) },
		func() error { return s.expect(ctx, s.river, events.TypeCreated) },
		func() error {
			s.audience.out.remark("nobody asks again: the member is read until it has settled, at growing intervals")
			return s.expect(ctx, s.river, events.TypeConnected)
		},
	)
}

func (s *story) challenge(ctx context.Context) error {
	return inOrder(
		func() error { return s.add(&s.hill, mxsim.Patch{"name": "Hillside Union"}) },
		func() error { return s.refresh(ctx, s.hill) },
		func() error { return s.expect(ctx, s.hill, events.TypeConnected) },
		func() error { return s.becomes(ctx, s.hill, events.StatusChallenged) },
		func() error { return s.sim.Expire(s.hill.guid) },
		func() error { return s.refresh(ctx, s.hill) },
		func() error { return s.expect(ctx, s.hill, events.TypeExpired) },
		func() error {
			s.audience.out.remark("the user tries again, and answers")
			return s.becomes(ctx, s.hill, events.StatusChallenged)
		},
		func() error { return s.sim.AnswerChallenge(s.hill.guid, "") },
		func() error { return s.refresh(ctx, s.hill) },
		func() error { return s.expect(ctx, s.hill, events.TypeResumed) },
		func() error { return s.expect(ctx, s.hill, events.TypeConnected) },
	)
}

func (s *story) disconnect(ctx context.Context) error {
	return inOrder(
		func() error { return s.add(&s.mill, mxsim.Patch{"name": "Old Mill Bank"}) },
		func() error { return s.refresh(ctx, s.mill) },
		func() error { return s.expect(ctx, s.mill, events.TypeConnected) },
		func() error { return s.becomes(ctx, s.mill, events.StatusDisconnected) },
	)
}

func (s *story) webhook(ctx context.Context) error {
	return inOrder(
		func() error { return s.sim.Set(s.mill.guid, mxsim.Patch{"connection_status": events.StatusDenied}) },
		func() error { return s.hint(ctx, s.mill) },
		func() error { return s.expect(ctx, s.mill, events.TypeDenied) },
	)
}

// hint has MX send a webhook about a member.
func (s *story) hint(ctx context.Context, a actor) error {
	body, err := webhook.Sample(webhook.TypeConnectionStatus, s.user.GUID, a.guid)
	if err != nil {
		return err
	}
	client, err := webhookClient(s.hooks.config, hookTarget{})
	if err != nil {
		return err
	}
	s.sent++ // it becomes a command
	s.audience.out.sent(time.Now(), "webhook", a.name, a.guid, "")
	return postWebhook(ctx, client, s.hooks.config, s.hooks.url, body)
}

func (s *story) ask(ctx context.Context) error {
	if err := s.sim.Set(s.mill.guid, mxsim.Patch{"connection_status": events.StatusConnected}); err != nil {
		return err
	}
	s.audience.out.sent(time.Now(), "request", s.mill.name, s.mill.guid, "")
	begun := time.Now()
	var answer events.RefreshResponse
	if err := s.audience.session.ask(ctx, events.APIRefresh, events.RefreshRequest{
		Command: events.Command{User: s.user.GUID, Member: s.mill.guid, Reason: "demo"},
	}, patience, &answer); err != nil {
		return err
	}
	took := time.Since(begun)
	if answer.Result.Outcome != events.OutcomeChanged || answer.State == nil {
		return fmt.Errorf("the answer is %s, without state: %t", answer.Result.Outcome, answer.State == nil)
	}
	if err := s.expect(ctx, s.mill, events.TypeConnected); err != nil {
		return err
	}
	s.audience.out.remark("answered after %s: %s, revision %d, %s",
		took.Round(100*time.Microsecond), answer.Result.Outcome, answer.Result.Revision, *answer.State.Member.ConnectionStatus)
	return nil
}

func (s *story) vanish(ctx context.Context) error {
	return inOrder(
		func() error { return s.add(&s.harbor, mxsim.Patch{"name": "Harbor Savings"}) },
		func() error { return s.refresh(ctx, s.harbor) },
		func() error { return s.expect(ctx, s.harbor, events.TypeConnected) },
		func() error { return s.sim.Delete(s.harbor.guid) },
		func() error { return s.refresh(ctx, s.harbor) },
		func() error { return s.answered(ctx) },
		func() error {
			s.audience.out.remark("MX answers 404; another read is due in %s", demoConfirm)
			return s.expect(ctx, s.harbor, events.TypeDeleted)
		},
	)
}

// burst is how many commands come at once, and mostReads how many reads they may cost.
const (
	burst     = 200
	mostReads = 40
)

func (s *story) burst(ctx context.Context) error {
	if err := s.sim.Set(s.hill.guid, mxsim.Patch{"connection_status": events.StatusDegraded}); err != nil {
		return err
	}
	s.sim.Configure(func(c *mxsim.Config) { c.Latency = demoLatency })
	defer s.sim.Configure(func(c *mxsim.Config) { c.Latency = 0 })
	s.sim.ResetStats("burst")
	s.audience.out.command(time.Now(), s.hill.name, s.hill.guid, fmt.Sprintf("%d times", burst))
	var acks []jetstream.PubAckFuture
	for range burst {
		body, err := json.Marshal(s.command(s.hill))
		if err != nil {
			return fmt.Errorf("encoding command: %w", err)
		}
		ack, err := s.audience.session.js.PublishAsync(s.audience.session.subjects.Refresh(), body)
		if err != nil {
			return fmt.Errorf("publishing command: %w", err)
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("publishing command: %w", err)
		}
	}
	if err := s.expect(ctx, s.hill, events.TypeDegraded); err != nil {
		return err
	}
	if err := s.answered(ctx); err != nil {
		return err
	}
	reads := s.asked("read")
	s.audience.out.remark("%d commands, %d reads of MX, one event", burst, reads)
	if reads > mostReads {
		return fmt.Errorf("%d commands cost %d reads of MX", burst, reads)
	}
	return nil
}

func (s *story) outage(ctx context.Context) error {
	s.audience.out.remark("MX answers 503")
	if _, err := s.sim.Inject(mxsim.Fault{Kind: mxsim.FaultStatus, Status: 503}); err != nil {
		return err
	}
	s.sim.ResetStats("outage")
	changes := []struct {
		actor
		to events.Status
	}{{s.river, events.StatusImpeded}, {s.hill, events.StatusLocked}, {s.mill, events.StatusImpaired}}
	for _, c := range changes {
		if err := s.sim.Set(c.guid, mxsim.Patch{"connection_status": c.to}); err != nil {
			return err
		}
		if err := s.refresh(ctx, c.actor); err != nil {
			return err
		}
	}
	if err := s.down(ctx); err != nil {
		return err
	}
	waiting, err := s.audience.session.left(ctx)
	if err != nil {
		return err
	}
	s.audience.out.remark("%d commands and follow-ups wait; MX was asked %d times, to see whether it is back", waiting, s.asked("read"))
	s.sim.ClearFaults()
	s.audience.out.remark("MX is back")
	for _, c := range changes {
		if err := s.expect(ctx, c.actor, c.to.Type()); err != nil {
			return err
		}
	}
	return s.answered(ctx)
}

// down waits until the outage has been noticed and probed.
func (s *story) down(ctx context.Context) error {
	const probes = 3
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for s.asked("read") < probes {
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for MX to be probed: %w", ctx.Err())
		}
	}
	return nil
}

// asked is how often an endpoint of MX was asked in this phase.
func (s *story) asked(endpoint string) (n uint64) {
	for _, count := range s.sim.Stats().Phase.ByEndpoint[endpoint] {
		n += count
	}
	return n
}

// inOrder does one after the other until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// add gives an actor a member at MX.
func (s *story) add(a *actor, p mxsim.Patch) error {
	m, err := s.sim.AddMember(s.user.GUID, p)
	if err != nil {
		return err
	}
	*a = actor{name: *m.Name, guid: m.GUID}
	return nil
}

// command makes the next command.
func (s *story) command(a actor) events.Command {
	s.sent++
	return events.Command{User: s.user.GUID, Member: a.guid, CommandID: commandID(s.sent), Reason: "demo"}
}

func commandID(n int) string { return fmt.Sprintf("demo-%03d", n) }

func (s *story) refresh(ctx context.Context, a actor) error {
	s.audience.out.command(time.Now(), a.name, a.guid, "")
	_, err := s.audience.session.send(ctx, s.command(a))
	return err
}

// becomes changes a member's status at MX and waits for its event.
func (s *story) becomes(ctx context.Context, a actor, to events.Status) error {
	return inOrder(
		func() error { return s.sim.Set(a.guid, mxsim.Patch{"connection_status": to}) },
		func() error { return s.refresh(ctx, a) },
		func() error { return s.expect(ctx, a, to.Type()) },
	)
}

// expect waits for an event that comes after those waited for before.
func (s *story) expect(ctx context.Context, a actor, t events.Type) error {
	return s.audience.await(ctx, fmt.Sprintf("%s of %s", t, a.name), func() bool {
		i := slices.IndexFunc(s.audience.seen, func(e events.Event) bool {
			return e.Key.Member() == a.guid && e.Type == t && e.Data.Revision > s.last[a.guid]
		})
		if i >= 0 {
			s.last[a.guid] = s.audience.seen[i].Data.Revision
		}
		return i >= 0
	})
}

// announced waits for the announcement that goes with the last event waited for.
func (s *story) announced(ctx context.Context, a actor) error {
	return s.audience.await(ctx, "the OAuth URI of "+a.name, func() bool {
		return slices.ContainsFunc(s.audience.seen, func(e events.Event) bool {
			return e.Key.Member() == a.guid && e.Type == events.TypeOAuthRequired &&
				e.Data.Revision == s.last[a.guid] && e.Data.OAuthWindowURI != ""
		})
	})
}

// answered waits for the results of all commands so far.
func (s *story) answered(ctx context.Context) error {
	return s.audience.await(ctx, "results", func() bool { return len(s.audience.answers) >= s.sent })
}
