package refresh

import (
	"fmt"
	"math"
	"regexp"
	"time"
)

// Config holds the settings that shape events and how hard MX is asked.
type Config struct {
	OAuthURITTL        time.Duration `env:"OAUTH_URI_TTL, default=30m" desc:"How long an OAuth URI is offered: the age at which announcements go."`
	InitialEvents      bool          `env:"INITIAL_EVENTS, default=true" desc:"Whether a member seen for the first time gets the event of its status; false: member.discovered."`
	AggregatedEvents   bool          `env:"AGGREGATED_EVENTS, default=false" desc:"Whether successful aggregations make events."`
	EventTypePrefix    string        `env:"EVENT_TYPE_PREFIX" desc:"Put in front of every event type, such as com.example."`
	StateCache         int           `env:"STATE_CACHE, default=10000" desc:"Members whose last state is kept in memory; 0 none."`
	DeleteConfirmAfter time.Duration `env:"DELETE_CONFIRM_AFTER, default=10s" desc:"How long after a first 404 a second read may declare a member deleted."`
	DeleteLimit        int           `env:"DELETE_LIMIT, default=20" desc:"Deletions that one worker publishes in a minute, at most; more are held back for somebody to look."`
	CommandBudget      time.Duration `env:"COMMAND_BUDGET, default=24h" desc:"How long a command that fails for its own member alone is tried before it becomes a dead letter."`
	ShutdownTimeout    time.Duration `env:"SHUTDOWN_TIMEOUT, default=20s" desc:"How long work in hand may take to finish once the process is told to stop."`

	// FollowUpAfter is FOLLOW_UP_AFTER, owned by package bus: members are followed
	// from there on, or not at all.
	FollowUpAfter time.Duration

	// RefreshEvery is REFRESH_EVERY, owned by package sweep: how soon a periodic read is
	// followed by the next one of the same member; 0: by none.
	RefreshEvery time.Duration

	// MaxInFlight and RateLimit are MX_MAX_IN_FLIGHT and MX_RATE_LIMIT, owned by package mx.
	MaxInFlight int
	RateLimit   float64
}

var typePrefix = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*\.?$`)

// Problems returns everything that is wrong with c, each naming the setting and the fix.
func (c *Config) Problems() []error {
	var p []error
	atLeast := func(name string, got, least time.Duration) {
		if got < least {
			p = append(p, fmt.Errorf("%s: %s is too short; at least %s", name, got, least))
		}
	}
	atLeast("OAUTH_URI_TTL", c.OAuthURITTL, time.Second) // the least max age of a stream with a duplicate window
	atLeast("DELETE_CONFIRM_AFTER", c.DeleteConfirmAfter, 0)
	atLeast("COMMAND_BUDGET", c.CommandBudget, time.Second)
	atLeast("SHUTDOWN_TIMEOUT", c.ShutdownTimeout, time.Second)
	if c.EventTypePrefix != "" && (len(c.EventTypePrefix) > 128 || !typePrefix.MatchString(c.EventTypePrefix)) {
		p = append(p, fmt.Errorf("EVENT_TYPE_PREFIX: %q is not a dotted lower-case name such as com.example", c.EventTypePrefix))
	}
	if c.StateCache < 0 || c.StateCache > math.MaxInt32 {
		p = append(p, fmt.Errorf("STATE_CACHE: %d; give a number of members from 0 (none) to %d", c.StateCache, math.MaxInt32))
	}
	if c.DeleteLimit < 1 {
		p = append(p, fmt.Errorf("DELETE_LIMIT: %d deletions a minute; give at least 1", c.DeleteLimit))
	}
	return p
}

// typeFront is EVENT_TYPE_PREFIX with the dot that parts it from the type.
func (c *Config) typeFront() string {
	if c.EventTypePrefix == "" || c.EventTypePrefix[len(c.EventTypePrefix)-1] == '.' {
		return c.EventTypePrefix
	}
	return c.EventTypePrefix + "."
}
