// Package loglimit keeps lines of one kind from filling a log: a publisher whose
// commands are all wrong, or a key that makes MX answer 404 for everybody, has as many
// things to tell as there are members. The first lines tell what they are, and a
// summary how many more there were; each one is counted by a metric besides.
package loglimit

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// few is how many lines are written at once, and in a minute from then on.
const few = 10

// every is how long lines are counted before a summary says how many were left out.
const every = time.Minute

// Lines are lines of one kind. They are safe for concurrent use.
type Lines struct {
	write   func(message string, attrs ...any)
	message string
	limit   *rate.Limiter

	mu      sync.Mutex
	leftOut int         // since the last summary
	summary *time.Timer // writes the next one; nil: nothing was left out
	closed  bool
}

// New returns the lines of a message. write is the method of a [slog.Logger] for their
// level. They must be closed.
func New(write func(message string, attrs ...any), message string) *Lines {
	return &Lines{write: write, message: message, limit: rate.NewLimiter(rate.Every(every/few), few)}
}

// Write writes a line with attributes as those of [slog.Logger.Info], or counts it for
// the summary that follows within a minute. After Close every line is written.
func (l *Lines) Write(attrs ...any) {
	if l.leaveOut() {
		return
	}
	l.write(l.message, attrs...)
}

func (l *Lines) leaveOut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.limit.Allow() {
		return false
	}
	l.leftOut++
	if l.summary == nil {
		l.summary = time.AfterFunc(every, l.summarize)
	}
	return true
}

// summarize tells how many lines were left out, if any were.
func (l *Lines) summarize() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leftOut > 0 {
		l.write(l.message+": more like this, not shown", "lines", l.leftOut)
	}
	l.leftOut, l.summary = 0, nil
}

// Close writes the summary that is due.
func (l *Lines) Close() {
	l.mu.Lock()
	l.closed = true
	if l.summary != nil {
		l.summary.Stop()
	}
	l.mu.Unlock()
	l.summarize()
}
