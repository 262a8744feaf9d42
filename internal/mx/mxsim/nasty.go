package mxsim

import (
	"slices"
	"strconv"
)

// The forms below were all seen, or are allowed by MX's published description.
// The first of each list is the plain one.

// The deprecated job fields have had inconsistent types across versions.
//
//nolint:gochecknoglobals // constant tables; Go has no constant arrays
var (
	jobGUIDs = [...]string{
		`"JOB-12345678-90ab-cdef-1234-567890abcdef"`, `null`, `""`, `4711`, `{"guid":"JOB-1"}`, `["JOB-1"]`,
	}
	jobCodes = [...]string{`null`, `0`, `"2004"`, `3002.5`, `true`, `{}`}
	jobTexts = [...]string{`null`, `""`, `"no detail"`, `7`, `[]`, `{"text":null}`}

	// Metadata is the partner's own text, often cut off or escaped twice.
	metadatas = [...]string{
		`null`, `""`, `"{\"owner\": \"unclosed"`, `"\\\"last_seen\\\": \\\"2015-10-15\\"`, `"not json at all \u0000"`, `"[1,2,"`,
	}

	// Fields that an answer may gain without a new version.
	extras = [...]string{
		``, `,"connection_status_id":"6"`, `,"actionable_errors":[{"error_code":9,"deep":{"er":[null]}}]`,
		`,"last_update_time":1476295077,"is_sim":null`,
	}
)

func (o *object) message(text *string, f form) {
	if !o.key("connection_status_message") {
		return
	}
	if text == nil {
		o.b = append(o.b, "null"...)
		return
	}
	switch f.pick(saltMessage, 3) { // MX rewords these at will
	case 1:
		o.b = appendString(o.b, "Please note: "+*text)
	case 2:
		o.b = appendString(o.b, *text+" Thank you for your patience.")
	default:
		o.b = appendString(o.b, *text)
	}
}

// error has five shapes: absent, null and {} when there is none; an object, or
// that object as text, when there is one.
func (o *object) error(e *MemberError, f form) {
	if e == nil {
		switch f.pick(saltError, 3) {
		case 1:
			o.json("error", "null")
		case 2:
			if _, ok := o.raw["error"]; ok {
				o.key("error")
			}
		default:
			o.json("error", "{}")
		}
		return
	}
	if !o.key("error") {
		return
	}
	if f.pick(saltError, 2) == 1 {
		o.b = appendString(o.b, string(appendError(nil, e)))
		return
	}
	o.b = appendError(o.b, e)
}

func appendError(b []byte, e *MemberError) []byte {
	b = append(b, `{"error_code":`...)
	b = strconv.AppendInt(b, int64(e.Code), 10)
	b = append(b, `,"error_message":`...)
	b = appendStringPtr(b, e.Message)
	b = append(b, `,"error_type":`...)
	b = appendStringPtr(b, e.Type)
	b = append(b, `,"locale":`...)
	b = appendStringPtr(b, e.Locale)
	b = append(b, `,"user_message":`...)
	b = appendStringPtr(b, e.UserMessage)
	return append(b, '}')
}

// uri: null and "" are both blank, and no two answers need carry the same URI.
func (o *object) uri(uri *string, f form) {
	if f.journal {
		none := blank(uri) || slices.Contains(o.absent, "oauth_window_uri")
		if raw, ok := o.raw["oauth_window_uri"]; ok {
			none = string(raw) == `null` || string(raw) == `""`
		}
		o.flag("oauth_window_uri_blank", &none)
		return
	}
	if !o.key("oauth_window_uri") {
		return
	}
	switch {
	case blank(uri) && f.pick(saltURI, 2) == 1:
		o.b = append(o.b, `""`...)
	case blank(uri) || !f.nasty:
		o.b = appendStringPtr(o.b, uri)
	default:
		o.b = appendString(o.b, *uri+"&nonce="+strconv.FormatUint(mix(f.variant+saltURI), 16))
	}
}

func (o *object) metadata(text *string, f form) {
	if text != nil {
		o.text("metadata", text)
		return
	}
	o.json("metadata", metadatas[f.pick(saltMetadata, uint64(len(metadatas)))])
}

// useCases is a set: its order says nothing.
func (o *object) useCases(cases []string, f form) {
	if !o.key("use_cases") {
		return
	}
	if cases == nil {
		o.b = append(o.b, "null"...)
		return
	}
	if f.pick(saltUseCases, 2) == 1 {
		cases = slices.Clone(cases)
		slices.Reverse(cases)
	}
	o.b = append(o.b, '[')
	for i, c := range cases {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendString(o.b, c)
	}
	o.b = append(o.b, ']')
}

func (o *object) extra(f form) {
	o.b = append(o.b, extras[f.pick(saltExtra, uint64(len(extras)))]...)
}
