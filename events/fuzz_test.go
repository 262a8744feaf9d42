package events_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
)

// FuzzDecode checks that no bytes make Decode panic or return half an event,
// that what it read can be written and read again, and that Parse, which takes
// the way through the SDK, reads the same.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := events.Decode(b)
		if err != nil {
			if e.ID != "" || !e.Key.IsZero() {
				t.Fatalf("half an event with error %v: %+v", err, e)
			}
			return
		}
		if e.ID == "" || e.Source == "" || e.Key.IsZero() || e.Data.Revision == 0 || !strings.HasPrefix(string(e.Type), "member.") {
			t.Fatalf("event is not whole: %+v", e)
		}
		again, err := e.Encode()
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		e2, err := events.Decode(again)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v\n%s", err, again)
		}
		b2, err := e2.Encode()
		if err != nil || string(b2) != string(again) {
			t.Fatalf("encoding is not stable (%v):\n%s\n%s", err, again, b2)
		}

		var ce event.Event
		if json.Unmarshal(again, &ce) != nil {
			return // The SDK knows which sources are URIs; we keep what we were sent.
		}
		parsed, err := events.Parse(ce)
		if err != nil {
			return
		}
		e2.Source, parsed.Source = "", "" // The SDK writes URIs in its own way,
		e2.Prefix = strings.TrimLeft(e2.Prefix, " ")
		if diff := cmp.Diff(e2, parsed, sameEvent); diff != "" {
			t.Fatalf("Decode and Parse differ (-Decode +Parse):\n%s", diff)
		}
	})
}

// FuzzCanonical checks that what the canonical way takes says the same on the
// general way. It begins with what was once on the wire, and with near misses.
func FuzzCanonical(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(goldenDir, "member.*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		indented, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		if err := json.Compact(&b, indented); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	full := encoded(f, fullEvent(f))
	for _, table := range []map[string][]string{nearlyCanonical(), canonicalToo()} {
		for old, edits := range table {
			for _, with := range edits {
				f.Add([]byte(strings.Replace(full, old, with, 1)))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { wantReadAlike(t, b) })
}

// FuzzParseSubject checks that a subject that is read names safe tokens only,
// and builds the very same subject again.
func FuzzParseSubject(f *testing.F) {
	f.Fuzz(func(t *testing.T, subject string) {
		s := subjects(t)
		if typ, k, ok := s.ParseEvent(subject); ok {
			if !events.ValidToken(k.User()) || !events.ValidToken(k.Member()) || !events.ValidToken(typ.Token()) {
				t.Errorf("%q gives unsafe tokens: %s, %v", subject, typ, k)
			}
			if s.Event(typ, k) != subject && !strings.HasPrefix(subject, "mx.oauth.member.") {
				t.Errorf("%q builds %q", subject, s.Event(typ, k))
			}
		}
		if cause, k, ok := s.ParseBackground(subject); ok {
			built := s.BackgroundDueOf(k)
			if cause != "" {
				built = s.BackgroundAt(cause, k)
			}
			if built != subject {
				t.Errorf("%q builds %q", subject, built)
			}
		}
		if user, member, named, ok := s.ParseRefresh(subject); ok {
			built := s.Refresh()
			if named {
				built += "." + user + "." + member
			}
			if built != subject || named != (user != "" && member != "") {
				t.Errorf("%q gives %q, %q, %v", subject, user, member, named)
			}
		}
	})
}

// FuzzCommandValidate checks that a valid command can go where commands go (a
// URL path, a subject, a header) and that an invalid one is told in a short,
// printable error that begins with a field's name.
func FuzzCommandValidate(f *testing.F) {
	f.Fuzz(func(t *testing.T, user, member, id, reason string) {
		c := events.Command{User: user, Member: member, CommandID: id, Reason: reason}
		err := c.Validate()
		if err == nil {
			for _, s := range []string{user, member} {
				if s == "" || s == "." || s == ".." || len(s) > 1024 || strings.ContainsAny(s, "*> \t\r\n\x00/\\?#%") {
					t.Errorf("%q is a valid id", s)
				}
			}
			if strings.Contains(member, ".") || strings.ContainsAny(id, ".*> \r\n") || strings.ContainsAny(reason, "\r\n\x00") ||
				!utf8.ValidString(reason) {
				t.Errorf("%+v is valid", c)
			}
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			field, _, ok := strings.Cut(line, ": ")
			if !ok || field != "user" && field != "member" && field != "command_id" && field != "reason" || len(line) > 400 {
				t.Errorf("error line %q names no field or is long", line)
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("error line %q is not printable", line)
			}
		}
	})
}
