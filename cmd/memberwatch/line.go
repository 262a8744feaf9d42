package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/memberwatch/memberwatch/events"
)

// lines writes commands and events for people, one aligned line each. It is
// safe for concurrent use.
type lines struct {
	mu    sync.Mutex
	w     io.Writer
	color bool
	short bool // URIs are cut: enough to see that there is one
}

// newLines returns lines to w, in color when somebody looks at it who did not
// ask for none (https://no-color.org).
func newLines(w io.Writer, lookup func(string) (string, bool)) *lines {
	no, _ := lookup("NO_COLOR")
	term, _ := lookup("TERM")
	return &lines{w: w, color: no == "" && term != "dumb" && isTerminal(w)}
}

func isTerminal(w io.Writer) bool {
	if o, ok := w.(*output); ok {
		w = o.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// color is an SGR parameter.
type color string

const (
	plain  color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

func (l *lines) paint(c color, s string) string {
	if !l.color || c == plain {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", args...)
}

// Widths of the columns.
const (
	typeWidth   = 19 // attributes_changed, and one more
	nameWidth   = 16
	guidWidth   = 12
	changeWidth = 25
	uriWidth    = 44
	stampFormat = "15:04:05.000"
)

// heading begins a chapter.
func (l *lines) heading(s string) { l.printf("\n%s", l.paint(bold, s)) }

// remark says what happens at MX or elsewhere, out of the service's sight.
func (l *lines) remark(format string, args ...any) {
	l.printf("%s", l.paint(dim, strings.Repeat(" ", len(stampFormat))+"  · "+fmt.Sprintf(format, args...)))
}

// command shows one that is sent.
func (l *lines) command(at time.Time, name, guid, note string) {
	l.sent(at, "refresh", name, guid, note)
}

// sent shows what is sent to the service about a member.
func (l *lines) sent(at time.Time, what, name, guid, note string) {
	l.printf("%s", strings.TrimRight(fmt.Sprintf("%s  → %s %s %s %s",
		at.Local().Format(stampFormat), fit(what, typeWidth), fit(name, nameWidth), fit(shortGUID(guid), guidWidth), note), " "))
}

// event shows one that is received.
func (l *lines) event(e *events.Event) {
	d := &e.Data
	what := change(d)
	if e.Type == events.TypeOAuthRequired {
		what = cmp.Or(d.OAuthWindowURI, "MX gave no URI")
		if l.short {
			what = clip(what, uriWidth)
		}
	} else {
		what = fit(what, changeWidth) + " " + action(d)
	}
	l.printf("%s", strings.TrimRight(fmt.Sprintf("%s  ← %s %s %s %s",
		e.Time.Local().Format(stampFormat), l.paint(mood(e), fit(e.Type.Token(), typeWidth)), fit(name(d), nameWidth),
		fit(shortGUID(e.Key.Member()), guidWidth), what), " "))
}

// mood is the color of an event: whether somebody has to do something.
func mood(e *events.Event) color {
	switch {
	case e.Type == events.TypeOAuthRequired:
		return cyan
	case e.Data.Deleted:
		return red
	case e.Data.Action.Actor == events.ActorNone && e.Data.Action.Kind == events.ActionNone:
		return green
	case e.Data.Action.Actor == events.ActorNone:
		return plain
	}
	return yellow
}

// change says what became of what: of the status, if that changed.
func change(d *events.Data) string {
	now := "no status"
	if d.Member.ConnectionStatus != nil {
		now = string(*d.Member.ConnectionStatus)
	}
	if d.Deleted {
		return now + " → deleted"
	}
	if d.Previous == nil {
		return now
	}
	if before, ok := d.Previous["connection_status"]; ok {
		var s *string
		if json.Unmarshal(before, &s) != nil || s == nil {
			return "? → " + now
		}
		return *s + " → " + now
	}
	return now + ": " + strings.Join(d.Changed, ", ")
}

// action says who has to do what next.
func action(d *events.Data) string {
	var s string
	if d.Action.Kind != events.ActionNone {
		s = strings.ReplaceAll(string(d.Action.Kind), "_", " ")
		if d.Action.Actor == events.ActorUser {
			s = string(d.Action.Actor) + ": " + s
		}
	}
	if d.Provisional {
		s = strings.TrimPrefix(s+", MX is aggregating", ", ")
	}
	return s
}

func name(d *events.Data) string {
	if d.Member.Name == nil {
		return "–"
	}
	return *d.Member.Name
}

// shortGUID keeps the beginning, which is enough to recognize a member by.
func shortGUID(guid string) string { return clip(guid, guidWidth) }

// clip cuts s to at most width characters.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// fit cuts or pads s to width characters.
func fit(s string, width int) string {
	s = clip(s, width)
	return s + strings.Repeat(" ", width-utf8.RuneCountInString(s))
}
