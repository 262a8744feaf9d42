package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unique"
)

// value is a field's value in canonical JSON, so that two values are the same
// exactly when they are equal. Members share what they have in common.
type value = unique.Handle[string]

// state is all that "changed" may name.
type state [fieldCount]value

// canonical returns a value of kind k, or says why raw is none.
func (v *vocabulary) canonical(k kind, raw json.RawMessage) (value, error) {
	if string(raw) == "null" {
		if k == must || k == truth {
			return v.null, errors.New("is null")
		}
		return v.null, nil
	}
	switch k {
	case flag, truth:
		switch string(raw) {
		case "true":
			return v.yes, nil
		case "false":
			return v.no, nil
		}
		return v.null, fmt.Errorf("is %s, not true or false", shown(raw))
	case text, must:
		s, ok := str(raw)
		if !ok || k == must && s == "" {
			return v.null, fmt.Errorf("is %s, not a text", shown(raw))
		}
		return encode(s), nil
	case instant:
		t, err := utc(raw)
		if err != nil {
			return v.null, err
		}
		return encode(t.Format(time.RFC3339Nano)), nil
	case set:
		var words []string
		if err := json.Unmarshal(raw, &words); err != nil {
			return v.null, fmt.Errorf("is %s, not an array of texts", shown(raw))
		}
		if !slices.IsSorted(words) || len(slices.Compact(slices.Clone(words))) != len(words) {
			return v.null, fmt.Errorf("is %s, not sorted, or has one twice", shown(raw))
		}
		return encode(append([]string{}, words...)), nil
	case fault:
		return v.canonicalFault(raw)
	}
	return v.null, fmt.Errorf("is of unknown kind %d", k)
}

func (v *vocabulary) canonicalFault(raw json.RawMessage) (value, error) {
	o, err := split(raw)
	if err != nil {
		return v.null, err
	}
	if !slices.Equal(o.names, v.fault) {
		return v.null, fmt.Errorf("has the fields %s, want %s", strings.Join(o.names, " "), strings.Join(v.fault, " "))
	}
	var fields struct {
		Code        *int64  `json:"error_code"`
		Type        *string `json:"error_type"`
		Message     *string `json:"error_message"`
		UserMessage *string `json:"user_message"`
		Locale      *string `json:"locale"`
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return v.null, fmt.Errorf("is no error: %w", err)
	}
	return encode(fields), nil
}

// encode makes a value of what cannot fail to encode.
func encode(v any) value {
	if s, ok := v.(string); ok && !strings.ContainsFunc(s, escaped) {
		return unique.Make(`"` + s + `"`)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err)) // Texts, numbers and lists of them always encode.
	}
	return unique.Make(string(b))
}

// escaped reports whether an encoder may write r in another way.
func escaped(r rune) bool {
	return r == '\\' || r == '"' || r == '<' || r == '>' || r == '&' || r < ' ' || r > '~'
}

// utc reads a JSON string that is an RFC 3339 time in UTC.
func utc(raw json.RawMessage) (time.Time, error) {
	s, _ := str(raw)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !strings.HasSuffix(s, "Z") {
		return time.Time{}, fmt.Errorf("is %s, not a time in UTC", shown(raw))
	}
	return t, nil
}

// plain is the text of a value, "" for null.
func plain(v value) string {
	s, _ := str([]byte(v.Value()))
	return s
}

// moment is the time of a value, zero for null.
func moment(v value) time.Time {
	t, err := time.Parse(time.RFC3339Nano, plain(v))
	if err != nil {
		return time.Time{}
	}
	return t
}

// sameFault is what two errors are compared by.
type sameFault struct {
	is         bool
	code, kind string // JSON
}

// compared returns what an error is compared by.
func compared(v value) sameFault {
	if v.Value() == "null" {
		return sameFault{}
	}
	o, _ := split([]byte(v.Value())) // It was encoded here.
	return faultOf(o)
}

func faultOf(o object) sameFault {
	orNull := func(raw json.RawMessage) string {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return "null"
		}
		return encode(v).Value()
	}
	f := sameFault{code: orNull(o.get("error_code")), kind: orNull(o.get("error_type"))}
	f.is = slices.ContainsFunc([]string{f.code, f.kind, orNull(o.get("error_message")), orNull(o.get("user_message"))},
		func(v string) bool { return v != "null" && v != `""` }) // of one that says nothing nobody can tell that it is there
	if !f.is {
		return sameFault{}
	}
	return f
}

func (f sameFault) String() string {
	if !f.is {
		return "none"
	}
	return f.code + " " + f.kind
}
