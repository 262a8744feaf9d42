package oracle

import (
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Options say what to check against. The zero value checks the installation
// with prefix mx and default settings, and only what the streams tell by themselves.
type Options struct {
	// Prefix is SUBJECT_PREFIX; empty means mx.
	Prefix string
	// Member is the guid of the one member to look at; empty means all.
	Member string
	// EventTypePrefix is EVENT_TYPE_PREFIX.
	EventTypePrefix string
	// Aggregated tells that AGGREGATED_EVENTS is on.
	Aggregated bool
	// NoInitialEvents tells that INITIAL_EVENTS is off.
	NoInitialEvents bool
	// Trimmed allows that the stream has dropped events: revisions need only increase.
	Trimmed bool
	// SameClock tells that NATS and every worker read one clock, as on one machine.
	SameClock bool
	// Truth yields what MX answers now, by member guid: the member object (with
	// oauth_window_uri_blank, true or false, when the URI itself is not to be had), or nil for
	// 404. Every member it yields that MX knows must have been published.
	Truth iter.Seq2[string, []byte]
	// Reads yields what MX answered to reads of members and the client got whole: of each
	// member every status, every 404, and the last answer last. It makes sense when nothing
	// is left to do: each command acked, each event followed up.
	Reads iter.Seq[Read]
	// EveryRead tells that Reads leaves out no answer, and yields those of a member in the
	// order in which MX gave them. An answer that says no more than the one before it may be
	// missing, as long as no read tells At; of 404s in a row two are wanted.
	EveryRead bool
	// Validate checks a raw event against its schema.
	Validate func(raw []byte) error
	// Secrets are texts that no event and no announcement may hold.
	Secrets []string
	// MaxOffenses bounds Report.Offenses; 0 means 100.
	MaxOffenses int
}

// Read is an answer of MX to a read of a member.
type Read struct {
	Member string // the member's guid
	Status int    // of HTTP
	// Body is the member object, for 200. Where the URI itself is not to be had,
	// oauth_window_uri_blank tells, true or false, whether there was none; with neither
	// of the two it is not known.
	Body []byte
	// At is when MX got the request; zero when that is not known. It counts with
	// Options.EveryRead and Options.SameClock, which then is MX's clock, too.
	At time.Time
}

const (
	defaultPrefix      = "mx"
	defaultMaxOffenses = 100
)

// Check reads the streams of an installation and reports what is wrong. An
// error means that they could not be read to the end.
func Check(ctx context.Context, js jetstream.JetStream, opts Options) (Report, error) {
	c := newChecker(opts)
	if opts.Reads != nil {
		c.takeReads(opts.Reads)
	}
	scanned, err := c.scan(ctx, js, c.events, c.filter("events.member.*"), c.event)
	if err != nil {
		return c.report, fmt.Errorf("reading stream %s: %w", c.events, err)
	}
	_, err = c.scan(ctx, js, c.oauth, c.filter("oauth.member.oauth_required"), func(m message) { c.announcement(m, scanned) })
	if err != nil {
		return c.report, fmt.Errorf("reading stream %s: %w", c.oauth, err)
	}
	if err := c.missingAnnouncements(ctx, js); err != nil {
		return c.report, err
	}
	if opts.Truth != nil {
		c.checkTruth(opts.Truth)
	}
	if opts.Reads != nil {
		c.checkLastReads()
	}
	c.report.Members = len(c.lives)
	return c.report, nil
}

// checker is the state of one check.
type checker struct {
	opts          Options
	events, oauth string // stream names
	vocabulary    vocabulary
	seed          maphash.Seed
	ids           map[uint64]struct{} // hashes of the event ids seen; a chance of 3 in 10⁸ of a false alarm in a million
	lives         map[string]*life    // by user guid/member guid
	byMember      map[string]string   // key in lives by member guid
	served        map[string]*answers // by member guid; nil without Reads
	report        Report
}

func newChecker(opts Options) *checker {
	if opts.Prefix == "" {
		opts.Prefix = defaultPrefix
	}
	if opts.MaxOffenses == 0 {
		opts.MaxOffenses = defaultMaxOffenses
	}
	if p := opts.EventTypePrefix; p != "" && !strings.HasSuffix(p, ".") {
		opts.EventTypePrefix = p + "."
	}
	installation := strings.ToUpper(opts.Prefix)
	return &checker{
		opts:       opts,
		events:     installation + "_EVENTS",
		oauth:      installation + "_OAUTH",
		vocabulary: newVocabulary(),
		seed:       maphash.MakeSeed(),
		ids:        map[uint64]struct{}{},
		lives:      map[string]*life{},
		byMember:   map[string]string{},
	}
}

// filter is the subject filter of the one member to look at, "" for all.
func (c *checker) filter(kind string) string {
	if c.opts.Member == "" {
		return ""
	}
	return c.opts.Prefix + "." + kind + ".*." + c.opts.Member
}

func (c *checker) offend(o Offense) {
	c.report.Faults++
	if len(c.report.Offenses) < c.opts.MaxOffenses {
		c.report.Offenses = append(c.report.Offenses, o)
	}
}

// blame records an offense of a message.
func (c *checker) blame(inv Invariant, m message, member, format string, args ...any) {
	c.offend(Offense{inv, m.stream, m.seq, member, fmt.Sprintf(format, args...)})
}

// event takes the next message of the event stream.
func (c *checker) event(m message) {
	c.report.Events++
	e, ok := c.read(m, false)
	if !ok {
		return
	}
	if c.repeated(e.id) {
		c.blame(I2, m, e.key(), "id %s was on the stream before", e.id)
	}
	l, known := c.lives[e.key()]
	if !known {
		l = &life{}
		c.lives[e.key()] = l
		c.byMember[e.member] = e.key()
	} else {
		c.report.Transitions++
	}
	before := l.stored
	c.follow(l, m, e)
	if c.served != nil {
		c.checkServed(l, m, e, before)
	}
}

// repeated remembers id and reports whether it was known. No id is an offense of form.
func (c *checker) repeated(id string) bool {
	if id == "" {
		return false
	}
	h := maphash.String(c.seed, id)
	_, ok := c.ids[h]
	c.ids[h] = struct{}{}
	return ok
}
