package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
)

// output is where a command prints what was asked for. It keeps the first error,
// so that printing for people need not look at every line: what was lost on a full
// disk still ends the program with an exit code. Safe for concurrent use.
type output struct {
	w io.Writer

	mu  sync.Mutex
	err error // of the first write that failed
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.w.Write(b)
	// Who closes a pipe has seen enough. Mostly SIGPIPE has ended us before.
	if o.err == nil && !errors.Is(err, syscall.EPIPE) {
		o.err = err
	}
	return n, err //nolint:wrapcheck // verdict does.
}

// unwritten is the error of the first write to w that failed, if w keeps it.
func unwritten(w io.Writer) error {
	o, ok := w.(*output)
	if !ok {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// verdict is what is to be said of a command that ended with err.
func (o *output) verdict(command string, err error) error {
	lost := unwritten(o)
	if lost == nil {
		return err
	}
	told := fmt.Errorf("writing the output of %s: %w", command, lost)
	if err == nil || errors.Is(err, lost) {
		return told
	}
	return errors.Join(err, told)
}
