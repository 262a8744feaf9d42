package mxsim

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated MX, an [http.Handler]. Its methods may be called at
// any time from any goroutine.
type Server struct {
	// URL is where a server begun with [Start] listens, http://127.0.0.1:port
	// without a slash at the end. New leaves it empty.
	URL string

	now         func() time.Time
	configuring sync.Mutex // serializes writers of live
	live        atomic.Pointer[live]
	dir         directory
	faults      faults
	stats       stats
	journal     journal
	failures    atomic.Uint64 // error bodies so far, which varies their form
	controlMux  http.Handler
	close       func() error
}

// New returns a simulator without users. It panics when cfg has no clock, or
// an unknown log mode: these are mistakes in the program.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		panic("mxsim: Config.Now is nil")
	}
	l := newLive(cfg)
	s := &Server{
		now:     cfg.Now,
		dir:     newDirectory(cfg.Seed),
		journal: journal{limit: l.LogLimit, now: cfg.Now},
		close:   func() error { return nil },
	}
	s.live.Store(l)
	s.stats.begun = cfg.Now()
	s.stats.since = s.stats.begun
	if err := s.SetLog(l.Log); err != nil {
		panic("mxsim: " + err.Error())
	}
	s.controlMux = s.controlRoutes()
	return s
}

// call is one request to the MX API.
type call struct {
	s                    *Server
	cfg                  *live
	w                    http.ResponseWriter
	r                    *http.Request
	at                   time.Time
	endpoint             endpoint
	userName, memberName string // as in the path, unescaped
	user                 *user
	member               *member
	recorded             bool
}

// answer is what a call is answered. Status 0 is no answer.
type answer struct {
	status      int
	contentType []string
	body        []byte
	pooled      *[]byte // where body came from
	retryAfter  string
	cur         *Member // the member that body is about
	view        view
	form        form
}

// Header values and bodies that are the same for all answers.
//
//nolint:gochecknoglobals // shared so that an answer allocates nothing for them
var (
	jsonType = []string{"application/json; charset=utf-8"}
	htmlType = []string{"text/html; charset=utf-8"}
	textType = []string{"text/plain; charset=utf-8"}

	buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2048)) }}
)

const htmlPage = "<!DOCTYPE html>\n<html><head><title>Gateway</title></head><body>Something is in the way.</body></html>\n"

// ServeHTTP answers the MX API, and the control API under /_sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		s.controlMux.ServeHTTP(w, r)
		return
	}
	c := &call{s: s, cfg: s.live.Load(), w: w, r: r, at: s.now()}
	s.stats.enter()
	c.route()
	c.serve(r.Context())
}

func (c *call) serve(ctx context.Context) {
	if c.r.Method != http.MethodGet { // unread, it would hide that the client goes away
		_, _ = io.Copy(io.Discard, io.LimitReader(c.r.Body, 1<<20))
	}
	c.find()
	t := c.s.faults.meet(c)
	kind := t.kind()
	defer func() { c.record(&answer{}, kind) }() // when nothing was answered
	delay := t.delay + c.cfg.Latency
	if !t.stale && !wait(ctx, delay) {
		return
	}
	switch kind {
	case FaultHang:
		<-ctx.Done()
		return
	case FaultCut:
		panic(http.ErrAbortHandler)
	case FaultCutHead:
		c.record(&answer{}, kind)
		c.cutHead()
		return
	case FaultLatency, FaultStatus, FaultTruncate, FaultNonJSON, FaultOversize, FaultWrongGUID:
	}
	a := c.decide(t.fault)
	if a.pooled != nil {
		defer buffers.Put(a.pooled)
	}
	if t.stale && !wait(ctx, delay) {
		return
	}
	// Recorded first: who has the answer finds it in the journal.
	c.record(&a, kind)
	c.write(&a, t.fault)
}

// wait reports whether the client is still there after d.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// record counts the call and writes it to the journal, once.
func (c *call) record(a *answer, kind FaultKind) {
	if c.recorded {
		return
	}
	c.recorded = true
	if c.memberName != "" {
		e := entry{
			at: c.at, endpoint: c.endpoint, status: a.status, fault: kind,
			userGUID: c.userName, memberGUID: c.memberName, cur: a.cur, view: a.view, nasty: a.form.nasty, variant: a.form.variant,
		}
		if c.user != nil {
			e.userGUID = c.user.GUID
		}
		if c.member != nil {
			e.memberGUID = c.member.guid
		}
		c.s.journal.write(c.member, e)
	}
	c.s.stats.leave(c.endpoint, a.status)
}

// route finds out which endpoint is meant, from the path as it was escaped:
// an id may hold anything that is safe in a URL.
func (c *call) route() {
	parts := strings.Split(strings.TrimPrefix(c.r.URL.EscapedPath(), "/"), "/")
	if len(parts) > 5 || parts[0] != "users" {
		return
	}
	for i, part := range parts {
		text, err := url.PathUnescape(part)
		if err != nil || text == "" {
			return
		}
		parts[i] = text
	}
	switch {
	case len(parts) == 1:
		c.endpoint = endpointUsers
		return
	case len(parts) == 2 || parts[2] != "members":
		return
	case len(parts) == 3:
		c.endpoint = endpointMembers
	case len(parts) == 4:
		c.endpoint = endpointRead
	case parts[4] == "status":
		c.endpoint = endpointStatus
	case parts[4] == "oauth_window_uri":
		c.endpoint = endpointOAuth
	case parts[4] == "aggregate":
		c.endpoint = endpointAggregate
	default:
		return
	}
	c.userName = parts[1]
	if len(parts) > 3 {
		c.memberName = parts[3]
	}
}

func (c *call) find() {
	if c.userName == "" {
		return
	}
	c.user, c.member = c.s.dir.find(c.userName, c.memberName)
	if c.member == nil && c.user != nil && c.memberName != "" {
		c.member = c.s.synthesize(c.user, c.memberName)
	}
}

// authorized answers a caller that MX would not talk to.
func (c *call) authorized() (answer, bool) {
	if auth := c.r.Header.Get("Authorization"); auth != c.cfg.basic {
		id, key, _ := c.r.BasicAuth() // the scheme may be written in another case
		if id != c.cfg.ClientID || key != c.cfg.APIKey {
			return c.fail(http.StatusUnauthorized, "wrong client id or api key"), false
		}
	}
	if !slices.Contains(c.cfg.AcceptVersions, c.r.Header.Get("Accept-Version")) {
		return c.fail(http.StatusNotAcceptable, "no valid Accept-Version"), false
	}
	return answer{}, true
}

// fail is an error answer. MX documents no shape for its body, which is not
// always JSON and sometimes empty.
func (c *call) fail(status int, text string) answer {
	f := form{nasty: c.cfg.Nasty, variant: c.cfg.Seed + c.s.failures.Add(1)}
	switch f.pick(saltNotFound, 3) {
	case 1:
		return answer{status: status, contentType: htmlType, body: []byte(htmlPage)}
	case 2:
		return answer{status: status}
	}
	body := append([]byte(`{"error":{"status":`), strconv.Itoa(status)...)
	body = append(body, `,"message":`...)
	return answer{status: status, contentType: jsonType, body: append(appendString(body, text), '}', '}')}
}

// write sends a, spoilt as f wants it.
func (c *call) write(a *answer, f *Fault) {
	h := c.w.Header()
	if a.contentType != nil {
		h["Content-Type"] = a.contentType
	}
	if a.retryAfter != "" {
		h.Set("Retry-After", a.retryAfter)
	}
	kind := FaultKind("")
	if f != nil {
		kind = f.Kind
	}
	switch kind {
	case FaultOversize:
		c.w.WriteHeader(a.status)
		c.writeOversize(a.body, f.Size)
		return
	case FaultTruncate:
		h.Set("Content-Length", strconv.Itoa(max(2, len(a.body))))
		c.w.WriteHeader(a.status)
		c.send(a.body[:len(a.body)/2])
		_ = http.NewResponseController(c.w).Flush() // the client may be gone, which is as good
		panic(http.ErrAbortHandler)
	case FaultLatency, FaultStatus, FaultCut, FaultCutHead, FaultHang, FaultNonJSON, FaultWrongGUID:
	}
	h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	c.w.WriteHeader(a.status)
	c.send(a.body)
}

// send writes to a client, which may have gone: that is its own affair.
func (c *call) send(b []byte) bool {
	_, err := c.w.Write(b)
	return err == nil
}

// writeOversize pads body to size with a field that is not known, so that it
// stays JSON when it was.
func (c *call) writeOversize(body []byte, size int) {
	if size == 0 {
		size = 16 << 20
	}
	head, tail := body, []byte(nil)
	if n := len(body) - 1; n > 1 && body[n] == '}' {
		head, tail = append(slices.Clone(body[:n]), `,"padding":"`...), []byte(`"}`)
	}
	if !c.send(head) {
		return
	}
	chunk := []byte(strings.Repeat("x", 64<<10))
	for left := size - len(head) - len(tail); left > 0; left -= len(chunk) {
		if !c.send(chunk[:min(left, len(chunk))]) {
			return
		}
	}
	c.send(tail)
}

// cutHead closes the connection after the first bytes of the status line.
func (c *call) cutHead() {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil { // HTTP/2, or a recorder
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 2")
	_ = conn.Close()
}
