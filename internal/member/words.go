package member

import (
	"encoding/binary"
	"strings"
)

// Words numbers the texts that very many members share, such as names and guids
// of institutions and MX's messages, so that what is packed can hold a number in
// their place. It never forgets one, for what is packed must stay readable, and
// takes no more when it is full. Nil, it has none. Of its methods no two may run at
// a time.
type Words struct {
	numbers map[string]int
	texts   []string
}

const (
	mostWords    = 4096 // some 400 KB of what MX says
	shortestWord = 4    // below, a number saves next to nothing
	longestWord  = 256
)

// NewWords returns Words that are to be learned.
func NewWords() *Words { return &Words{numbers: make(map[string]int)} }

// A text is packed as a uvarint whose lowest bit tells of what: 0, the length of
// the text, which follows; 1, the number of a word.

// Append appends a text, as a word if it is one or can become one.
func (w *Words) Append(b []byte, s string) []byte {
	if n, ok := w.number(s); ok {
		return binary.AppendUvarint(b, uint64(n)<<1|1) //nolint:gosec // It counts words.
	}
	return appendText(b, s)
}

// appendText appends a text in full.
func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))<<1), s...)
}

// Text returns the text that was appended at an offset of packed, of which it is
// a part unless it is a word, and the offset after it. It panics when there is no
// text.
func (w *Words) Text(packed string, at int) (text string, end int) {
	code, n := Uvarint(packed[at:])
	if n <= 0 {
		panic(notPacked)
	}
	at += n
	if code&1 == 1 {
		return w.word(code >> 1), at
	}
	if code>>1 > uint64(len(packed)) {
		panic(notPacked)
	}
	end = at + int(code>>1)
	return packed[at:end], end
}

// Uvarint is binary.Uvarint for a string.
func Uvarint(s string) (uint64, int) { return binary.Uvarint(varintOf(s)) }

// Varint is binary.Varint for a string.
func Varint(s string) (int64, int) { return binary.Varint(varintOf(s)) }

// varintOf copies what a varint may take: so little that it needs no allocation.
func varintOf(s string) []byte { return []byte(s[:min(len(s), binary.MaxVarintLen64)]) }

func (w *Words) number(s string) (n int, ok bool) {
	if w == nil || len(s) < shortestWord || len(s) > longestWord {
		return 0, false
	}
	if n, ok = w.numbers[s]; ok || len(w.texts) >= mostWords {
		return n, ok
	}
	s, n = strings.Clone(s), len(w.texts) // s may be a part of an answer many times its size
	w.texts = append(w.texts, s)
	w.numbers[s] = n
	return n, true
}

func (w *Words) word(n uint64) string {
	if w == nil || n >= uint64(len(w.texts)) {
		panic(notPacked)
	}
	return w.texts[n]
}
