package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/bus/command"
	"github.com/memberwatch/memberwatch/internal/refresh"
)

// What keeps a dead letter from being sent again.
var (
	// ErrCut: not all of the message was kept.
	ErrCut = errors.New("the body was not kept whole")
	// ErrNoWayBack: the message was none that a refresh command could stand for.
	ErrNoWayBack = errors.New("there is no way back to its stream")
)

// Resend sends a letter's message again and, once that is stored, removes the
// letter. To do it again because no answer came stores no second one, within
// the duplicate window of the command stream.
//
// A command goes back as it was, on its subject, with its body and its headers,
// save those by which it would act on NATS a second time. What was in the slow
// lane goes back as a refresh command of its member: a read that reads and
// compares all the same, where the message itself may be out of date (an event
// must never be on its stream twice).
func (b *Letterbox) Resend(ctx context.Context, l *Letter) error {
	m, err := b.message(l)
	if err != nil {
		return err
	}
	m.Header.Set(jetstream.MsgIDHeader, "retry-"+b.subjects.DeadLetterStream()+"-"+strconv.FormatUint(l.Sequence, 10))
	m.Header.Set(jetstream.ExpectedStreamHeader, b.subjects.CommandStream())
	if _, err := publish(ctx, b.js, m); errors.Is(err, refresh.ErrOutcomeUnknown) {
		return fmt.Errorf("sending letter %d again: no answer, so it is kept: %w", l.Sequence, err)
	} else if err != nil {
		return fmt.Errorf("sending letter %d again: %w", l.Sequence, err)
	}
	if err := b.Remove(ctx, l.Sequence); err != nil && !errors.Is(err, ErrNoLetter) {
		return fmt.Errorf("sent again, but the letter stays: %w", err)
	}
	return nil
}

// message is what goes back to the command stream.
func (b *Letterbox) message(l *Letter) (*nats.Msg, error) {
	if l.Err != nil {
		return nil, l.Err
	}
	front := strings.TrimSuffix(b.subjects.Commands(), ">")
	if l.Stream == b.subjects.CommandStream() && strings.HasPrefix(l.Subject, front) {
		sum := sha256.Sum256(l.Body)
		if len(l.Body) != l.BodySize || hex.EncodeToString(sum[:]) != l.BodySHA256 {
			return nil, fmt.Errorf("%w: %d of %d bytes are there; have its publisher send it again", ErrCut, len(l.Body), l.BodySize)
		}
		return &nats.Msg{Subject: l.Subject, Data: l.Body, Header: inert(l.Headers)}, nil
	}
	var again events.Command
	if _, k, ok := b.subjects.ParseBackground(l.Subject); ok && l.Stream == b.subjects.BackgroundStream() {
		var body slowBody
		if json.Unmarshal(l.Body, &body) == nil && events.ValidToken(body.CorrelationID) {
			again.CommandID = body.CorrelationID
		}
		if body.Cause != causeChain { // a walk over all members names none
			again.User, again.Member = k.User(), k.Member()
		}
	} else if _, k, ok := b.subjects.ParseEvent(l.Subject); ok && l.Stream == b.subjects.EventStream() {
		again.User, again.Member = k.User(), k.Member()
	}
	if again.Validate() != nil {
		return nil, fmt.Errorf("%w: it was %.80q on %.80q", ErrNoWayBack, l.Subject, l.Stream)
	}
	again.Reason = "dead letter " + strconv.FormatUint(l.Sequence, 10) + " retried"
	body, err := json.Marshal(again)
	if err != nil {
		return nil, fmt.Errorf("encoding command: %w", err)
	}
	h := inert(l.Headers)
	for name := range h { // those of an event describe the event
		if !strings.EqualFold(name, command.HeaderTraceparent) && !strings.EqualFold(name, command.HeaderTracestate) {
			delete(h, name)
		}
	}
	h.Set(command.HeaderContentType, "application/json")
	return &nats.Msg{Subject: b.subjects.Refresh(), Data: body, Header: h}, nil
}

// inert returns headers without those that NATS heeds: message ids, expectations,
// roll-up, times to live, schedules.
func inert(headers map[string][]string) nats.Header {
	h := make(nats.Header, len(headers))
	for name, values := range headers {
		if len(name) < 5 || !strings.EqualFold(name[:5], "nats-") {
			h[name] = values
		}
	}
	return h
}
