package bus

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/loglimit"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// results listens for results.
func (h *house) results() *nats.Subscription {
	h.t.Helper()
	sub, err := h.peerNC.SubscribeSync(h.subjects.Results())
	if err == nil {
		err = h.peerNC.Flush()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return sub
}

func (h *house) result(sub *nats.Subscription) events.Result {
	h.t.Helper()
	m, err := sub.NextMsg(patience)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := events.DecodeResult(m.Data)
	if err != nil {
		h.t.Fatal(err)
	}
	if want := h.subjects.Result(r.CommandID); m.Subject != want {
		h.t.Errorf("result on %s, want %s", m.Subject, want)
	}
	if got := m.Header["Content-Type"]; !slices.Equal(got, []string{events.ContentType}) {
		h.t.Errorf("result of Content-Type %q", got)
	}
	return r
}

func (h *house) commands() uint64 { return h.state(h.subjects.CommandStream()).Msgs }

func TestACommandBecomesAJob(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	h.publish(plain, body, nats.Header{"traceparent": {parent}, "tracestate": {"a=1"}})
	j := in.next(t)
	want := events.Command{User: "USR-1", Member: "MBR-1", CommandID: "c-1", Reason: "why", Aggregate: true}
	if j.Command != want || j.ID != "c-1" || j.Ref != "MX_COMMANDS-1" || j.Deliveries != 1 || j.Source != refresh.SourceCommand ||
		j.Lane != refresh.Interactive || j.Traceparent != parent || j.Tracestate != "a=1" || !j.Key.IsZero() {
		t.Errorf("job %+v", j)
	}
	done(j)
	h.publish(long, "", nil)
	j = in.next(t)
	if j.ID != "2" || j.Command.Member != "MBR-1" {
		t.Errorf("job %+v, want the stream sequence as id", j)
	}
	done(j)
}

func TestADoneJobIsAcknowledgedAndItsResultSent(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	sub := h.results()
	h.start(h.Bus, in)
	h.publish(plain, body, nil)
	j := in.next(t)
	if n := h.commands(); n != 1 {
		t.Fatalf("%d commands kept while one is in hand", n)
	}
	j.Settle(refresh.Verdict{Result: events.Result{CommandID: "c-1", Outcome: events.OutcomeChanged, Revision: 7, EventID: "e", FinishedAt: time.Now()}})
	if r := h.result(sub); r.CommandID != "c-1" || r.Outcome != events.OutcomeChanged || r.Revision != 7 || r.EventID != "e" {
		t.Errorf("result %+v", r)
	}
	h.until("the command is gone", func() bool { return h.commands() == 0 })
}

func TestAJobToRetryComesAgainAfterItsDelayAndAReturnedOneAtOnce(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	sub := h.results()
	h.start(h.Bus, in)
	h.publish(plain, body, nil)
	j := in.next(t)
	const delay = 300 * time.Millisecond
	at := time.Now()
	j.Settle(refresh.Verdict{Disposition: refresh.Retry, Delay: delay})
	j = in.next(t)
	if d := time.Since(at); d < delay {
		t.Errorf("came again after %s, want %s at least", d, delay)
	}
	if j.Deliveries != 2 {
		t.Errorf("delivery %d, want 2", j.Deliveries)
	}
	j.Settle(refresh.Verdict{Disposition: refresh.Return})
	if j = in.next(t); j.Deliveries != 3 { // within patience, which is less than the ack wait
		t.Errorf("delivery %d, want 3", j.Deliveries)
	}
	done(j)
	h.result(sub)
	if n, _, err := sub.Pending(); err != nil || n != 0 {
		t.Errorf("%d results more, %v: only a finished command has one", n, err)
	}
}

func TestADeadJobIsKeptAsALetterAndGone(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	sub := h.results()
	h.start(h.Bus, in)
	before := time.Now()
	h.publish(plain, body, nats.Header{
		"traceparent": {parent}, "X-Twice": {"a", "b"}, "Nats-Msg-Id": {"theirs"}, "Nats-Expected-Stream": {"MX_COMMANDS"},
	})
	j := in.next(t)
	j.Settle(refresh.Verdict{Disposition: refresh.Return})
	j = in.next(t)
	j.Settle(refresh.Verdict{
		Disposition: refresh.Dead, Category: events.CategoryExhausted, Reason: "MX says 500",
		Result: events.Result{CommandID: "c-1", Outcome: events.OutcomeFailed, Reason: "MX says 500", FinishedAt: time.Now()},
	})
	if r := h.result(sub); r.Outcome != events.OutcomeFailed || r.Reason != "MX says 500" {
		t.Errorf("result %+v", r)
	}
	h.until("the command is gone", func() bool { return h.commands() == 0 })
	all := h.letters()
	if len(all) != 1 {
		t.Fatalf("%d dead letters, want 1", len(all))
	}
	l := all[0]
	sum := sha256.Sum256([]byte(body))
	if string(l.Body) != body || l.BodySize != len(body) || l.BodySHA256 != hex.EncodeToString(sum[:]) ||
		l.Subject != plain || l.Stream != "MX_COMMANDS" || l.Sequence != 1 || l.Reason != "MX says 500" ||
		l.Category != events.CategoryExhausted || l.Attempts != 2 {
		t.Errorf("dead letter %+v", l)
	}
	if l.FirstAt.Before(before.Add(-time.Second)) || l.DeadAt.Before(l.FirstAt) {
		t.Errorf("first at %s, dead at %s", l.FirstAt, l.DeadAt)
	}
	if !slices.Equal(l.Headers["X-Twice"], []string{"a", "b"}) || !slices.Equal(l.Headers["Nats-Msg-Id"], []string{"theirs"}) {
		t.Errorf("headers %v", l.Headers)
	}
	m, err := h.peer.Stream(t.Context(), h.subjects.DeadLetterStream())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for name := range raw.Header { // foreign headers would act
		if name != "Content-Type" && name != jetstream.MsgIDHeader {
			t.Errorf("the letter itself has the header %s", name)
		}
	}
	if got := raw.Header.Get(jetstream.MsgIDHeader); got != "MX_COMMANDS-1" {
		t.Errorf("message id %q", got)
	}
}

func TestACommandThatCannotBeReadIsADeadLetterAtOnce(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	sub := h.results()
	h.start(h.Bus, in)
	h.publish(plain, `{"user":7,"command_id":"c-7"}`, nil)
	h.publish("mx.commands.member.explode", body, nil)
	for range 2 {
		r := h.result(sub)
		if r.Outcome != events.OutcomeFailed || r.Reason == "" || !slices.Contains([]string{"1", "2", "c-7"}, r.CommandID) {
			t.Errorf("result %+v", r)
		}
	}
	h.until("the letters are there", func() bool { return len(h.letters()) == 2 })
	want := map[uint64]events.Category{1: events.CategoryInvalid, 2: events.CategoryMisdirected}
	for _, l := range h.letters() { // in any order
		if l.Category != want[l.Sequence] || l.Reason == "" || l.Attempts != 1 {
			t.Errorf("dead letter %+v, want %s", l, want[l.Sequence])
		}
	}
	h.until("the commands are gone", func() bool { return h.commands() == 0 })
	if len(in.jobs) != 0 {
		t.Error("something unreadable became a job")
	}
}

// silence has nobody answer when a dead letter is stored, and returns what is asked.
func (h *house) silence() *nats.Subscription {
	h.t.Helper()
	if err := h.peer.DeleteStream(h.t.Context(), h.subjects.DeadLetterStream()); err != nil {
		h.t.Fatal(err)
	}
	asked, err := h.peerNC.SubscribeSync(h.subjects.DeadLetter("*"))
	if err == nil {
		err = h.peerNC.Flush()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return asked
}

func TestADeadLetterThatNobodyAnswersForKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	asked := h.silence()
	const bad, well = 10, 30 // bad ones in both requests' hands, and a place left for others
	for range bad {
		h.publish(plain, "{", nil)
	}
	h.fill(well)
	h.start(h.Bus, in)
	for range well {
		done(in.next(t))
	}
	h.until("the good ones are done, and the bad ones kept", func() bool { return h.commands() == bad })
	for range bad {
		m, err := asked.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Respond([]byte(`{"stream":"MX_DEADLETTERS","seq":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	h.until("the bad ones are gone, as their letters are stored", func() bool { return h.commands() == 0 })
}

func TestAMessageThatCannotBeBuriedComesAgainLessAndLessOften(t *testing.T) {
	t.Parallel()
	var all time.Duration
	for n := uint64(1); n < 100; n++ {
		d := unburied(n)
		if d < unburiedDelay || d > unburiedDelayMax || n > 1 && d < unburied(n-1) {
			t.Errorf("after delivery %d in %s, before in %s", n, d, unburied(n-1))
		}
		all += d
	}
	if unburied(1) != unburiedDelay || unburied(99) != unburiedDelayMax || all < 7*time.Hour {
		t.Errorf("first in %s, last in %s, %s for 99 deliveries", unburied(1), unburied(99), all)
	}
}

func TestManyDeadLettersFillNoLogAndNoneIsUnseen(t *testing.T) {
	t.Parallel()
	h, log := newHouse(t, good()), new(LockedBuffer)
	h.buried = loglimit.New(slog.New(slog.NewTextHandler(log, nil)).Warn, "dead letter")
	const many = 100
	for range many {
		h.publish(plain, "{", nil)
	}
	stop := h.start(h.Bus, newInbox())
	h.until("all are buried", func() bool { return h.commands() == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	h.Close()
	shown := log.count("category=invalid")
	if n := testutil.ToFloat64(h.metrics.deadLetters.WithLabelValues(string(events.CategoryInvalid))); n != many || shown == 0 || shown > many/2 {
		t.Errorf("%d lines of %v dead letters", shown, n)
	}
	_, rest, _ := strings.Cut(log.String(), "lines=")
	if left, err := strconv.Atoi(strings.TrimSpace(rest)); err != nil || left+shown != many {
		t.Errorf("%d lines of %d, and %q left out", shown, many, rest)
	}
}

func TestClosingWaitsForDeadLettersOnTheirWay(t *testing.T) {
	t.Parallel()
	h, in, log := newHouse(t, good()), newInbox(), new(LockedBuffer)
	h.notBuried = loglimit.New(slog.New(slog.NewTextHandler(log, nil)).Error, "dead letter not stored")
	asked := h.silence()
	h.publish(plain, "{", nil)
	stop := h.start(h.Bus, in)
	if _, err := asked.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if n := log.count("dead letter not stored"); n != 1 {
		t.Errorf("what came of %d letters is known when all is closed, want 1:\n%s", n, log)
	}
}

func TestADeadLetterIsStoredOnceThoughTheMessageIsDeliveredTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t, good())
	l := events.DeadLetter{Stream: "MX_COMMANDS", Sequence: 9, Category: events.CategoryInvalid, Reason: "first"}
	for range 3 {
		if err := h.bury(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		l.Reason, l.Attempts = "again", l.Attempts+1
	}
	if all := h.letters(); len(all) != 1 || all[0].Reason != "first" {
		t.Errorf("dead letters %+v, want the first alone", all)
	}
}

func TestADeadLetterOfAHugeBodyKeepsItsBeginningAndItsDigest(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	huge := bytes.Repeat([]byte("x"), 900<<10)
	h.publish(plain, string(huge), nil)
	h.until("the letter is there", func() bool { return len(h.letters()) == 1 })
	l, sum := h.letters()[0], sha256.Sum256(huge)
	if len(l.Body) != events.MaxDeadLetterBody || l.BodySize != len(huge) || l.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("%d bytes of %d, SHA-256 %s", len(l.Body), l.BodySize, l.BodySHA256)
	}
	h.until("the command is gone", func() bool { return h.commands() == 0 })
}

func TestABadBackgroundMessageIsADeadLetter(t *testing.T) {
	t.Parallel()
	h, in := newHouse(t, good()), newInbox()
	h.start(h.Bus, in)
	due := h.subjects.BackgroundDueOf(key(t, "MBR-1"))
	h.publish(due, "{", nil)
	h.publish(due, `{"cause":"chain","chain":"no.token"}`, nil)
	h.publish(due, `{"cause":"confirm_deletion","first_at":"2026-08-01T12:00:00.5Z","correlation_id":"c-1"}`, nil)
	j := in.next(t)
	if j.Source != refresh.SourceDeletion || j.Lane != refresh.Background || j.ID != "c-1" || j.Key != key(t, "MBR-1") ||
		j.Confirms == nil || j.Confirms.Sequence != 3 || !j.Confirms.FirstAt.Equal(time.Date(2026, 8, 1, 12, 0, 0, 5e8, time.UTC)) {
		t.Errorf("job %+v, confirms %+v", j, j.Confirms)
	}
	done(j)
	h.until("all are settled", func() bool { return h.state(h.subjects.BackgroundStream()).Msgs == 0 })
	if all := h.letters(); len(all) != 2 || all[0].Category != events.CategoryInvalid ||
		!slices.ContainsFunc(all, func(l events.DeadLetter) bool { return l.Reason == "body: is not JSON: unexpected end of JSON input" }) {
		t.Errorf("dead letters %+v, want 2, of which one says what is wrong with the body", all)
	}
}

func TestALetterOfTheSlowLaneNamesTheField(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`junk`:                         "body: is not JSON: invalid character 'j' looking for beginning of value",
		``:                             "body: is not JSON: unexpected end of JSON input",
		`[]`:                           "body: is a JSON array; want an object",
		`{"cause":7}`:                  "body: cause: is a JSON number; want a string",
		`{"step":"x"}`:                 "body: step: is a JSON string; want an integer",
		`{"first_at":"x"}`:             `body: first_at: "x" is no time in the form of RFC 3339`,
		`{"since":1}`:                  `body: since: 1 is no time in the form of RFC 3339`,
		`{"first_at":null,"since":""}`: `body: since: "" is no time in the form of RFC 3339`,
	} {
		if err := new(slowBody).read([]byte(body)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
	if err := new(slowBody).read([]byte(`{"cause":"settle","first_at":null,"since":"2026-08-01T12:00:00Z"}`)); err != nil {
		t.Error(err)
	}
}
