package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// logger is what nats-server logs to. Where the server's own logger would exit
// the process, this one keeps the reason for Start to return.
type logger struct {
	log *slog.Logger

	mu  sync.Mutex
	err error // guarded by mu; the first fatal one
}

var _ server.Logger = (*logger)(nil)

func newLogger(log *slog.Logger) *logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &logger{log: log}
}

// fatal returns the first reason why the server could not go on, nil when there is none.
func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *logger) at(level slog.Level, format string, v []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.LogAttrs(ctx, level, "nats-server", slog.String("says", fmt.Sprintf(format, v...)))
	}
}

// Noticef takes the chatter of start and stop.
func (l *logger) Noticef(format string, v ...any) { l.at(slog.LevelDebug, format, v) }

// Warnf takes warnings.
func (l *logger) Warnf(format string, v ...any) { l.at(slog.LevelWarn, format, v) }

// Errorf takes errors that the server lives with.
func (l *logger) Errorf(format string, v ...any) { l.at(slog.LevelError, format, v) }

// Debugf is not called: debugging is off.
func (l *logger) Debugf(string, ...any) {}

// Tracef is not called: tracing is off.
func (l *logger) Tracef(string, ...any) {}

// Fatalf takes what the server cannot live with.
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	reason := fatalError{text: fmt.Sprintf(format, v...)}
	for _, arg := range v {
		if err, ok := arg.(error); ok {
			reason.cause = err
		}
	}
	l.err = reason
}

// fatalError is the server's sentence, with the error that it mentions.
type fatalError struct {
	text  string
	cause error
}

func (e fatalError) Error() string { return e.text }
func (e fatalError) Unwrap() error { return e.cause }
