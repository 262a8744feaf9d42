package client

import (
	"context"
	"log/slog"
)

// Kind says what a [Notice] is about.
type Kind string

// The kinds of notice.
const (
	Duplicate Kind = "duplicate" // handled before; acknowledged
	Stale     Kind = "stale"     // out of order; see [Delivery.Stale]. Acknowledged or handled
	Foreign   Kind = "foreign"   // a CloudEvent that is not about a member; acknowledged
	Retry     Kind = "retry"     // a handler failed and will be tried again
	GivenUp   Kind = "given_up"  // the policy took it; acknowledged
	Fetching  Kind = "fetching"  // fetching was interrupted and goes on by itself
)

// Notice is something worth a log line or a metric.
type Notice struct {
	Kind     Kind
	Delivery Delivery // what is known of it; zero for Fetching
	Err      error    // why; nil for Duplicate and Stale
}

// LogTo returns a [Subscription.Notice] that logs: what is given up as an error,
// failed tries and interruptions as warnings, the rest as information. It logs
// what an event is and where it is stored, never its data, which may hold a URI.
func LogTo(log *slog.Logger) func(Notice) {
	return func(n Notice) {
		level := slog.LevelInfo
		switch n.Kind {
		case GivenUp:
			level = slog.LevelError
		case Retry, Fetching:
			level = slog.LevelWarn
		case Duplicate, Stale, Foreign:
		}
		attrs := []slog.Attr{slog.String("notice", string(n.Kind))}
		if d := n.Delivery; d.Stream != "" {
			attrs = append(attrs, slog.String("stream", d.Stream), slog.Uint64("sequence", d.Sequence))
			if d.ID != "" {
				attrs = append(attrs, slog.String("type", string(d.Type)), slog.String("member", d.Key.Member()), slog.Int("attempt", d.Attempt))
			}
		}
		if n.Err != nil {
			attrs = append(attrs, slog.Any("error", n.Err))
		}
		log.LogAttrs(context.Background(), level, "subscription", attrs...)
	}
}
