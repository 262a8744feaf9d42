package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus"
)

// knownMembers bounds how many members of the event stream MX is asked about,
// and lookBack how many messages are looked at to find them.
const (
	knownMembers = 3
	lookBack     = 50
)

// examineNATS makes the checks of NATS. It returns some members that were there
// when they were last read.
func (d *doctor) examineNATS(ctx context.Context, c *config) []events.Key {
	after := []string{checkNATSTCP, checkNATSVersion, checkNATSTLS, checkNATSLogin, checkJetStream, checkRights, checkTopology, checkLimits, checkNATSClock}
	if len(c.Bus.Problems()) > 0 || len(natsURLProblems(c.Bus.URL)) > 0 {
		d.skip("the settings of NATS are wrong", append([]string{checkNATSDNS}, after...)...)
		return nil
	}
	if c.Bus.URL == "" {
		c.Bus.URL = localNATS
	}
	servers := natsServers(c.Bus.URL)
	if !d.resolve(ctx, checkNATSDNS, "NATS_URL", servers) {
		d.skip("no name can be resolved", after...)
		return nil
	}
	greeting, ok := d.greet(ctx, servers)
	if !ok {
		d.skip("NATS cannot be reached", after[1:]...)
		return nil
	}
	if !d.checkVersion(greeting) {
		d.skip("NATS is too old", after[2:]...)
		return nil
	}
	nc, ok := d.login(ctx, c, greeting)
	if !ok {
		d.skip("NATS lets us not in", after[4:]...)
		return nil
	}
	defer nc.Close()
	return d.examineJetStream(ctx, c, nc)
}

// natsServers are the servers in NATS_URL.
func natsServers(list string) []*url.URL {
	var all []*url.URL
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		if u, err := url.Parse(one); err == nil {
			all = append(all, u)
		}
	}
	return all
}

// resolve looks names up, and reports whether there is one that has an address.
func (d *doctor) resolve(ctx context.Context, check, setting string, servers []*url.URL) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	var good, bad []string
	for _, u := range servers {
		addrs, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %s", u.Hostname(), err))
			continue
		}
		good = append(good, u.Hostname()+" is "+strings.Join(addrs, " "))
	}
	fix := "correct the name in " + setting + ", or the DNS of this machine"
	switch {
	case len(good) == 0:
		d.failed(check, fix, "%s", strings.Join(bad, "\n"))
		return false
	case len(bad) > 0:
		d.note(check, checkWarning, fix, "%s", strings.Join(append(good, bad...), "\n"))
	default:
		d.ok(check, "%s", strings.Join(good, ", "))
	}
	return true
}

// greeting is what a NATS server says before anybody has logged in.
type greeting struct {
	Version     string `json:"version"`
	TLSRequired bool   `json:"tls_required"`
	TLSVerify   bool   `json:"tls_verify"`
	silent      bool   // it says nothing before TLS, or is reached another way
}

// greet connects to the servers, and returns the greeting of the first that answers.
func (d *doctor) greet(ctx context.Context, servers []*url.URL) (greeting, bool) {
	var first *greeting
	var good, bad []string
	for _, u := range servers {
		port := u.Port()
		if port == "" {
			port = "4222"
		}
		addr := net.JoinHostPort(u.Hostname(), port)
		g, err := greetingOf(ctx, addr)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		if good = append(good, addr); first == nil {
			first = &g
		}
	}
	const fix = "start the server, correct host and port in NATS_URL, or open the way: firewall, NetworkPolicy, security group"
	switch {
	case first == nil:
		d.failed(checkNATSTCP, fix, "%s", strings.Join(bad, "\n"))
		return greeting{}, false
	case len(bad) > 0:
		d.note(checkNATSTCP, checkWarning, fix, "%s answer; others not:\n%s", strings.Join(good, ", "), strings.Join(bad, "\n"))
	default:
		d.ok(checkNATSTCP, "%s", strings.Join(good, ", "))
	}
	return *first, true
}

func greetingOf(ctx context.Context, addr string) (greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return greeting{}, err
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(reachTimeout / 2)) // A connection that takes none fails to read.
	line, err := bufio.NewReaderSize(conn, 64<<10).ReadSlice('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return greeting{silent: true}, nil
	}
	info, is := strings.CutPrefix(string(line), "INFO ")
	var g greeting
	if err != nil || !is || json.Unmarshal([]byte(info), &g) != nil {
		return greeting{}, fmt.Errorf("%s: what answers there is not NATS", addr)
	}
	return g, nil
}

func (d *doctor) checkVersion(g greeting) bool {
	if g.silent {
		d.ok(checkNATSVersion, "told after the login")
		return true
	}
	if err := bus.CheckServer(g.Version); err != nil {
		d.failed(checkNATSVersion, "upgrade nats-server, all of its cluster", "%v", err)
		return false
	}
	d.ok(checkNATSVersion, "%s", g.Version)
	return true
}

// login connects as the service does: TLS, then who we are.
func (d *doctor) login(ctx context.Context, c *config, g greeting) (*nats.Conn, bool) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	nc, err := bus.Connect(ctx, c.Bus, "memberwatch-doctor", unwatched{}, slog.New(slog.DiscardHandler),
		nats.NoReconnect(), nats.CustomInboxPrefix(bus.Inbox(d.role)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // a refusal is found where it happens
	)
	if err == nil {
		if _, err := nc.TLSConnectionState(); err == nil {
			d.ok(checkNATSTLS, "encrypted")
		} else {
			d.ok(checkNATSTLS, "not asked for: everything travels in the clear")
		}
		d.ok(checkNATSLogin, "connected to %s, nats-server %s", nc.ConnectedServerName(), nc.ConnectedServerVersion())
		return nc, true
	}
	if fix, is := tlsFix(err, g); is {
		d.failed(checkNATSTLS, fix, "%v", err)
		d.skip("there is no connection", checkNATSLogin)
		return nil, false
	}
	d.ok(checkNATSTLS, "no trouble")
	d.failed(checkNATSLogin, loginFix(err), "%v", err)
	return nil, false
}

// tlsFix says what to do about an error if it is one of TLS.
func tlsFix(err error, g greeting) (string, bool) {
	if _, is := errors.AsType[*tls.CertificateVerificationError](err); is {
		return "set NATS_TLS_CA to the authority that issued the server's certificate, and use in NATS_URL a name that the certificate has", true
	}
	switch {
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server has no TLS: configure it there, or write nats:// in NATS_URL and leave NATS_TLS_* empty", true
	case errors.Is(err, nats.ErrSecureConnRequired):
		return "write tls:// in NATS_URL, and set NATS_TLS_CA", true
	case errors.Is(err, nats.ErrTLS), strings.Contains(err.Error(), "tls: "):
		if g.TLSVerify {
			return "the server wants a client certificate: set NATS_TLS_CERT and NATS_TLS_KEY to one that its authority has issued", true
		}
		return "compare NATS_TLS_CA, NATS_TLS_CERT and NATS_TLS_KEY with the tls block of the server", true
	case g.TLSVerify && !errors.Is(err, nats.ErrAuthorization):
		return "the server wants a client certificate: set NATS_TLS_CERT and NATS_TLS_KEY", true
	}
	return "", false
}

func loginFix(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return "the credentials have expired: have new ones issued for NATS_CREDS"
	case errors.Is(err, nats.ErrAuthRevoked):
		return "the credentials were revoked: have new ones issued for NATS_CREDS"
	case errors.Is(err, nats.ErrAuthorization):
		return "correct the user and password in NATS_URL, NATS_CREDS or NATS_NKEY_SEED_FILE; the server does not know what was given"
	case errors.Is(err, nats.ErrMaxConnectionsExceeded):
		return "raise max_connections of the server or of the account"
	}
	return "look at the log of the NATS server"
}

// examineJetStream makes the checks that need a connection.
func (d *doctor) examineJetStream(ctx context.Context, c *config, nc *nats.Conn) []events.Key {
	js, err := jetstream.New(nc)
	if err != nil { // Only for wrong options, and there are none.
		d.failed(checkJetStream, "", "%v", err)
		return nil
	}
	subjects, err := events.NewSubjects(c.Bus.SubjectPrefix)
	if err != nil { // Bus.Problems found nothing.
		d.failed(checkJetStream, "", "%v", err)
		return nil
	}
	refused, err := bus.Refused(ctx, nc, append(bus.Permissions(d.role, &c.Bus, subjects, c.Webhook.Enabled()), bus.AccountPermission()))
	if err != nil {
		d.failed(checkJetStream, "try again; the connection was lost", "%v", err)
		d.skip("the connection was lost", checkRights, checkTopology, checkLimits, checkNATSClock)
		return nil
	}
	if inbox := bus.InboxPermission(d.role); slices.ContainsFunc(refused, func(r bus.Permission) bool { return r.Subject == inbox.Subject }) {
		refused, _ = bus.WithoutAccountPermission(refused)
		d.rights(refused)
		d.skip("no answer could be heard", checkJetStream, checkTopology, checkLimits, checkNATSClock)
		return nil
	}
	var account *jetstream.AccountInfo
	refused, mayAsk := bus.WithoutAccountPermission(refused)
	if mayAsk {
		asking, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		if account, err = js.AccountInfo(asking); err != nil {
			d.failed(checkJetStream, "enable JetStream on the server (jetstream { store_dir: … }) and for the account (jetstream: enabled)", "%v", err)
			d.skip("there is no JetStream", checkRights, checkTopology, checkLimits, checkNATSClock)
			return nil
		}
		d.ok(checkJetStream, "enabled; %d streams, %d consumers, %d bytes on disk", account.Streams, account.Consumers, account.Store)
	}
	d.rights(refused)
	steps, planned := d.topology(ctx, c, js, subjects, mayAsk)
	d.limits(nc, account, c, steps)
	if !planned {
		d.skip("no stream could be looked at", checkNATSClock)
		return nil
	}
	d.natsClock(ctx, js, subjects)
	return d.known(ctx, js, subjects)
}

func (d *doctor) rights(refused []bus.Permission) {
	if len(refused) == 0 {
		d.ok(checkRights, "all that a %s does is allowed", d.role)
		return
	}
	lines := []string{fmt.Sprintf("NATS refuses %d things that a %s does:", len(refused), d.role)}
	for _, r := range refused {
		lines = append(lines, r.String())
	}
	d.failed(checkRights, "give the user the rights of the "+string(d.role)+" in deploy/nats/roles.conf, or set another user; for operators' credentials: --as operator",
		"%s", strings.Join(lines, "\n"))
}

// topology notes what differs; it reports false when nothing could be looked at.
func (d *doctor) topology(ctx context.Context, c *config, js jetstream.JetStream, s events.Subjects, told bool) ([]bus.Difference, bool) {
	host, err := mxHost(c.MX.BaseURL)
	if err != nil || c.MX.ClientID == "" {
		if !told {
			d.skip("it may not be asked about with these permissions", checkJetStream)
		}
		d.skip("MX_BASE_URL and MX_CLIENT_ID say whose streams they are", checkTopology)
		return nil, true
	}
	steps, err := bus.NewTopology(js, c.Bus, s, c.identity(host)).Plan(ctx)
	if err != nil {
		if !told { // JetStream could not be asked about before.
			d.failed(checkJetStream, "enable JetStream on the server and for the account, and allow the user $JS.API.STREAM.INFO.*", "%v", err)
		}
		d.failed(checkTopology, "see the checks above", "%v", err)
		return nil, false
	}
	if !told {
		d.ok(checkJetStream, "answers (its limits may not be asked for with these permissions)")
	}
	missing, works, lines := 0, 0, make([]string, 0, len(steps))
	foreign := false
	for _, step := range steps {
		switch {
		case step.Missing:
			missing++
		case step.Works:
			works++
		}
		foreign = foreign || step.Foreign
		lines = append(lines, step.String())
	}
	switch {
	case len(steps) == 0:
		d.ok(checkTopology, "as it should be")
	case foreign:
		d.failed(checkTopology, "correct MX_BASE_URL and MX_CLIENT_ID, or use another SUBJECT_PREFIX: these streams belong to another installation", "%s", strings.Join(lines, "\n"))
	case missing > 0 && missing+works == len(steps) && c.Bus.Topology == bus.TopologyEnsure:
		d.note(checkTopology, checkWarning, "none needed where serve may make streams: it does when it starts; else memberwatch topology apply", "%s", strings.Join(lines, "\n"))
	case works == len(steps):
		d.note(checkTopology, checkWarning, "memberwatch topology apply, as the operator", "%s", strings.Join(lines, "\n"))
	default:
		d.failed(checkTopology, "memberwatch topology apply, as the operator", "%s", strings.Join(lines, "\n"))
	}
	return steps, true
}

func (d *doctor) limits(nc *nats.Conn, account *jetstream.AccountInfo, c *config, steps []bus.Difference) {
	if short := bus.Shortages(nc, account, &c.Bus, steps); len(short) > 0 {
		d.failed(checkLimits, "raise the limits of the account, or max_payload of the server", "%s", strings.Join(short, "\n"))
	} else if account == nil {
		d.note(checkLimits, checkWarning, "to see them, run doctor --as operator with the operator's credentials", "those of the account may not be asked for with these permissions; max_payload is enough")
	} else {
		d.ok(checkLimits, "are enough")
	}
}

// natsClock compares our clock with that of a stream's leader.
func (d *doctor) natsClock(ctx context.Context, js jetstream.JetStream, s events.Subjects) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	began := d.now()
	stream, err := js.Stream(ctx, s.EventStream())
	ended := d.now()
	if err != nil || stream.CachedInfo().TimeStamp.IsZero() {
		d.skip("there is no stream to ask", checkNATSClock)
		return
	}
	d.clock(checkNATSClock, "NATS", stream.CachedInfo().TimeStamp, began, ended, 0)
}

// clock compares a clock that was read between began and ended, with a resolution.
func (d *doctor) clock(check, whose string, at, began, ended time.Time, resolution time.Duration) {
	var off time.Duration // how far it is ahead at least
	switch {
	case at.After(ended):
		off = at.Sub(ended)
	case at.Add(resolution).Before(began):
		off = at.Add(resolution).Sub(began)
	}
	if off.Abs() > maxSkew {
		where := "ahead of"
		if off < 0 {
			where = "behind"
		}
		d.failed(check, "have both machines synchronize their clocks (NTP, chrony)", "%s' clock is %s %s ours", whose, off.Abs().Round(time.Second/10), where)
		return
	}
	d.ok(check, "agrees with ours")
}

// known finds some members that were there when they were last read.
func (d *doctor) known(ctx context.Context, js jetstream.JetStream, s events.Subjects) []events.Key {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, s.EventStream())
	if err != nil {
		return nil
	}
	var found []events.Key
	seen := make(map[events.Key]bool)
	state := stream.CachedInfo().State
	for seq := state.LastSeq; seq >= max(1, state.FirstSeq) && state.LastSeq-seq < lookBack && len(found) < knownMembers; seq-- {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			continue
		}
		t, k, ok := s.ParseEvent(m.Subject)
		if ok && !seen[k] && t != events.TypeDeleted {
			found = append(found, k)
		}
		seen[k] = true
	}
	return found
}
