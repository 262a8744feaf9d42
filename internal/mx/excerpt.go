package mx

import (
	"html"
	"regexp"
	"slices"
	"strconv"
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
	// longToken matches what may be a key, a token or a query, also where something of it was hidden; a guid of MX has 40
	// characters.
	longToken = regexp.MustCompile(`[A-Za-z0-9+/_=%~.&?:\x00-]{48,}`)
	// hidden matches what hide left.
	hidden = regexp.MustCompile(`\x00+`)
	// escapeBefore matches an escape sequence before a word that it is no part of, as in users%2Fbob.
	escapeBefore = regexp.MustCompile(`(?i)(?:%[0-9a-f]{2}|\\u[0-9a-f]{4}|\\[bfnrt])$`)
)

// shortID is the length below which an id is hidden only where it stands alone: one such as "e" is a part of most words.
const shortID = 8

// excerpt makes of text from outside what may be shown in a log: bounded, printable, without URIs, long tokens, the ids
// that were asked for and the given secrets. whole tells that the text was not cut off.
func excerpt(text string, whole bool, ids, secrets []string) string {
	if len(text) > excerptWindow {
		text, whole = text[:excerptWindow], false
	}
	text = strings.ReplaceAll(text, "\x00", " ")
	words := slices.Concat(ids, secrets)
	// The longest first: what another one is a part of would not be known again without it.
	slices.SortStableFunc(words, func(a, b string) int { return len(b) - len(a) })
	for _, word := range words {
		text = hide(text, word, len(word) < shortID && !slices.Contains(secrets, word))
	}
	if !whole {
		// The cut may have left the beginning of one of the words, and of what else is hidden, too short to be recognized.
		text = cutShort(text, words)
		text = text[:strings.LastIndexFunc(text, unicode.IsSpace)+1]
	}
	text = anyURI.ReplaceAllLiteralString(text, "[uri]")
	text = longToken.ReplaceAllLiteralString(text, "[token]")
	text = hidden.ReplaceAllLiteralString(text, redacted)
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

// hide puts zero bytes in the place of word, as it is and as it stands in URLs, JSON and HTML. alone tells that a part
// of a longer word is let stand.
func hide(text, word string, alone bool) string {
	if word == "" {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		n := lengthOf(word, text[i:], false)
		if n == 0 || alone && !standsAlone(text[:i], text[i+n:]) {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(strings.Repeat("\x00", n))
		i += n
	}
	return b.String()
}

// cutShort cuts from the end of the text what may be the beginning of one of the words.
func cutShort(text string, words []string) string {
	for i := range len(text) {
		for _, word := range words {
			if n := lengthOf(word, text[i:], true); n > 0 && i+n == len(text) {
				return text[:i]
			}
		}
	}
	return text
}

// lengthOf returns how much of the text is word, as it is or escaped; 0 when it does not begin with it. With cut, the text
// may end within the word.
func lengthOf(word, text string, cut bool) int {
	return max(match(word, text, cut, literal), match(word, text, cut, unescaped))
}

// match is lengthOf for what next makes of the text, whatever the case of its letters.
func match(word, text string, cut bool, next func(text string) (piece string, n int)) int {
	at := 0
	for word != "" {
		if at == len(text) {
			if cut {
				return at
			}
			return 0
		}
		piece, n := next(text[at:])
		if len(piece) > len(word) || !same(piece, word[:len(piece)]) {
			return 0
		}
		word = word[len(piece):]
		at += n
	}
	return at
}

// same compares two pieces, of which a query writes a space as a plus sign. One of several bytes may be half a character.
func same(piece, want string) bool {
	return piece == want || len(piece) == 1 && piece[0] < utf8.RuneSelf && strings.EqualFold(piece, want) || piece == "+" && want == " "
}

// literal takes the text as it is, byte by byte.
func literal(text string) (piece string, n int) { return text[:1], 1 }

// unescaped undoes the escape sequence that the text begins with, if there is one.
func unescaped(text string) (piece string, n int) {
	const longest = 12 // a surrogate pair of JSON
	head := text[:min(len(text), longest)]
	switch head[0] {
	case '%':
		if len(head) >= 3 {
			if b, err := strconv.ParseUint(head[1:3], 16, 8); err == nil {
				return string([]byte{byte(b)}), 3
			}
		}
	case '\\':
		if raw := []byte(head); escapeLen(raw) > 0 {
			text, n := appendEscape(nil, raw)
			return string(text), n
		}
	case '&':
		if end := strings.IndexByte(head, ';') + 1; end > 0 {
			if text := html.UnescapeString(head[:end]); text != head[:end] {
				return text, end
			}
		}
	}
	return literal(text)
}

// standsAlone tells whether what is between before and after is no part of a longer word.
func standsAlone(before, after string) bool {
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	last, _ := utf8.DecodeLastRuneInString(before)
	first, _ := utf8.DecodeRuneInString(after)
	return (!inWord(last) || escapeBefore.MatchString(before[max(0, len(before)-6):])) && !inWord(first)
}
