package mxsim

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// view is which of a member's fields an answer carries.
type view uint8

const (
	viewNone   view = iota // no member
	viewFull               // read, lists, aggregate
	viewStatus             // the smaller member of the status endpoint
	viewURI                // guid and URI
)

// form is how an answer puts what it says. The zero form is plain. Equal forms
// of equal members are equal bytes, so that an answer can be shown again.
type form struct {
	nasty   bool
	variant uint64
	journal bool // for the journal: whether there is a URI, not which
}

// Salts of the choices that a nasty form makes, so that they are independent.
const (
	saltError = iota + 1
	saltTime
	saltURI
	saltMessage
	saltMetadata
	saltJobGUID
	saltJobCode
	saltJobText
	saltUseCases
	saltExtra
	saltNotFound
)

// pick chooses one of n ways to say the same thing. 0 is the plain one.
func (f form) pick(salt, n uint64) uint64 {
	if !f.nasty {
		return 0
	}
	return mix(f.variant+salt*0x9e3779b97f4a7c15) % n
}

// mix is the finalizer of SplitMix64: every bit of x moves every bit of the
// result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// object appends the fields of one JSON object. Its methods are by hand
// because the simulator must not be what a bench measures.
type object struct {
	b      []byte
	fields int
	raw    map[string]json.RawMessage
	absent []string
}

// key begins a field, and reports whether its value is wanted: it is not when
// the field is to be absent or has been answered with raw JSON.
func (o *object) key(name string) bool {
	if o.absent != nil && slices.Contains(o.absent, name) {
		return false
	}
	if o.fields > 0 {
		o.b = append(o.b, ',')
	}
	o.fields++
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
	if value, ok := o.raw[name]; ok {
		o.b = append(o.b, value...)
		return false
	}
	return true
}

func (o *object) text(name string, value *string) {
	if o.key(name) {
		o.b = appendStringPtr(o.b, value)
	}
}

func (o *object) flag(name string, value *bool) {
	if !o.key(name) {
		return
	}
	if value == nil {
		o.b = append(o.b, "null"...)
		return
	}
	o.b = strconv.AppendBool(o.b, *value)
}

func (o *object) json(name, value string) {
	if o.key(name) {
		o.b = append(o.b, value...)
	}
}

func (o *object) time(name string, value *time.Time, f form, salt uint64) {
	if !o.key(name) {
		return
	}
	if value == nil {
		o.b = append(o.b, "null"...)
		return
	}
	layout := "2006-01-02T15:04:05.000Z"
	switch f.pick(salt, 3) {
	case 1:
		layout = "2006-01-02T15:04:05.999Z" // no fraction when there is none
	case 2:
		layout = "2006-01-02T15:04:05.999+00:00"
	}
	o.b = append(o.b, '"')
	o.b = value.UTC().AppendFormat(o.b, layout)
	o.b = append(o.b, '"')
}

// appendMember appends m as JSON. Its fields come in the order of MX's
// documentation, which is the alphabet.
func appendMember(b []byte, m *Member, v view, f form) []byte {
	o := object{b: append(b, '{'), raw: m.Raw, absent: m.Absent}
	switch v {
	case viewNone:
	case viewURI:
		o.json("guid", quoted(m.GUID))
		o.uri(m.OAuthWindowURI, form{journal: f.journal})
	case viewStatus:
		o.time("aggregated_at", m.AggregatedAt, f, saltTime)
		o.text("connection_status", m.ConnectionStatus)
		o.json("guid", quoted(m.GUID))
		o.flag("is_being_aggregated", m.IsBeingAggregated)
		o.time("successfully_aggregated_at", m.SuccessfullyAggregatedAt, f, saltTime*31)
	case viewFull:
		o.full(m, f)
	}
	return append(o.b, '}')
}

func (o *object) full(m *Member, f form) {
	o.time("aggregated_at", m.AggregatedAt, f, saltTime)
	o.flag("background_aggregation_is_disabled", m.BackgroundAggregationIsDisabled)
	o.text("connection_status", m.ConnectionStatus)
	o.message(m.ConnectionStatusMessage, f)
	o.error(m.Error, f)
	o.text("guid", &m.GUID)
	o.text("id", m.ID)
	o.text("institution_code", m.InstitutionCode)
	o.text("institution_guid", m.InstitutionGUID)
	o.flag("is_being_aggregated", m.IsBeingAggregated)
	o.flag("is_managed_by_user", m.IsManagedByUser)
	o.flag("is_manual", m.IsManual)
	o.flag("is_oauth", m.IsOAuth)
	o.metadata(m.Metadata, f)
	o.json("most_recent_job_detail_code", jobCodes[f.pick(saltJobCode, uint64(len(jobCodes)))])
	o.json("most_recent_job_detail_text", jobTexts[f.pick(saltJobText, uint64(len(jobTexts)))])
	o.json("most_recent_job_guid", jobGUIDs[f.pick(saltJobGUID, uint64(len(jobGUIDs)))])
	o.text("name", m.Name)
	o.flag("needs_updated_credentials", m.NeedsUpdatedCredentials)
	o.uri(m.OAuthWindowURI, f)
	o.time("successfully_aggregated_at", m.SuccessfullyAggregatedAt, f, saltTime*31)
	o.useCases(m.UseCases, f)
	o.text("user_guid", &m.UserGUID)
	o.text("user_id", m.UserID)
	o.extra(f)
	for _, name := range slices.Sorted(maps.Keys(m.Raw)) {
		if !knownField(name) {
			o.key(name)
		}
	}
}

// knownField says whether a full member has this field anyway.
func knownField(name string) bool {
	switch name {
	case "guid", "user_guid", "user_id",
		"most_recent_job_detail_code", "most_recent_job_detail_text", "most_recent_job_guid":
		return true
	}
	var scratch Member
	return copyField(name, &scratch, &scratch)
}

func quoted(s string) string { return string(appendString(nil, s)) }

func appendStringPtr(b []byte, s *string) []byte {
	if s == nil {
		return append(b, "null"...)
	}
	return appendString(b, *s)
}

// appendString appends s as a JSON string. Text that needs no escape, almost
// all of it, is appended as it is.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // cannot happen: every string has an encoding
		return append(b, `""`...)
	}
	return append(b, text...)
}
