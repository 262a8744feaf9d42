package events

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// ContentType is the media type of a structured CloudEvent, the one form in
// which events are published.
const ContentType = "application/cloudevents+json"

// Names of the extension attributes, as the CloudEvents registry defines them
// where it does.
const (
	extPartitionKey  = "partitionkey"
	extSequence      = "sequence"
	extCorrelationID = "correlationid"
	extReason        = "reason"
	extTraceparent   = "traceparent"
	extTracestate    = "tracestate"
)

// Event is a CloudEvent about a member. Its zero value is no event; make one
// with [New], read one with [Parse] or [Decode].
type Event struct {
	ID     string
	Type   Type
	Prefix string // what stands in front of Type on the wire (EVENT_TYPE_PREFIX), with its dot; usually empty
	Source string // /<prefix>/users/<user_guid>/members/<member_guid>
	Key    Key
	Time   time.Time // when MX answered; UTC
	Data   Data

	CorrelationID string // the id of the command whose read found it; a follow-up carries on the one that caused it
	Reason        string // the reason that command gave
	Traceparent   string // W3C trace context of what started the event
	Tracestate    string
}

// ErrNotMemberEvent is returned for a CloudEvent that is not about a member.
var ErrNotMemberEvent = errors.New("not an event about a member")

// New returns the event of type t that says d about member k in installation s.
// Its id is a function of member, revision, type and time of observation. The
// guids of d's member must be k's: encoding refuses anything else.
func New(s Subjects, t Type, k Key, d Data) Event {
	d.ObservedAt = d.ObservedAt.UTC()
	return Event{
		ID:     eventID(k, d.Revision, t, d.ObservedAt),
		Type:   t,
		Source: "/" + s.prefix + "/users/" + k.user + "/members/" + k.member,
		Key:    k,
		Time:   d.ObservedAt,
		Data:   d,
	}
}

// Announcement returns the announcement of the need to authorize that e began,
// with the URI to send the user to; uri is empty when MX gave none. The same
// event always makes an announcement of the same id.
func (e Event) Announcement(uri string) Event {
	a := e
	a.Type = TypeOAuthRequired
	a.ID = eventID(e.Key, e.Data.Revision, TypeOAuthRequired, e.Data.ObservedAt)
	a.Data.OAuthWindowURI = uri
	return a
}

func eventID(k Key, revision uint64, t Type, observed time.Time) string {
	b := make([]byte, 0, 256)
	b = append(b, k.member...)
	b = append(b, '\n')
	b = strconv.AppendUint(b, revision, 10)
	b = append(b, '\n')
	b = append(b, t...)
	b = append(b, '\n')
	b = observed.UTC().AppendFormat(b, time.RFC3339Nano)
	sum := sha256.Sum256(b)
	return base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:20]) // 160 bits in 32 characters
}

// Sequence is e's revision as the text that the sequence attribute carries:
// 20 digits, so that text order is number order.
func (e Event) Sequence() string {
	digits := strconv.FormatUint(e.Data.Revision, 10)
	return strings.Repeat("0", 20-len(digits)) + digits // a uint64 has at most 20 digits
}

// schemaBase is where the schemas of this major version are named. The names
// are identifiers; the files are in the module's schemas folder.
const schemaBase = "https://github.com/memberwatch/memberwatch/schemas/v1/"

// SchemaID is the dataschema of events of type t. A status this version does
// not know has the schema of member events in general.
func (t Type) SchemaID() string {
	if !t.Known() {
		return schemaBase + "member.event.json"
	}
	return schemaBase + string(t) + ".json"
}

// CloudEvent returns e as the SDK's type, valid against CloudEvents 1.0.
func (e Event) CloudEvent() (event.Event, error) {
	if err := e.check(); err != nil {
		return event.Event{}, fmt.Errorf("making cloudevent %s: %w", e.Type, err)
	}
	data, err := json.Marshal(e.Data)
	if err != nil {
		return event.Event{}, fmt.Errorf("encoding data of %s: %w", e.Type, err)
	}
	ce := event.New()
	ce.SetID(e.ID)
	ce.SetSource(e.Source)
	ce.SetType(e.Prefix + string(e.Type))
	ce.SetSubject(e.Key.member)
	ce.SetTime(e.Time)
	ce.SetDataSchema(e.Type.SchemaID())
	ce.SetExtension(extPartitionKey, e.Key.member)
	ce.SetExtension(extSequence, e.Sequence())
	for _, x := range []struct{ name, value string }{
		{extCorrelationID, e.CorrelationID},
		{extReason, e.Reason},
		{extTraceparent, e.Traceparent},
		{extTracestate, e.Tracestate},
	} {
		if x.value != "" {
			ce.SetExtension(x.name, x.value)
		}
	}
	if err := ce.SetData(event.ApplicationJSON, json.RawMessage(data)); err != nil {
		return event.Event{}, fmt.Errorf("setting data of %s: %w", e.Type, err)
	}
	if err := ce.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("making cloudevent %s: %w", e.Type, err)
	}
	return ce, nil
}

// Encode returns e as structured CloudEvents JSON, to be sent with [ContentType].
// It is what [Event.CloudEvent] encodes to, in a fraction of the time.
func (e Event) Encode() ([]byte, error) {
	return e.AppendTo(make([]byte, 0, 3<<10)) // most events are smaller
}

// AppendTo appends what [Event.Encode] returns to b, for who has room already.
func (e *Event) AppendTo(b []byte) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("encoding %s: %w", e.Type, err)
	}
	if err := e.Data.check(); err != nil {
		return nil, fmt.Errorf("encoding data of %s: %w", e.Type, err)
	}
	b, err := attributes{
		id: e.ID, source: e.Source, ceType: e.Prefix + string(e.Type), subject: e.Key.member,
		schema: e.Type.SchemaID(), time: e.Time,
		extensions: []extension{
			{extCorrelationID, e.CorrelationID},
			{extPartitionKey, e.Key.member},
			{extReason, e.Reason},
			{extSequence, e.Sequence()},
			{extTraceparent, e.Traceparent},
			{extTracestate, e.Tracestate},
		},
	}.appendTo(b, e.Data.appendTo)
	if err != nil {
		return nil, fmt.Errorf("encoding cloudevent %s: %w", e.Type, err)
	}
	return b, nil
}

// check refuses an event that would be found by another subject than its data say,
// or by one that is a filter.
func (e *Event) check() error {
	switch {
	case e.Key.IsZero():
		return errors.New("no member")
	case e.Key.user != e.Data.Member.UserGUID || e.Key.member != e.Data.Member.GUID:
		return fmt.Errorf("member: the data are of %s/%s, the event is about %s", clip(e.Data.Member.UserGUID), clip(e.Data.Member.GUID), e.Key)
	}
	if t, ok := typeOf(string(e.Type)); !ok || t != e.Type {
		return fmt.Errorf("type: %q is no type of a member's event", clip(string(e.Type)))
	}
	return nil
}

// Decode reads structured CloudEvents JSON as [Parse] does, without the way
// through the SDK's type. It is fastest, by far, for what [Event.Encode] wrote.
func Decode(b []byte) (Event, error) {
	if r, ok := canonical(b); ok {
		return accept(&r, nil)
	}
	return general(b)
}

// general reads an event in whatever form JSON allows.
func general(b []byte) (Event, error) {
	var r received[Data]
	err := r.unmarshal(b)
	return accept(&r, err)
}

// accept makes an event of what was received; err is what reading it ended with.
func accept(r *received[Data], err error) (Event, error) {
	if err != nil && r.Type == "" {
		return Event{}, err
	}
	t, ok := typeOf(r.Type)
	if !ok {
		return Event{}, fmt.Errorf("decoding cloudevent of type %q: %w", clip(r.Type), ErrNotMemberEvent)
	}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return Event{}, fmt.Errorf("decoding %s %s: %w", t, clip(r.ID), err)
	}
	return newEvent(t, r)
}

// Parse reads a CloudEvent about a member. Types, attributes and fields that
// this package does not know are no error; data whose member or revision is
// missing is. A CloudEvent of another kind gives [ErrNotMemberEvent].
func Parse(ce event.Event) (Event, error) {
	t, ok := typeOf(ce.Type())
	if !ok {
		return Event{}, fmt.Errorf("parsing cloudevent of type %q: %w", clip(ce.Type()), ErrNotMemberEvent)
	}
	if err := ce.Validate(); err != nil {
		return Event{}, fmt.Errorf("parsing cloudevent %s: %w", t, err)
	}
	x := ce.Extensions()
	r := received[Data]{
		SpecVersion: ce.SpecVersion(), ID: ce.ID(), Source: ce.Source(), Type: ce.Type(), Time: ce.Time(),
		DataContentType: ce.DataContentType(),
		CorrelationID:   x[extCorrelationID], Reason: x[extReason],
		Traceparent: x[extTraceparent], Tracestate: x[extTracestate],
	}
	if err := r.check(); err != nil {
		return Event{}, fmt.Errorf("parsing cloudevent %s %s: %w", t, clip(r.ID), err)
	}
	if err := unmarshalData(ce.Data(), &r.Data); err != nil {
		return Event{}, fmt.Errorf("parsing data of %s %s: %w", t, clip(r.ID), err)
	}
	return newEvent(t, &r)
}

// newEvent makes an event of type t of what was received.
func newEvent(t Type, r *received[Data]) (Event, error) {
	k, err := NewKey(r.Data.Member.UserGUID, r.Data.Member.GUID)
	if err != nil {
		return Event{}, fmt.Errorf("reading data of %s %s: member: %w", t, clip(r.ID), err)
	}
	// A status becomes a type, and so a token of a subject. MX's are all of that form, those to come included.
	if status := r.Data.Member.ConnectionStatus; status != nil && !status.Valid() {
		return Event{}, fmt.Errorf("reading data of %s %s: member: connection_status: %q is not an upper-case letter and up to %d of A-Z 0-9 _",
			t, clip(r.ID), clip(string(*status)), maxStatus-1)
	}
	if r.Data.Revision == 0 {
		return Event{}, fmt.Errorf("reading data of %s %s: revision: missing", t, clip(r.ID))
	}
	return Event{
		ID: r.ID, Type: t, Prefix: strings.TrimSuffix(r.Type, string(t)), Source: r.Source, Key: k,
		Time: r.Time.UTC(), Data: r.Data,
		CorrelationID: text(r.CorrelationID), Reason: text(r.Reason),
		Traceparent: text(r.Traceparent), Tracestate: text(r.Tracestate),
	}, nil
}

func text(v any) string {
	s, _ := v.(string) // an extension of another type is one we do not know
	return s
}
