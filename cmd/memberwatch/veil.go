package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// veiled stands in the place of what is not shown.
const veiled = "(not shown)"

// What is not shown of texts that others have written. A URL may be one to send a
// user to a bank, whose whole secret is its path and query.
var (
	secretName  = regexp.MustCompile(`(?i)authorization|cookie|credential|password|passwd|secret|token|api[-_]?key|oauth_window_uri`)
	secretURL   = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s"'<>\\]+)`)
	secretLogin = regexp.MustCompile(`(?i)\b(basic|bearer)\s+[A-Za-z0-9+/_.~=-]+`)
	// secretField is a field of JSON, for what cannot be parsed.
	secretField = regexp.MustCompile(`(?i)("[^"]*(?:authorization|cookie|credential|password|passwd|secret|token|api[-_]?key|oauth_window_uri)[^"]*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}\]]+)`)
)

// veil takes out of a text what may be a secret.
func veil(s string) string {
	s = secretURL.ReplaceAllStringFunc(s, func(u string) string {
		scheme, rest, _ := strings.Cut(u, "://")
		authority := rest
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			authority = rest[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			authority = authority[i+1:]
		}
		return scheme + "://" + authority + "/…"
	})
	return secretLogin.ReplaceAllString(s, "$1 "+veiled)
}

// veilNamed shows the value of a header or field, unless its name says that it is a secret.
func veilNamed(name, value string) string {
	if secretName.MatchString(name) {
		return veiled
	}
	return oneLine(value, 0)
}

// veilBody shows a body as text: JSON with its secret fields veiled, else what
// can be printed of it.
func veilBody(body []byte) string {
	var value any
	read := json.NewDecoder(bytes.NewReader(body))
	read.UseNumber() // shown as it was written
	if read.Decode(&value) == nil && !read.More() {
		if raw, err := json.MarshalIndent(veilValue(value), "", "  "); err == nil {
			return printable(string(raw), true)
		}
	}
	if !utf8.Valid(body) {
		return "(not text)"
	}
	return printable(veil(secretField.ReplaceAllString(string(body), "$1\""+veiled+"\"")), true)
}

func veilValue(v any) any {
	switch v := v.(type) {
	case string:
		return veil(v)
	case []any:
		for i := range v {
			v[i] = veilValue(v[i])
		}
	case map[string]any:
		for name := range v {
			if secretName.MatchString(name) {
				v[name] = veiled
			} else {
				v[name] = veilValue(v[name])
			}
		}
	}
	return v
}

// oneLine shows a text that others have written on one line, cut to width
// characters if that is not 0.
func oneLine(s string, width int) string {
	s = strings.Join(strings.Fields(printable(veil(s), false)), " ")
	if width > 0 {
		s = clip(s, width)
	}
	return s
}

// printable replaces what would act on a terminal.
func printable(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case lines && (r == '\n' || r == '\t'):
			return r
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '·'
		}
		return r
	}, s)
}
