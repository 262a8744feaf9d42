package bus

import (
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// denials are what NATS has refused a connection. It is told to the handler of
// asynchronous errors and nowhere else: whoever asked only sees a time-out.
//
// A refused publication is over with that: the next one is allowed or told anew, so
// it counts for a while only. A subscription that is refused, or revoked by a reload of
// the server, is gone for as long as the connection lasts, whatever the server allows
// later: only reconnecting makes it again. But that has a price, as all that a worker
// remembers of members counts no longer (ADR 0014), and one that lacks a right it can
// do without, to be found by NATS' tools say, must not pay it again and again. So the
// right is tried, with a subscription that ends at once, and we reconnect when it is
// back. Where that changes nothing after all, the delays grow.
type denials struct {
	pace   rhythm
	health Health
	log    *slog.Logger

	mu      sync.Mutex
	bad     bool                // health was told of a denial
	subject map[string]struct{} // refused subscriptions
	crowded bool                // a subscription was one too many, since the last look
	packed  bool                // the same, at the look before
	delay   time.Duration       // of the next look
	look    *time.Timer         // pending or under way, or we reconnect by it; nil: none is
	quiet   *time.Timer         // since the last denial, or the last connection

	connections int // made again
}

// rhythm is how denials go by.
type rhythm struct {
	first, most time.Duration // until a refused right is tried again, which grows
	age         time.Duration // a denied publication counts so long, and the growth of delays
}

// defaultRhythm counts a denial for longer than what was denied takes to be tried again.
func defaultRhythm() rhythm {
	return rhythm{first: 5 * time.Second, most: time.Minute, age: time.Minute}
}

// maxRefused bounds the subscriptions that are tried again: some more than we make, save
// inboxes, which count as one.
const maxRefused = 32

func newDenials(p rhythm, health Health, log *slog.Logger) *denials {
	return &denials{pace: p, health: health, log: log, subject: make(map[string]struct{}), delay: p.first}
}

// note is told of an error and reports whether it is a denial.
func (d *denials) note(nc *nats.Conn, err error) bool {
	crowded := errors.Is(err, nats.ErrMaxSubscriptionsExceeded)
	if !crowded && !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.packed || d.crowded
	subject, subscription := refusedSubscription(err)
	switch {
	case crowded:
		d.crowded = true
	case subscription:
		subject = tried(nc, subject)
		if _, known = d.subject[subject]; !known && len(d.subject) < maxRefused {
			d.subject[subject] = struct{}{}
		}
	default:
		known = false
	}
	// A right that is tried again, or an inbox of the next request, is the same denial.
	switch {
	case known:
	case crowded:
		d.log.Warn("NATS takes no more subscriptions", "error", err)
	default:
		d.log.Error("NATS denies a permission", "error", err)
	}
	d.bad = true
	d.health.Set(CheckNATS, err)
	d.again(nc)
	d.rest(nc)
	return true
}

// again has the refused subscriptions looked at later. d.mu is held.
func (d *denials) again(nc *nats.Conn) {
	if d.look != nil || len(d.subject) == 0 && !d.crowded && !d.packed {
		return
	}
	d.look = time.AfterFunc(d.delay, func() { d.heal(nc) })
	d.delay = min(2*d.delay, d.pace.most)
}

// rest has what is denied counted no longer, if nothing is denied meanwhile. d.mu is held.
func (d *denials) rest(nc *nats.Conn) {
	if d.quiet != nil {
		d.quiet.Stop()
	}
	d.quiet = time.AfterFunc(d.pace.age, func() { d.expire(nc) })
}

func (d *denials) expire(nc *nats.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.subject) > 0 || d.crowded || d.packed || !nc.IsConnected() {
		return
	}
	d.delay = d.pace.first
	if d.bad {
		d.bad = false
		d.health.Set(CheckNATS, nil)
		d.log.Info("NATS has denied nothing any more")
	}
}

// heal reconnects if a subscription is allowed that was refused.
func (d *denials) heal(nc *nats.Conn) {
	d.mu.Lock()
	on, connections := d.connections, nc.Stats().Reconnects
	was := d.packed
	d.packed, d.crowded = d.crowded, false
	packed := d.packed
	subjects := slices.Sorted(maps.Keys(d.subject))
	d.mu.Unlock()
	var allowed bool
	switch {
	case packed:
		// Of one too many the server does not say which it was. So another is made, and at
		// the next look it is known whether that was too many again.
		_ = try(nc, inboxTried(nc))
	case was:
		allowed = true
	default:
		allowed = slices.ContainsFunc(subjects, func(s string) bool { return try(nc, s) == nil })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.connections != on || nc.Stats().Reconnects != connections || !nc.IsConnected() {
		return // all is made again, without us
	}
	if !allowed {
		d.look = nil
		d.again(nc)
		return
	}
	d.log.Info("NATS allows what it denied; reconnecting to subscribe again")
	_ = nc.ForceReconnect() // fails only where the connection is closed
}

// try subscribes for a moment, and returns why that can't be done. It takes no part in a
// queue group: what others ask must not go to a subscription that is about to end.
func try(nc *nats.Conn, subject string) error {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return err //nolint:wrapcheck // Nobody reads it.
	}
	defer func() { _ = sub.Unsubscribe() }() // A refused one is gone already.
	if err := nc.FlushTimeout(askTimeout); err != nil {
		return err //nolint:wrapcheck // As above.
	}
	// The server refuses before it answers the flush.
	if _, err := sub.NextMsg(time.Nanosecond); errors.Is(err, nats.ErrPermissionViolation) {
		return err //nolint:wrapcheck // As above.
	}
	return nil
}

// connected forgets what the connection before was denied: all subscriptions are made
// again, and what is still refused is told again.
func (d *denials) connected(nc *nats.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.subject)
	d.connections++
	d.crowded, d.packed, d.bad = false, false, false
	if d.look != nil {
		d.look.Stop()
		d.look = nil
	}
	d.rest(nc)
	d.health.Set(CheckNATS, nil)
}

// disconnected tells health, which nothing that was denied before may change.
func (d *denials) disconnected(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad = false
	d.health.Set(CheckNATS, err)
}

var subscriptionTo = regexp.MustCompile(`Permissions Violation for Subscription to "([^"]*)"`)

// refusedSubscription is the subject of a refused subscription.
func refusedSubscription(err error) (string, bool) {
	m := subscriptionTo.FindStringSubmatch(err.Error())
	if m == nil {
		return "", false
	}
	return m[1], true
}

// tried is what to subscribe to in order to see whether subject is allowed. Inboxes are
// many, one for each request of a lane, and allowed together.
func tried(nc *nats.Conn, subject string) string {
	if strings.HasPrefix(subject, nc.Opts.InboxPrefix+".") {
		return inboxTried(nc)
	}
	return subject
}

func inboxTried(nc *nats.Conn) string { return nc.Opts.InboxPrefix + "." + probe + ".*" }
