package mx

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxExcerpt keeps a log line readable; MX's error texts are a sentence.
	maxExcerpt = 256
	// excerptWindow is how much is looked at: enough for maxExcerpt after a few long URIs went.
	excerptWindow = 1 << 10
)

var (
	// anyURI matches a scheme with an authority, also when JSON or a query string has escaped it.
	anyURI = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*(?::|%3a|\\u003a)(?:\\?/|%2f|\\u002f){2}[^\s"'<>]*`)
	// longToken matches what may be a key, a token or a query; a guid of MX has 40 characters.
	longToken = regexp.MustCompile(`[A-Za-z0-9+/_=%~.&?:-]{48,}`)
)

// excerpt makes of text from outside what may be shown in a log: bounded, printable, without URIs, long tokens and the
// given secrets.
func excerpt(text string, secrets ...string) string {
	whole := len(text) <= excerptWindow
	text = text[:min(len(text), excerptWindow)]
	if !whole {
		// The cut may have left the beginning of a secret, too short to be recognized.
		text = text[:strings.LastIndexFunc(text, unicode.IsSpace)+1]
	}
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, redacted)
		}
	}
	text = anyURI.ReplaceAllLiteralString(text, "[uri]")
	text = longToken.ReplaceAllLiteralString(text, "[token]")
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxExcerpt {
		return text
	}
	const mark = "…"
	end := maxExcerpt - len(mark)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
