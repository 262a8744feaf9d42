package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
)

// attributes are the CloudEvents attributes of what the service publishes, for
// [Event.Encode] and [Result.Encode]. They are written here and not by the SDK,
// whose way through maps, URLs and a second encoder takes five times as long;
// tests hold the bytes equal to the SDK's.
type attributes struct {
	id, source, ceType, subject, schema string
	time                                time.Time
	extensions                          []extension // in the order of their names; empty ones are left out
}

type extension struct{ name, value string }

// appendTo appends the structured CloudEvent with attributes a, to which data
// appends its JSON.
func (a attributes) appendTo(b []byte, data func([]byte) []byte) ([]byte, error) {
	if a.id == "" || a.source == "" || a.ceType == "" || a.subject == "" {
		return b, errors.New("id, source, type or subject is empty")
	}
	b = append(b, `{"specversion":"1.0"`...)
	b = appendAttribute(b, "id", a.id)
	b = appendAttribute(b, "source", a.source)
	b = appendAttribute(b, "type", a.ceType)
	b = appendAttribute(b, "subject", a.subject)
	b = append(b, `,"datacontenttype":"application/json"`...)
	b = appendAttribute(b, "dataschema", a.schema)
	if !a.time.IsZero() {
		b = append(b, `,"time":"`...)
		b = a.time.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	b = append(b, `,"data":`...)
	b = data(b)
	for _, x := range a.extensions {
		if x.value != "" {
			b = appendAttribute(b, x.name, x.value)
		}
	}
	return append(b, '}'), nil
}

func appendAttribute(b []byte, name, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return appendString(b, value)
}

// appendString appends s as a JSON string, as encoding/json writes it. Nearly
// every attribute is made of characters that stand for themselves.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// received is a structured CloudEvent with data of type D as [Decode] and
// [DecodeResult] read it, in one pass. The extensions are any because one that
// is no text is one we do not know, and no error.
type received[D any] struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            D         `json:"data"`
	DataBase64      []byte    `json:"data_base64"`
	CorrelationID   any       `json:"correlationid"`
	Reason          any       `json:"reason"`
	Traceparent     any       `json:"traceparent"`
	Tracestate      any       `json:"tracestate"`
}

// unmarshal reads b, whose data may be JSON or JSON in base64. It has read what
// it could, the type included, when the error is about the form of one value.
func (r *received[D]) unmarshal(b []byte) error {
	if err := json.Unmarshal(exact(b, nest{"data": dataNest()}), r); err != nil {
		return fmt.Errorf("decoding cloudevent: %w", err)
	}
	if r.DataBase64 != nil {
		if err := unmarshalData(r.DataBase64, &r.Data); err != nil {
			return fmt.Errorf("decoding data_base64: %w", err)
		}
	}
	return nil
}

// unmarshalData reads the data of an event or a result by the exact names of its fields.
func unmarshalData[D any](b []byte, d *D) error {
	return json.Unmarshal(exact(b, dataNest()), d) //nolint:wrapcheck // The caller says where the data was.
}

// dataNest is what exact has to know of data; a member sees to itself.
func dataNest() nest { return nest{"action": nil} }

// check reports what CloudEvents 1.0 or the contract forbids.
func (r *received[D]) check() error {
	switch {
	case r.SpecVersion != "1.0":
		return fmt.Errorf("specversion: %q, want 1.0", clip(r.SpecVersion))
	case r.ID == "":
		return errors.New("id: missing")
	case r.Source == "":
		return errors.New("source: missing")
	case !isJSON(r.DataContentType):
		return fmt.Errorf("datacontenttype: %q, want application/json", clip(r.DataContentType))
	}
	return nil
}

// isJSON reports whether a datacontenttype, which may be left out, means JSON.
func isJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (slices.Contains([]string{"application/json", "text/json"}, media) || strings.HasSuffix(media, "+json"))
}
