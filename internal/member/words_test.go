package member_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/internal/member"
)

// written reads all texts that were appended to b.
func written(w *member.Words, b []byte) (all []string) {
	for at := 0; at < len(b); {
		var s string
		s, at = w.Text(string(b), at)
		all = append(all, s)
	}
	return all
}

func TestWordIsWrittenAsNumber(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		size       int
	}{
		{"empty", "", 1},
		{"as long as a number", "PFM", 4},
		{"the shortest", "mxco", 1},
		{"common", "CONNECTED", 1},
		{"the longest", strings.Repeat("a", 256), 1},
		{"too long", strings.Repeat("a", 257), 259},
	} {
		w := member.NewWords()
		first := w.Append(nil, c.text)
		b := w.Append(slices.Clone(first), c.text)
		if len(first) != c.size || len(b) != 2*c.size {
			t.Errorf("%s: %d bytes, then %d; want %d each time", c.name, len(first), len(b)-len(first), c.size)
		}
		if got, want := written(w, b), []string{c.text, c.text}; !slices.Equal(got, want) {
			t.Errorf("%s: reads %q, want %q", c.name, got, want)
		}
	}
}

func TestFullWordsKeepWhatTheyHave(t *testing.T) {
	t.Parallel()
	w := member.NewWords()
	word := func(n int) string { return fmt.Sprintf("word number %d", n) }
	const most = 4096
	var b []byte
	var want []string
	for n := range most {
		b = w.Append(b, word(n))
		want = append(want, word(n))
	}
	size := len(b)
	b = w.Append(b, word(most))
	if got := len(b) - size; got != 1+len(word(most)) {
		t.Errorf("one too many takes %d bytes, want all of its own", got)
	}
	b = w.Append(b, word(most-1))
	if got := written(w, b); !slices.Equal(got, append(want, word(most), word(most-1))) {
		t.Errorf("%d texts do not read as they were written", len(got))
	}
}

func TestWordNobodyWrotePanics(t *testing.T) {
	t.Parallel()
	w := member.NewWords()
	w.Append(nil, "a word")
	for name, b := range map[string][]byte{
		"nothing": nil, "a number without end": {0xff}, "a number too great": {1<<1 | 1}, "a text cut short": {3 << 1, 'a', 'b'},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			w.Text(string(b), 0)
		}()
	}
}
