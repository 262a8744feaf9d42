package bus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
)

// Role is whose rights a connection should have.
type Role string

// The roles that memberwatch itself takes.
const (
	RoleWorker   Role = "worker"   // serve, with TOPOLOGY=verify
	RoleOperator Role = "operator" // the commands for people
)

// Permission is something that a role does on NATS.
type Permission struct {
	Verb    string // publish or subscribe
	Subject string // an example: what has to be allowed may be a wildcard around it
	For     string // what fails without it

	body   string
	header nats.Header
}

func (r Permission) String() string { return r.Verb + " " + r.Subject + " (" + r.For + ")" }

// Inbox is where answers to a role's requests come. Without the right to listen
// there it can ask nothing.
func Inbox(role Role) string {
	if role == RoleOperator {
		return "_INBOX"
	}
	return "_INBOX_memberwatch"
}

// InboxPermission is that right.
func InboxPermission(role Role) Permission {
	return Permission{"subscribe", Inbox(role) + "." + probe + ".*", "getting answers", "", nil}
}

// probe stands for ids in subjects that are only tried. No guid of MX looks like it.
const probe = "doctor"

// harmless makes JetStream refuse what is published, so that the right to
// publish is used and nothing is stored.
func harmless() nats.Header {
	return nats.Header{jetstream.ExpectedStreamHeader: {"none-" + probe}}
}

// Permissions are what a role needs, with c, to do its work; webhooks tells whether
// MX's webhooks are taken.
func Permissions(role Role, c *Config, s events.Subjects, webhooks bool) []Permission {
	if role == RoleOperator {
		return operatorPermissions(s)
	}
	p := s.Prefix()
	all := []Permission{
		InboxPermission(role),
		{"publish", p + ".events.member." + probe + "." + probe + "." + probe, "events", "", harmless()},
		{"publish", p + ".oauth.member.oauth_required." + probe + "." + probe, "announcements", "", harmless()},
		{"publish", p + ".background.at." + causeDeletion + "." + probe + "." + probe, "scheduled reads", "", harmless()},
		{"publish", p + ".background.at." + causeSettle + "." + probe + "." + probe, "reads until a member settles", "", harmless()},
		{"publish", s.ChainRecord(probe), "sweeps", "", harmless()},
		{"publish", p + ".background.at." + causeChain + "." + chainUser + "." + probe, "sweeps", "", harmless()},
		{"publish", p + ".background.due." + probe + "." + probe, "sweeps", "", harmless()},
		{"publish", s.DeadLetter(probe), "dead letters", "", harmless()},
		{"publish", s.Result(probe), "results", "", nil}, // not stored, and nobody waits for this one
		{"publish", "$KV." + s.IDBucket() + "." + probe, "partners' ids", "", harmless()},
	}
	for _, stream := range []string{s.CommandStream(), s.BackgroundStream(), s.EventStream(), s.OAuthStream(), s.DeadLetterStream(), "KV_" + s.IDBucket()} {
		all = append(all, Permission{"publish", "$JS.API.STREAM.INFO." + stream, "checking the topology", "", nil})
	}
	for _, c := range consumers(c, s) {
		name := c.stream + "." + c.config.Durable
		all = append(all,
			Permission{"publish", "$JS.API.CONSUMER.INFO." + name, "taking messages", "", nil},
			Permission{"publish", "$JS.API.CONSUMER.MSG.NEXT." + name, "taking messages", "{", nil}, // no JSON: refused
			Permission{"publish", "$JS.ACK." + name + "." + probe, "settling messages", "", nil},    // names no message
		)
	}
	if webhooks {
		all = append(all, Permission{"publish", s.Refresh(), "webhooks", "", harmless()})
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		for _, name := range []string{"", ".memberwatch", ".memberwatch." + probe} {
			all = append(all, Permission{"subscribe", "$SRV." + verb + name, "being found by NATS' tools", "", nil})
		}
	}
	nothing := `{"last_by_subj":"` + probe + `"}`
	return append(all,
		Permission{"publish", "$JS.API.STREAM.MSG.GET." + s.EventStream(), "reading states", nothing, nil},
		Permission{"publish", "$JS.API.STREAM.MSG.GET." + s.OAuthStream(), "announcing once", nothing, nil},
		Permission{"publish", "$JS.API.STREAM.MSG.GET." + s.BackgroundStream(), "confirming deletions", nothing, nil},
		Permission{"publish", "$JS.API.STREAM.PURGE." + s.BackgroundStream(), "taking suspicions back", `{"filter":"` + probe + `"}`, nil},
		Permission{"publish", "$JS.API.STREAM.MSG.DELETE." + s.BackgroundStream(), "taking suspicions back", "{", nil},
		Permission{"publish", "$JS.API.DIRECT.GET.KV_" + s.IDBucket() + ".$KV." + s.IDBucket() + "." + probe, "partners' ids", "", nil},
		Permission{"subscribe", s.BackgroundAtAny(causeDeletion), "confirming deletions", "", nil},
		Permission{"subscribe", s.API(events.APIRefresh), "requests", "", nil},
		Permission{"subscribe", s.API(events.APIGet), "requests", "", nil},
		Permission{"subscribe", s.API(events.APIOAuthURI), "requests", "", nil},
	)
}

func operatorPermissions(s events.Subjects) []Permission {
	all := []Permission{
		InboxPermission(RoleOperator),
		{"publish", s.Refresh(), "refresh, deadletters retry", "", harmless()},
		{"publish", s.ChainRecord("sweep"), "sweep", "", harmless()},
		{"publish", s.Prefix() + ".background.due." + chainUser + ".sweep", "sweep", "", harmless()},
		{"publish", "$JS.API.STREAM.CREATE." + s.EventStream(), "topology apply", "{", nil},
		{"publish", "$JS.API.STREAM.UPDATE." + s.EventStream(), "topology apply", "{", nil},
		{"subscribe", s.Results(), "refresh --wait", "", nil},
	}
	for _, stream := range []string{s.CommandStream(), s.BackgroundStream(), s.EventStream(), s.OAuthStream(), s.DeadLetterStream(), "KV_" + s.IDBucket()} {
		for verb, why := range map[string]string{
			"STREAM.INFO.": "topology", "STREAM.MSG.GET.": "doctor, forget", "STREAM.MSG.DELETE.": "deadletters, forget",
			"STREAM.PURGE.": "deadletters, forget", "CONSUMER.CREATE.": "events, deadletters",
		} {
			all = append(all, Permission{"publish", "$JS.API." + verb + stream, why, "{", nil})
		}
	}
	slices.SortFunc(all, func(a, b Permission) int { return strings.Compare(a.Subject, b.Subject) })
	return all
}

// CheckServer refuses a version of nats-server that lacks what the topology needs.
func CheckServer(version string) error { return checkServer(version) }

// AccountPermission is the right to ask for the limits of the account. No role needs
// it to do its work.
func AccountPermission() Permission {
	return Permission{"publish", "$JS.API.INFO", "the account's limits", "", nil}
}

// WithoutAccountPermission returns rights without that one, and whether it was not among them.
func WithoutAccountPermission(refused []Permission) ([]Permission, bool) {
	n := len(refused)
	subject := AccountPermission().Subject
	refused = slices.DeleteFunc(refused, func(r Permission) bool { return r.Subject == subject })
	return refused, len(refused) == n
}

// Refused tries rights and returns those that the server refuses. It leaves
// nothing behind: what would be stored is refused for another reason, what would
// be answered asks for nothing, and a subscription ends at once.
//
// The connection's last error is used, so nobody else may use the connection.
func Refused(ctx context.Context, nc *nats.Conn, rights []Permission) ([]Permission, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	var refused []Permission
	for _, r := range rights {
		if err := r.try(ctx, nc); err != nil {
			return nil, fmt.Errorf("trying to %s: %w", r, err)
		}
		// The server sends a refusal before it answers the flush.
		if err := nc.LastError(); err != nil && strings.Contains(err.Error(), " to "+strconv.Quote(r.Subject)) {
			refused = append(refused, r)
		}
	}
	return refused, nil
}

func (r *Permission) try(ctx context.Context, nc *nats.Conn) error {
	if r.Verb == "subscribe" {
		sub, err := nc.Subscribe(r.Subject, func(*nats.Msg) {})
		if err != nil {
			return err //nolint:wrapcheck // Refused does.
		}
		defer func() { _ = sub.Unsubscribe() }() // A refused one is gone already.
	} else if err := nc.PublishMsg(&nats.Msg{Subject: r.Subject, Data: []byte(r.body), Header: r.header}); err != nil {
		return err //nolint:wrapcheck // Refused does.
	}
	return nc.FlushWithContext(ctx) //nolint:wrapcheck // Refused does.
}

// minPayload is what a dead letter may need: 256 KiB of a body in base64, its
// headers, and room.
const minPayload = 512 << 10

// Shortages says which limits of the server and of the account are too tight for
// the topology. steps is what Plan says is missing.
func Shortages(nc *nats.Conn, account *jetstream.AccountInfo, c *Config, steps []Difference) []string {
	var short []string
	say := func(format string, args ...any) { short = append(short, fmt.Sprintf(format, args...)) }
	if got := nc.MaxPayload(); got < minPayload {
		say("max_payload is %d bytes; a dead letter may need %d", got, minPayload)
	}
	if account == nil {
		return short
	}
	tier := account.Tier
	if of, ok := account.Tiers["R"+strconv.Itoa(c.StreamReplicas)]; ok {
		tier = of
	}
	var streams, consumers int
	for _, s := range steps {
		switch {
		case !s.Missing:
		case strings.HasPrefix(s.Object, "consumer "):
			consumers++
		default:
			streams++
		}
	}
	l := tier.Limits
	if l.MaxStreams >= 0 && tier.Streams+streams > l.MaxStreams {
		say("the account may have %d streams, has %d and needs %d more", l.MaxStreams, tier.Streams, streams)
	}
	if l.MaxConsumers >= 0 && tier.Consumers+consumers > l.MaxConsumers {
		say("the account may have %d consumers, has %d and needs %d more", l.MaxConsumers, tier.Consumers, consumers)
	}
	pending := leastAckPending // what there is already may stay as it is
	if consumers > 0 {
		pending = maxAckPending
	}
	if l.MaxAckPending > 0 && l.MaxAckPending < pending {
		say("a consumer may have %d messages in hand; the service's have %d", l.MaxAckPending, pending)
	}
	if l.MaxBytesRequired || l.StoreMaxStreamBytes > 0 {
		say("every stream of the account must have a size limit; the service's have none, so that no state is ever dropped")
	}
	switch {
	case l.MaxStore == 0 && len(account.Tiers) > 0 || l.MaxStore == 0 && l.MaxStreams != 0 && l.MaxMemory != 0:
		say("the account may store nothing on disk for %d copies", c.StreamReplicas)
	case l.MaxStore > 0 && tier.Store > uint64(l.MaxStore)/10*9:
		say("the account has used %d of %d bytes on disk", tier.Store, l.MaxStore)
	}
	return short
}
