//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// drainLimit bounds the wait for commands or follow-ups to be finished.
	drainLimit = 90 * time.Second
	// pollQueue is how exactly the end of the last command is known; asking costs the server some 30 µs.
	pollQueue = 5 * time.Millisecond
)

// pass is one measured run of commands.
type pass struct {
	commands int
	first    time.Time            // when the first command was published
	sent     map[string]time.Time // by member guid, when its first command was published
	took     time.Duration        // from then until the last command was finished
	stolen   float64              // percent of the machine's processor time that others had until then
	worker   time.Duration        // CPU time until then
	followed time.Duration        // CPU time until all follow-ups were finished, too
	server   time.Duration        // CPU time of nats-server until then
	mxsim    time.Duration
	reads    int // reads of MX until the last command was finished
	allReads int // with those of the follow-ups
	memory   memory
	writes   map[string]uint64 // messages written, by stream
	after    uint64            // last sequence of the event stream before
}

// run publishes one command for each of targets and waits until all is done.
// each, if not nil, is called before each.
func (w *world) run(ctx context.Context, targets []ref, each func(context.Context, int) error) (*pass, error) {
	p := &pass{commands: len(targets), sent: make(map[string]time.Time, len(targets))}
	if err := w.mx.resetReads(ctx); err != nil {
		return nil, err
	}
	before, err := w.sequences(ctx)
	if err != nil {
		return nil, err
	}
	p.after = before[w.c.events]
	cpu, err := w.cpu()
	if err != nil {
		return nil, err
	}

	began, err := machineTime()
	if err != nil {
		return nil, err
	}
	p.first = time.Now()
	if err := w.publish(ctx, p, targets, each); err != nil {
		return nil, err
	}
	if err := w.drained(ctx, w.c.queue, w.c.durable); err != nil {
		return nil, err
	}
	p.took = time.Since(p.first)
	ended, err := machineTime()
	if err != nil {
		return nil, err
	}
	p.stolen = ended.stolenSince(began)

	now, err := w.cpu()
	if err != nil {
		return nil, err
	}
	p.worker = now.worker - cpu.worker
	if p.reads, err = w.mx.reads(ctx); err != nil {
		return nil, err
	}
	if err := w.followed(ctx); err != nil {
		return nil, err
	}
	if now, err = w.cpu(); err != nil {
		return nil, err
	}
	p.followed, p.server, p.mxsim = now.worker-cpu.worker, now.server-cpu.server, now.mxsim-cpu.mxsim
	if p.allReads, err = w.mx.reads(ctx); err != nil {
		return nil, err
	}
	if p.memory, err = w.worker.memory(); err != nil {
		return nil, err
	}
	after, err := w.sequences(ctx)
	if err != nil {
		return nil, err
	}
	p.writes = map[string]uint64{}
	for name, n := range after {
		p.writes[name] = n - before[name]
	}
	return p, nil
}

func (w *world) publish(ctx context.Context, p *pass, targets []ref, each func(context.Context, int) error) error {
	futures := make([]jetstream.PubAckFuture, 0, len(targets))
	for i, t := range targets {
		if each != nil {
			if err := each(ctx, i); err != nil {
				return err
			}
		}
		subject := w.c.prefix + ".commands.member.refresh." + t.User + "." + t.Member
		if _, known := p.sent[t.Member]; !known {
			p.sent[t.Member] = time.Now()
		}
		f, err := w.js.PublishAsync(subject, nil, jetstream.WithStallWait(drainLimit))
		if err != nil {
			return fmt.Errorf("publishing command: %w", err)
		}
		futures = append(futures, f)
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(drainLimit):
		return fmt.Errorf("%w: publishing commands took more than %s", errBroken, drainLimit)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return fmt.Errorf("publishing command: %w", err)
		}
	}
	w.published += len(targets)
	return nil
}

// drained waits until a consumer has nothing to deliver and nothing unacknowledged.
func (w *world) drained(ctx context.Context, stream, durable string) error {
	c, err := w.js.Consumer(ctx, stream, durable)
	if err != nil {
		return fmt.Errorf("looking up consumer %s: %w", durable, err)
	}
	return w.poll(ctx, drainLimit, pollQueue, "to empty "+durable, func(ctx context.Context) (bool, error) {
		info, err := c.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("looking at consumer %s: %w", durable, err)
		}
		return info.NumPending == 0 && info.NumAckPending == 0, nil
	})
}

// followed waits until every event has had its follow-up.
func (w *world) followed(ctx context.Context) error {
	if w.c.follow == "" {
		return nil
	}
	return w.drained(ctx, w.c.events, w.c.follow)
}

// usage is the CPU time of the processes so far.
type usage struct{ worker, server, mxsim time.Duration }

func (w *world) cpu() (u usage, err error) {
	for _, of := range []struct {
		p  *process
		to *time.Duration
	}{{w.worker, &u.worker}, {w.nats, &u.server}, {w.sim, &u.mxsim}} {
		if *of.to, err = of.p.cpu(); err != nil {
			return u, err
		}
	}
	return u, nil
}

// sequences are the last sequences of every stream that the contender may write
// to, and so count writes whatever became of the messages.
func (w *world) sequences(ctx context.Context) (map[string]uint64, error) {
	all := map[string]uint64{}
	for _, name := range w.c.writes {
		s, err := w.js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("looking at stream %s: %w", name, err)
		}
		all[name] = s.CachedInfo().State.LastSeq
	}
	return all, nil
}

// stored is an event as it lies on the stream.
type stored struct {
	member string
	at     time.Time // when it was stored
	status string
	name   string
}

// eventsAfter reads the event stream behind a sequence.
func (w *world) eventsAfter(ctx context.Context, sequence uint64) ([]stored, error) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	s, err := w.js.Stream(ctx, w.c.events)
	if err != nil {
		return nil, fmt.Errorf("looking at stream %s: %w", w.c.events, err)
	}
	last := s.CachedInfo().State.LastSeq
	if last <= sequence {
		return nil, nil
	}
	c, err := w.js.OrderedConsumer(ctx, w.c.events, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: sequence + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	messages, err := c.Messages()
	if err != nil {
		return nil, fmt.Errorf("reading events: %w", err)
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var all []stored
	for {
		m, err := messages.Next()
		if err != nil {
			return nil, fmt.Errorf("reading events: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("reading events: %w", err)
		}
		var e struct {
			Data struct {
				Member struct {
					Status string `json:"connection_status"`
					Name   string `json:"name"`
				} `json:"member"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data(), &e); err != nil {
			return nil, fmt.Errorf("%w: decoding event: %w", errBroken, err)
		}
		member := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
		all = append(all, stored{member, meta.Timestamp, e.Data.Member.Status, e.Data.Member.Name})
		if meta.Sequence.Stream >= last {
			return all, nil
		}
	}
}

// delays are the times from a member's first command to its first event, in order
// of size: those of the commands that were sent within lead, and of all others.
func (p *pass) delays(all []stored, lead time.Duration) (early, late []time.Duration) {
	seen := make(map[string]bool, len(all))
	for _, e := range all {
		sent, ok := p.sent[e.member]
		if !ok || seen[e.member] {
			continue
		}
		seen[e.member] = true
		if d := e.at.Sub(sent); sent.Sub(p.first) < lead {
			early = append(early, d)
		} else {
			late = append(late, d)
		}
	}
	slices.Sort(early)
	slices.Sort(late)
	return early, late
}

// percentile is the nearest-rank percentile of sorted values; 0 of none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(p/100*float64(len(sorted)) + 0.999999)
	return sorted[min(max(i, 1), len(sorted))-1]
}
