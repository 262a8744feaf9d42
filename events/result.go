package events

import (
	"fmt"
	"strconv"
	"time"
)

// ResultType is the CloudEvents type of a [Result].
const ResultType = "member.refresh.result"

// Outcome is how a command ended.
type Outcome string

// The outcomes.
const (
	OutcomeChanged   Outcome = "changed"   // the read found something new, and it is published
	OutcomeUnchanged Outcome = "unchanged" // the read found nothing new
	OutcomeNotFound  Outcome = "not_found" // MX does not know the member, and neither do we
	OutcomeFailed    Outcome = "failed"    // given up; it is in the dead letters
)

// Result tells how one command ended. It is sent once on core NATS to whoever
// listens then; nothing keeps it.
type Result struct {
	CommandID  string    `json:"command_id"`
	Outcome    Outcome   `json:"outcome"`
	UserGUID   string    `json:"user_guid,omitempty"`   // empty when it never became known
	MemberGUID string    `json:"member_guid,omitempty"` // likewise
	Revision   uint64    `json:"revision,omitempty"`    // of the member's last event; 0: there is none
	EventID    string    `json:"event_id,omitempty"`    // of the event that the read made; only when changed
	EventType  Type      `json:"event_type,omitempty"`  // its type
	Reason     string    `json:"reason,omitempty"`      // why it failed; otherwise the command's own reason
	FinishedAt time.Time `json:"finished_at"`
}

// Encode returns r as structured CloudEvents JSON, to be sent with [ContentType].
func (r Result) Encode(s Subjects) ([]byte, error) {
	return r.AppendTo(make([]byte, 0, 1<<10), s)
}

// AppendTo appends what [Result.Encode] returns to b, for who has room already.
func (r *Result) AppendTo(b []byte, s Subjects) ([]byte, error) {
	if y := r.FinishedAt.Year(); y < 0 || y > 9999 {
		return nil, fmt.Errorf("encoding data of result: finished_at: year %d: RFC 3339 has four digits", y)
	}
	b, err := attributes{
		id:     r.CommandID + "-" + r.FinishedAt.UTC().Format("20060102T150405.000000000Z"),
		source: "/" + s.prefix + "/commands/member/refresh", ceType: ResultType, subject: r.CommandID,
		schema: schemaBase + ResultType + ".json", time: r.FinishedAt,
		extensions: []extension{{extCorrelationID, r.CommandID}},
	}.appendTo(b, r.appendTo)
	if err != nil {
		return nil, fmt.Errorf("encoding result: %w", err)
	}
	return b, nil
}

// appendTo appends r as JSON: the bytes that encoding/json makes of it.
func (r *Result) appendTo(b []byte) []byte {
	b = append(b, `{"command_id":`...)
	b = appendString(b, r.CommandID)
	b = append(b, `,"outcome":`...)
	b = appendString(b, string(r.Outcome))
	optional := func(name, value string) {
		if value != "" {
			b = appendAttribute(b, name, value)
		}
	}
	optional("user_guid", r.UserGUID)
	optional("member_guid", r.MemberGUID)
	if r.Revision != 0 {
		b = append(b, `,"revision":`...)
		b = strconv.AppendUint(b, r.Revision, 10)
	}
	optional("event_id", r.EventID)
	optional("event_type", string(r.EventType))
	optional("reason", r.Reason)
	b = append(b, `,"finished_at":`...)
	b = appendTime(b, &r.FinishedAt)
	return append(b, '}')
}

// DecodeResult reads what [Result.Encode] wrote, and tolerates more.
func DecodeResult(b []byte) (Result, error) {
	var r received[Result]
	if err := r.unmarshal(b); err != nil {
		return Result{}, fmt.Errorf("decoding result: %w", err)
	}
	if r.Type != ResultType {
		return Result{}, fmt.Errorf("decoding result: type is %q, want %s", clip(r.Type), ResultType)
	}
	if err := r.check(); err != nil {
		return Result{}, fmt.Errorf("decoding result: %w", err)
	}
	return r.Data, nil
}
